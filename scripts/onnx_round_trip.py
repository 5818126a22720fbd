#!/usr/bin/env python3
"""Takes the models of onnx_export_models.py through enmesh and back, and compares every step with ONNX Runtime.

    python scripts/onnx_export_models.py MODELS
    python scripts/onnx_round_trip.py MODELS --forward build/bin/onnx_forward [--out docs/results/onnx.md]

For each file: import, forward on the CPU executor at another batch than it was exported with, compare; change every weight,
export, onnx.checker, compare again. Differences are relative to the output's scale.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "onnx"))
from compare_outputs import difference, run  # noqa: E402

TOLERANCE = 1e-4


def round_trip(path, forward, batch, work):
    model = onnx.load(str(path), load_external_data=False)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    images = np.random.default_rng(1).standard_normal((batch, *shape[1:])).astype(np.float32)
    images.tofile(work / "images.bin")
    (work / "list.txt").write_text("|".join(map(str, (
        path, batch, work / "images.bin", work / "out", work / "exported.onnx", work / "changed"))) + "\n")
    result = subprocess.run([forward, str(work / "list.txt")], capture_output=True, text=True)
    message = result.stdout.strip().split(": ", 1)[-1] if result.stdout.strip() else f"ended with {result.returncode}"
    row = {"nodes": len(model.graph.node), "opset": model.opset_import[0].version}
    if not message.startswith("ok"):
        return {**row, "problem": message}
    imported = difference(work / "out", run(path, images))
    onnx.checker.check_model(str(work / "exported.onnx"))
    exported = onnx.load(str(work / "exported.onnx"), load_external_data=False)
    names = all([v.name for v in getattr(a, k)] == [v.name for v in getattr(b, k)]
                for a, b in [(model.graph, exported.graph)] for k in ("input", "output", "initializer"))
    changed = difference(work / "changed", run(work / "exported.onnx", images))
    row.update(ours=int(re.search(r"(\d+) nodes", message).group(1)), imported=imported, changed=changed)
    if not names:
        row["problem"] = "names changed"
    elif not (imported <= TOLERANCE and changed <= TOLERANCE):
        row["problem"] = "differs"
    return row


def table(rows):
    lines = ["| file | opset | nodes there | nodes here | imported | changed and exported | |", "|---|---|---|---|---|---|---|"]
    for name, row in rows:
        figures = [f"{row[k]:.1e}" if k in row else "" for k in ("imported", "changed")]
        lines.append(f"| {name} | {row['opset']} | {row['nodes']} | {row.get('ours', '')} | {figures[0]} | {figures[1]} | "
                     f"{row.get('problem', 'ok')} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("--forward", default="build/bin/onnx_forward")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--match", default="", help="files whose name holds this")
    parser.add_argument("--out", type=pathlib.Path, help="where the table goes (standard output too)")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(arguments.models.glob("*.onnx")):
            if arguments.match not in path.name:
                continue
            row = round_trip(path, arguments.forward, arguments.batch, pathlib.Path(folder))
            rows.append((path.stem, row))
            print(path.stem, {k: v for k, v in row.items()}, flush=True)
    text = table(rows)
    print(text)
    if arguments.out:
        arguments.out.write_text(text)
    return 1 if any("problem" in row for _, row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
