#!/usr/bin/env python3
"""check_graphs.py FORWARD WORK [--random ROUNDS] [--seed N]: imports every graph of make_graphs.py (with --random that
many rounds of random_graphs.py instead), runs it, exports it with changed weights, and compares each output with ONNX
Runtime's to 1e-4 of its scale. FORWARD also rearranges the channels and fails if that changes what it gives."""
import argparse
import pathlib
import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime

import make_graphs
import random_graphs
from compare_outputs import difference, run

TOLERANCE = 1e-4
BATCH = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("forward")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--random", type=int, metavar="ROUNDS", default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    forward, work = arguments.forward, arguments.work
    graphs = random_graphs.random_graphs(arguments.seed, arguments.random) if arguments.random else make_graphs.graphs()
    work.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(1).uniform(-1, 1, (BATCH, make_graphs.C, make_graphs.H, make_graphs.W)).astype(np.float32)
    images.tofile(work / "images.bin")
    names = []
    with open(work / "list.txt", "w") as lines:
        for name, model in graphs:
            onnx.checker.check_model(model)
            onnx.save(model, work / f"{name}.onnx")
            names.append(name)
            paths = [work / f"{name}{end}" for end in (".out", ".exported.onnx", ".changed")]
            print(work / f"{name}.onnx", BATCH, work / "images.bin", *paths, sep="|", file=lines)
    result = subprocess.run([forward, str(work / "list.txt")], capture_output=True, text=True)
    messages = dict(line.split(": ", 1) for line in result.stdout.splitlines() if ": " in line)
    failed = groups = 0
    for name in names:
        message = messages.get(str(work / f"{name}.onnx"), "the program ended before it")
        problem = None if message.startswith("ok") else message
        if problem is None:
            imported = difference(work / f"{name}.out", run(work / f"{name}.onnx", images))
            exported = work / f"{name}.exported.onnx"
            onnx.checker.check_model(str(exported))
            changed = difference(work / f"{name}.changed", run(exported, images))
            rounded = 2e-3 if name.startswith("half_storage") else TOLERANCE  # what is written is rounded to float16
            if not (imported <= TOLERANCE and changed <= rounded):
                problem = f"differs from ONNX Runtime by {imported:.2e} imported, {changed:.2e} exported"
            groups += int(re.search(r"(\d+) groups", message)[1])
        if problem is not None:
            failed += 1
            print(f"{name}: {problem}")
    print(f"{len(names) - failed} of {len(names)} graphs agree with ONNX Runtime {onnxruntime.__version__}")
    if not arguments.random:
        print(f"{groups} groups of channels rearranged")
        failed += groups == 0
    return 1 if failed or result.returncode not in (0, 1) else 0


if __name__ == "__main__":
    sys.exit(main())
