#!/usr/bin/env python3
"""onnx_permute.py MODELS [--enmesh PROGRAM] [--time-limit SECONDS] [--only PART]: permutes the channels of every model of
a folder (scripts/onnx_export_models.py writes them) without pruning, compares outputs before and after in ONNX
Runtime, and prints a table of what 2:4 keeps of the weights then. Needs onnx, onnxruntime and numpy."""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "onnx"))
from compare_outputs import run  # noqa: E402

TOLERANCE = 1e-4


def one(model, options):
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.onnx"
        command = [options.enmesh, "prune", model, "--pattern", "2:4", "--permute-only", "--out", out, "--json", "-"]
        if options.time_limit:
            command += ["--time-limit", str(options.time_limit)]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if result.returncode != 0:
            return f"| {model.stem} | {result.stderr.strip().splitlines()[-1]} |", False
        report = json.loads(result.stdout)
        onnx.checker.check_model(str(out))
        images = np.random.default_rng(1).standard_normal((2, 3, 224, 224)).astype(np.float32)
        before, after = run(model, images), run(out, images)
        difference = np.abs(after - before).max() / np.abs(before).max()
    total = {key: sum(layer[key] for layer in report["layers"]) for key in ("magnitude", "kept_plain", "kept", "seconds")}
    permuted = [group for group in report["groups"] if group["permuted"]]
    readers = {name for group in permuted for name in group["readers"]}
    lost = 1 - total["kept_plain"] / total["magnitude"]
    recovered = (total["kept"] - total["kept_plain"]) / (total["magnitude"] - total["kept_plain"])
    row = (f"| {model.stem} | {len(report['layers'])} | {len(readers)} | {len(permuted)} | {100 * lost:.2f} % | {100 * recovered:.2f} % | "
           f"{total['seconds']:.0f} | {difference:.1e} |")
    return row, bool(difference <= TOLERANCE)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("--enmesh", default="build/bin/enmesh")
    parser.add_argument("--time-limit", type=float)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    print("| model | layers pruned | with permuted inputs | groups permuted | lost plain | of it recovered | s | difference |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    good = True
    for model in sorted(options.models.glob("*.onnx")):
        if options.only not in model.name:
            continue
        row, same = one(model, options)
        print(row, flush=True)
        good = good and same
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
