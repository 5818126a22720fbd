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

Test accuracy after the last epoch in percent; gap: to dense, of the same seeds; spread: standard deviation over the seeds. Multiply-adds: of FF, BP
and WG of a step, against dense; training loss: of the last epoch, with augmentation and smoothing, mean over the seeds.
Times are not shown: the runs shared their machine with other work ([step_time.md](step_time.md) has them).

"""


def mean(values):
    return statistics.mean(values.values())


def row(title, values, *more):
    """A line of a table: the seeds' values, their mean and spread, and what else there is."""
    spread = f"{statistics.stdev(values.values()):.2f}" if len(values) > 1 else ""
    cells = [f"{values[seed]:.2f}" if seed in values else "" for seed in SEEDS]
    return "| " + " | ".join([title, *cells, f"{mean(values):.2f}", spread, *more]) + " |\n"


def gap(reference, values):
    """How far values lie below the reference, over the seeds that both have; None where there is none."""
    both = [seed for seed in values if seed in reference]
    return statistics.mean(reference[seed] - values[seed] for seed in both) if both else None


def signed(number):
    return "" if number is None else f"{number:+.2f}"


def training_loss(runs, key, seeds):
    """Mean over the seeds of the last epoch's."""
    last = [(runs / f"{key}-{seed}" / "metrics.jsonl").read_text().splitlines()[-1] for seed in seeds]
    return statistics.mean(json.loads(line)["train_loss"] for line in last)


def reading(accuracy, losses):
    """What the finished table says of BDWP 2:8's gap."""
    lost = {key: gap(accuracy["dense"], accuracy[key]) for key in ("bdwp28", "sr-ste28", "bdwp24")}
    verdict = "within" if lost["bdwp28"] <= GAP_AIM else "more than"
    text = f"\nBDWP 2:8 loses {lost['bdwp28']:.2f} points on average, {verdict} the {GAP_AIM} that were aimed at.\n"
    if lost["bdwp28"] <= GAP_AIM:
        return text
    text += f"SR-STE 2:8, whose BP is dense, loses {lost['sr-ste28']:.2f}: pruning BP accounts for " \
            f"{lost['bdwp28'] - lost['sr-ste28']:.2f} of them, keeping 2 of 8 weights in FF for the rest; with 2 of 4 the loss is " \
            f"{lost['bdwp24']:.2f}.\n"
    if losses["bdwp28"] > losses["dense"]:
        text += f"The training loss is higher as well ({losses['bdwp28']:.3f} against {losses['dense']:.3f}): within 10 epochs the " \
                "narrow network fits less, it does not generalise worse.\n"
    return text


def write_page(page, lines):
    temporary = page.with_suffix(".part")
    temporary.write_text("".join(lines))
    temporary.rename(page)


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
                 " | mean | spread | gap | multiply-adds | training loss |\n|" + "---|" * (len(SEEDS) + 6) + "\n")
    accuracy = {key: {seed: 100 * found[key, seed]["test_accuracy"] for seed in SEEDS if (key, seed) in found}
                for _, key in METHODS}
    losses = {}
    for title, key in METHODS:
        if not accuracy[key]:
            continue
        losses[key] = training_loss(runs, key, accuracy[key])
        of_seed = [found[key, seed] for seed in accuracy[key]]
        below = None if key == "dense" else gap(accuracy["dense"], accuracy[key])
        share = sum(of_seed[0]["sparse_multiply_adds"].values()) / sum(of_seed[0]["multiply_adds"].values())
        lines.append(row(title, accuracy[key], signed(below), f"{share:.2f}", f"{losses[key]:.3f}"))
    missing = len(METHODS) * len(SEEDS) - len(found)
    if missing:
        lines.append(f"\n{missing} of {len(METHODS) * len(SEEDS)} runs have not ended yet: their cells are empty, and gaps are of the seeds "
                     "that both methods have.\n")
    else:
        lines.append(reading(accuracy, losses))
    write_page(page, lines)


if __name__ == "__main__":
    main()
