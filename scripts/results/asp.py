"""Writes docs/results/asp.md from the runs of accuracy.sh and asp.sh: asp.py RUNS_FOLDER PAGE."""

import json
import pathlib
import statistics
import sys

from accuracy import SEEDS, gap, row, signed, write_page

AIM = 0.3

HEAD = """# Dense, pruned 2:4, retrained

The dense ResNet-9 of [accuracy.md](accuracy.md) (CIFAR-10, 0.375 of its width, 10 epochs), pruned to 2:4 by magnitude, with and without
channel permutation through the graph, then trained once more with the same schedule and frozen masks (`--method asp`): a retrained
network has seen 20 epochs, the dense one 10.

    scripts/results/accuracy.sh CIFAR10_FOLDER RUNS_FOLDER
    scripts/results/asp.sh CIFAR10_FOLDER RUNS_FOLDER

Test accuracy in percent (of runs: after the last epoch); gap: to dense, of the same seeds; spread: standard deviation. Magnitude lost: the
share of Σ|w| of the pruned layers.

"""


def read(path):
    return json.loads(path.read_text()) if path.exists() else None


def accuracy(record):
    return None if record is None else 100 * record.get("test_accuracy", record.get("accuracy"))


def lost(report):
    total = sum(layer["magnitude"] for layer in report["layers"])
    return 100 * (1 - sum(layer["kept"] for layer in report["layers"]) / total)


def main():
    runs, page = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    rows = [("dense", {s: accuracy(read(runs / f"dense-{s}" / "summary.json")) for s in SEEDS}, None)]
    for title, variant in [("2:4", "plain"), ("2:4, permuted", "permuted")]:
        reports = [report for s in SEEDS if (report := read(runs / f"asp-{variant}-{s}.prune.json"))]
        share = statistics.mean(map(lost, reports)) if reports else None
        rows.append((f"{title}, not retrained", {s: accuracy(read(runs / f"asp-{variant}-{s}.eval.json")) for s in SEEDS}, share))
        rows.append((f"{title}, retrained", {s: accuracy(read(runs / f"asp-{variant}-{s}" / "summary.json")) for s in SEEDS}, share))
    dense = rows[0][1]
    lines = [HEAD, "| | " + " | ".join(f"seed {s}" for s in SEEDS) + " | mean | spread | gap | magnitude lost |\n" + "|---" * (len(SEEDS) + 5) + "|\n"]
    missing = 0
    gaps = {}
    for title, values, share in rows:
        known = {s: v for s, v in values.items() if v is not None}
        missing += len(SEEDS) - len(known)
        if not known:
            continue
        if title != "dense":
            gaps[title] = gap({s: v for s, v in dense.items() if v is not None}, known)
        lines.append(row(title, known, signed(gaps.get(title)), "" if share is None else f"{share:.1f} %"))
    if missing:
        lines.append(f"\n{missing} of {len(rows) * len(SEEDS)} figures are not known yet: their cells are empty, and gaps are of the seeds that both have.\n")
    else:
        best = min(gap for title, gap in gaps.items() if title.endswith(", retrained"))
        side = "below" if best > 0 else "above"
        lines.append(f"\nThe aim was at most {AIM} points below dense after retraining; the better of the two ends {abs(best):.2f} points {side}.\n")
    write_page(page, lines)


if __name__ == "__main__":
    main()
