#!/usr/bin/env python3
"""Whole training steps of two enmesh programs (two revisions, or one with two environments), step by step in turn.

    bench/step_two_programs.py old/bin/enmesh build/bin/enmesh --rounds 5 -- --model resnet18 --batch 128 --method bdwp --pattern 2:8

What follows `--` goes to `bench step` of both; `--plan default` is added unless a plan is given. The time is that of all
threads on the processor, so that other load on the machine changes it little. With more than one thread it is work, not
waiting: OMP_WAIT_POLICY=passive is set. Prints medians and, as the noise, the range of the ratios within pairs.
"""
import argparse
import os
import statistics
import subprocess
import sys


class Program:
    def __init__(self, path, setting, arguments):
        environment = dict(os.environ, OMP_WAIT_POLICY="passive")
        if setting:
            name, _, value = setting.partition("=")
            environment[name] = value
        command = [path, "bench", "step", "--on-request", *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def line(self):
        text = self.process.stdout.readline()
        if not text:
            sys.exit(f"{' '.join(self.process.args)} ended with code {self.process.wait()}")
        return text.strip()

    def processor_seconds(self):
        threads = f"/proc/{self.process.pid}/task"
        return sum(int(open(f"{threads}/{one}/schedstat").read().split()[0]) for one in os.listdir(threads)) * 1e-9

    def step(self):
        before = self.processor_seconds()
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.line()
        return self.processor_seconds() - before

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", metavar="NAME=VALUE", help="an environment variable of the second")
    own = sys.argv[1:]
    split = own.index("--") if "--" in own else len(own)
    options, arguments = parser.parse_args(own[:split]), own[split + 1:]
    if "--plan" not in arguments:
        arguments = [*arguments, "--plan", "default"]
    programs = [Program(options.first, None, arguments), Program(options.second, options.set, arguments)]
    for program in programs:
        while program.line() != "ready":
            pass
    for program in programs:
        program.step()
    seconds = [[], []]
    for number in range(options.rounds):
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            seconds[index].append(programs[index].step())
    for program in programs:
        program.end()
    ratios = [second / first for first, second in zip(*seconds)]
    print(f"median step: {statistics.median(seconds[0]):.3f} s, {statistics.median(seconds[1]):.3f} s of processor time; "
          f"ratio within pairs {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
