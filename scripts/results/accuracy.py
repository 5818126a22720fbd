"""Writes docs/results/accuracy.md from the runs of accuracy.sh: accuracy.py RUNS_FOLDER PAGE."""

import json
import pathlib
import statistics
import sys

SEEDS = [1, 2, 3]
METHODS = [("dense", "dense"), ("SR-STE 2:8", "sr-ste28"), ("BDWP 2:8", "bdwp28"), ("BDWP 2:4", "bdwp24")]
GAP_AIM = 0.56

HEAD = """# Accuracy on CIFAR-10

ResNet-9 at 0.375 of its width ({parameters:,} parameters), CIFAR-10, 10 epochs in batches of 64, SGD with Nesterov's momentum 0.9, weight decay
0.0005, one-cycle schedule up to 0.05, label smoothing 0.1, crop 2 and flip; the same for every method, float32, one thread.

    scripts/results/accuracy.sh CIFAR10_FOLDER RUNS_FOLDER

Test accuracy after the last epoch in percent; gap: to dense, of the means; spread: standard deviation over the seeds. Multiply-adds: of FF, BP
and WG of a step, against dense. Minutes: of training and evaluation, on AMD Zen 3 (AVX2) beside other work; they are no benchmark.

"""


def main():
    runs, page = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    found = {}
    for _, key in METHODS:
        for seed in SEEDS:
            summary = runs / f"{key}-{seed}" / "summary.json"
            if summary.exists():
                found[key, seed] = json.loads(summary.read_text())
    if not found:
        sys.exit(f"accuracy.py: no finished run in {runs}")
    lines = [HEAD.format(parameters=next(iter(found.values()))["parameters"])]
    lines.append("| method | " + " | ".join(f"seed {seed}" for seed in SEEDS) +
                 " | mean | spread | gap | multiply-adds | minutes |\n|" + "---|" * (len(SEEDS) + 6) + "\n")
    means = {}
    for title, key in METHODS:
        of_seed = {seed: found[key, seed] for seed in SEEDS if (key, seed) in found}
        if not of_seed:
            continue
        accuracy = {seed: 100 * run["test_accuracy"] for seed, run in of_seed.items()}
        means[key] = statistics.mean(accuracy.values())
        spread = f"{statistics.stdev(accuracy.values()):.2f}" if len(accuracy) > 1 else ""
        # The gap compares equal seeds, so that a half-finished table does not mix them.
        shared = [seed for seed in of_seed if ("dense", seed) in found]
        gap = ""
        if key != "dense" and shared:
            gap = f"{statistics.mean(100 * found['dense', s]['test_accuracy'] - accuracy[s] for s in shared):+.2f}"
        run = next(iter(of_seed.values()))
        share = sum(run["sparse_multiply_adds"].values()) / sum(run["multiply_adds"].values())
        minutes = statistics.median(run["seconds"] for run in of_seed.values()) / 60
        cells = [f"{accuracy[seed]:.2f}" if seed in accuracy else "" for seed in SEEDS]
        lines.append(f"| {title} | " + " | ".join(cells) +
                     f" | {means[key]:.2f} | {spread} | {gap} | {share:.2f} | {minutes:.0f} |\n")
    missing = len(METHODS) * len(SEEDS) - len(found)
    if missing:
        lines.append(f"\n{missing} of {len(METHODS) * len(SEEDS)} runs have not ended yet: their cells are empty, and gaps are of the seeds "
                     "that both methods have.\n")
    elif means["dense"] - means["bdwp28"] <= GAP_AIM:
        lines.append(f"\nBDWP 2:8 stays within the {GAP_AIM} points that were aimed at.\n")
    else:
        lines.append(f"\nBDWP 2:8 loses more than the {GAP_AIM} points that were aimed at.\n")
    temporary = page.with_suffix(".part")
    temporary.write_text("".join(lines))
    temporary.rename(page)


if __name__ == "__main__":
    main()
