#!/usr/bin/env python3
"""How much faster a training step is on more threads: every method on every thread count is a process of its own that
runs one step whenever it is asked, so that a machine whose speed drifts is the same for all.

    bench/thread_scaling.py --model resnet18 --batch 128 --methods dense bdwp@2:8 --rounds 8
"""

import argparse
import os
import statistics
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--image", default="3x32x32", help="CxHxW")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, os.cpu_count()], help="the first is compared with")
    parser.add_argument("--methods", nargs="*", default=["dense", "bdwp@2:8"], help="METHOD or METHOD@N:M")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--enmesh", default="build/bin/enmesh")
    options = parser.parse_args()

    shape = ["--model", options.model, "--image", options.image, "--classes", str(options.classes), "--batch", str(options.batch)]
    contestants = {}
    for method in options.methods:
        for threads in options.threads:
            command = [options.enmesh, "bench", "step", "--on-request", "--plan", "measure", "--compare", method, "--threads", str(threads)]
            process = subprocess.Popen(command + shape, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            answer = process.stdout.readline().strip()
            if answer != "ready":
                sys.exit(f"thread_scaling: {method} on {threads} threads did not start (answered '{answer}')")
            contestants[method, threads] = (process, [])

    for round_ in range(options.rounds + 1):
        for process, seconds in contestants.values():
            process.stdin.write("\n")
            process.stdin.flush()
            taken = float(process.stdout.readline())
            if round_ > 0:
                seconds.append(taken)

    print("| method | threads | median s | min s | max s | median of the rounds' ratios |\n|---|---|---|---|---|---|")
    for (method, threads), (process, seconds) in contestants.items():
        one = contestants[method, options.threads[0]][1]
        ratio = statistics.median(a / b for a, b in zip(one, seconds))
        print(f"| {method} | {threads} | {statistics.median(seconds):.3f} | {min(seconds):.3f} | {max(seconds):.3f} | {ratio:.2f}x |")
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    main()
