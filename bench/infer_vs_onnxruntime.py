#!/usr/bin/env python3
"""Inference time of enmesh, dense and N:M, beside ONNX Runtime's dense float32, interleaved in one run; prints a Markdown table.

    .venv-peers/bin/pip install onnxruntime torch torchvision onnx
    .venv-peers/bin/python bench/infer_vs_onnxruntime.py --model resnet50 --batch 32 --rounds 9

The peer runs torchvision's network of the same name, exported here (or the file given by --onnx), with all graph
optimizations and the same number of threads. Weights are random on both sides: time does not depend on them. Every
contestant is a process of its own that runs once whenever it is asked, so that rounds interleave.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time


def export(name, batch, path):
    import torch
    import torchvision

    model = torchvision.models.get_model(name, weights=None).eval()
    torch.onnx.export(model, torch.randn(batch, 3, 224, 224), path, input_names=["images"], dynamo=False)


def onnxruntime_worker(path, batch, threads):
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: numpy.random.randn(batch, 3, 224, 224).astype(numpy.float32)}
    session.run(None, feed)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        session.run(None, feed)
        print(time.perf_counter() - start, flush=True)


class Contestant:
    def __init__(self, name, command):
        self.name, self.seconds = name, []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_ready(self):
        if self.process.stdout.readline().strip() != "ready":
            sys.exit(f"infer_vs_onnxruntime: {self.name} did not start")

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.seconds.append(float(self.process.stdout.readline()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/bin/enmesh")
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--onnx", help="the peer's file; exported from torchvision without it")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compare", nargs="*", default=["dense", "bdwp@2:4", "bdwp@2:8"])
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return onnxruntime_worker(arguments.worker, arguments.batch, arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.onnx or os.path.join(folder, "peer.onnx")
        if not arguments.onnx:
            export(arguments.model, arguments.batch, path)
        shared = ["--batch", str(arguments.batch), "--threads", str(arguments.threads)]
        contestants = [Contestant("ONNX Runtime", [sys.executable, __file__, "--worker", path, *shared])]
        contestants[0].wait_ready()
        for method in arguments.compare:
            command = [arguments.program, "bench", "infer", "--model", arguments.model, "--image", "3x224x224"]
            command += ["--classes", "1000", "--compare", method, "--on-request", *shared]
            # One after another: each may measure its kernels first.
            contestants.append(Contestant(f"enmesh {method}", command))
            contestants[-1].wait_ready()
        for _ in range(arguments.rounds + 1):
            for contestant in contestants:
                contestant.run()
    peer = statistics.median(contestants[0].seconds[1:])
    print(f"{arguments.model}, batch {arguments.batch}, {arguments.threads} threads, {arguments.rounds} rounds\n")
    print("| | median ms | min ms | images/s | vs ONNX Runtime |\n|---|---|---|---|---|")
    for contestant in contestants:
        seconds = contestant.seconds[1:]
        median = statistics.median(seconds)
        print(
            f"| {contestant.name} | {median * 1e3:.1f} | {min(seconds) * 1e3:.1f} | "
            f"{arguments.batch / median:.1f} | {peer / median:.2f}x |"
        )


main()
