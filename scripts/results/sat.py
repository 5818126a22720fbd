"""Runs `enmesh simulate` for every row of docs/results/sat.md and writes the page. Called by sat.sh."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

NETWORKS = [
    ("ResNet-9, CIFAR-10", ["--model", "resnet9", "--classes", "10", "--image", "3x32x32"]),
    ("ViT, CIFAR-100", ["--model", "vit_small", "--classes", "100", "--image", "3x32x32"]),
    ("VGG-19, CIFAR-100", ["--model", "vgg19", "--classes", "100", "--image", "3x32x32"]),
    ("ResNet-18, Tiny ImageNet", ["--model", "resnet18", "--classes", "200", "--image", "3x64x64"]),
    ("ResNet-50, ImageNet", ["--model", "resnet50", "--classes", "1000", "--image", "3x224x224"]),
]
METHODS = ["sr-ste", "sdgp", "bdwp"]
PATTERNS = ["2:4", "2:8", "1:8"]
ABLATION = [
    ("everything on", []),
    ("no interleaving", ["features.interleaving=off"]),
    ("no pre-generation (SORE in front of FF and BP)", ["features.pregeneration=off"]),
    ("weight-stationary only", ["features.dataflow=ws"]),
    ("output-stationary only", ["features.dataflow=os"]),
    ("no double buffering", ["features.double_buffering=off"]),
    ("none of them, weight-stationary", ["features.interleaving=off", "features.pregeneration=off", "features.dataflow=ws",
                                         "features.double_buffering=off"]),
]
LANES = [32, 64, 128, 256]
PUBLISHED = 1.75


def simulate(program, network, method, pattern=None, settings=(), schedule=None, out=None):
    command = [program, "simulate", *network, "--batch", "512", "--method", method, "--accel", "sat", "--json", "-"]
    if pattern:
        command += ["--pattern", pattern]
    for setting in settings:
        command += ["--set", setting]
    if schedule:
        command += ["--schedule", schedule]
    if out:
        command += ["--out", out]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def vector_cycles(report):
    return sum(v["cycles"] for v in report["vector_work"])


def product_cycles(report, stage=None):
    return sum(p["cycles"] for p in report["products"] if stage is None or p["stage"] == stage)


def shares(report):
    """Where the step's cycles went, as fractions: useful multiply-adds, each stall, vector work."""
    total = report["total_cycles"]
    result = {"useful": report["multiply_adds"] / report["elements"] / total}
    result.update({cause: cycles / total for cause, cycles in report["stalls"].items()})
    result["vector work"] = vector_cycles(report) / total
    return result


def row(cells):
    return "| " + " | ".join(cells) + " |\n"


def table(header, rows):
    return row(header) + row(["---"] * len(header)) + "".join(row(r) for r in rows)


def times_page(results):
    text = "## Time and energy of a step\n\nBatch 512, seconds a step (simulated), speed-up over dense in brackets; all layers, norms, loss, update and memory traffic counted.\n\n"
    rows = []
    for name, _ in NETWORKS:
        dense = results[name]["dense"]
        rows.append([name, "dense", f"{dense['seconds']:.4g}", "", "", f"{dense['joules']:.4g}", f"{dense['gflops_per_watt']:.3g}"])
        for method in METHODS:
            cells = []
            for pattern in PATTERNS:
                report = results[name][(method, pattern)]
                cells.append(f"{report['seconds']:.4g} ({dense['seconds'] / report['seconds']:.2f}×)")
            middle = results[name][(method, "2:8")]
            rows.append(["", method, *cells, f"{middle['joules']:.4g}", f"{middle['gflops_per_watt']:.3g}"])
    header = ["network", "method", *PATTERNS, "J (dense; 2:8)", "GFLOP/s/W (useful)"]
    rows = [[r[0], r[1], *r[2:]] for r in rows]
    return text + table(header, rows) + "\nThe dense row's time stands in the first column.\n"


def average(results, method, pattern):
    ratios = [results[n]["dense"]["seconds"] / results[n][(method, pattern)]["seconds"] for n, _ in NETWORKS]
    return sum(ratios) / len(ratios)


def comparison_page(results):
    text = "\n## BDWP 2:8 against the publication\n\n"
    rows = []
    for name, _ in NETWORKS:
        dense, sparse = results[name]["dense"], results[name][("bdwp", "2:8")]
        skipped = sum(p["multiply_adds"] for p in dense["products"]) / sum(p["multiply_adds"] for p in sparse["products"])
        stage = [f"{product_cycles(dense, s) / max(1, product_cycles(sparse, s)):.2f}×" for s in ("FF", "BP", "WG")]
        rows.append([name, f"{dense['seconds'] / sparse['seconds']:.2f}×", f"{skipped:.2f}×", *stage,
                     f"{100 * vector_cycles(dense) / dense['total_cycles']:.1f} %", f"{100 * vector_cycles(sparse) / sparse['total_cycles']:.1f} %"])
    text += table(["network", "speed-up", "multiply-adds saved", "FF", "BP", "WG", "vector work, dense", "vector work, 2:8"], rows)
    text += (f"\nAverage speed-up of BDWP 2:8 over dense: **{average(results, 'bdwp', '2:8'):.2f}×** here, {PUBLISHED}× in the publication "
             "(its average over its five networks). Ours is not fitted to it.\n\n"
             "With FF and BP at 2:8 and WG dense, a step whose three stages cost the same cannot gain more than 3 / (¼ + ¼ + 1) = 2×. What keeps a network below: "
             "its first layer and classifier stay dense, vector work does not shrink, and sparse products are more often bound by memory or by filling and draining. "
             "The next table says how much each takes; the one after it shows that the distance to the publication is mostly vector work, whose engine's width was not published.\n")
    return text


def stall_page(results):
    text = "\n## Where the cycles go\n\nShares of the step's cycles in per cent, dense and BDWP 2:8.\n\n"
    causes = ["useful", "fill_drain", "tail", "adder_latency", "row_link", "bandwidth", "packing", "vector work"]
    rows = []
    for name, _ in NETWORKS:
        for label, key in (("dense", "dense"), ("bdwp 2:8", ("bdwp", "2:8"))):
            share = shares(results[name][key])
            rows.append([name if label == "dense" else "", label, *[f"{100 * share[c]:.1f}" for c in causes]])
    return text + table(["network", "method", *[c.replace("_", " ") for c in causes]], rows)


def ablation_page(program):
    text = "\n## Ablation\n\nSeconds a step with BDWP 2:8 and the slow-down against everything on; the scheduler does its best under each restriction.\n\n"
    rows, base = [], {}
    chosen = [NETWORKS[0], NETWORKS[3], NETWORKS[4]]
    for label, settings in ABLATION:
        cells = [label]
        for name, network in chosen:
            seconds = simulate(program, network, "bdwp", "2:8", settings)["seconds"]
            base.setdefault(name, seconds)
            cells.append(f"{seconds:.4g} ({seconds / base[name]:.2f}×)")
        rows.append(cells)
    text += table(["", *[name for name, _ in chosen]], rows)
    return text + ("\nInterleaving is worth most: without it every product waits for the adder. Pre-generation saves DRAM traffic but hardly time at this batch: a weight is packed once and "
                   "then meets thousands of pixels, so that SORE in front of FF and BP hides behind the array. Output-stationary serves almost every product best, because its fill is paid once per tile "
                   "and not once per pass; the scheduler gains what the other products lose.\n")


def lanes_page(program, folder):
    text = ("\n## How much the vector engine's width matters\n\nThe lanes of WUVE are ours and not published. Speed-up of BDWP 2:8 over dense, and the share of vector work in the sparse "
            "step:\n\n")
    rows, ratios = [], {lanes: [] for lanes in LANES}
    for name, network in NETWORKS:
        cells = [name]
        for lanes in LANES:
            setting = [f"wuve.lanes={lanes}"]
            dense = simulate(program, network, "dense", None, setting, f"{folder}/{name}/dense/schedule.toml")
            sparse = simulate(program, network, "bdwp", "2:8", setting, f"{folder}/{name}/bdwp/schedule.toml")
            ratios[lanes].append(dense["seconds"] / sparse["seconds"])
            cells.append(f"{ratios[lanes][-1]:.2f}× ({100 * vector_cycles(sparse) / sparse['total_cycles']:.0f} %)")
        rows.append(cells)
    rows.append(["average", *[f"{sum(ratios[lanes]) / len(ratios[lanes]):.2f}×" for lanes in LANES]])
    return text + table(["network", *[f"{lanes} lanes" for lanes in LANES]], rows)


def speed_page(program):
    bench = json.loads(subprocess.run([program, "bench", "simulate", "--rounds", "15", "--json", "-"], check=True, capture_output=True, text=True).stdout)
    text = ("\n## Speed of the models\n\n"
            f"`enmesh bench simulate --rounds 15`: {bench['cpu']}, one core, {time.strftime('%Y-%m-%d')}; the step is ResNet-50's at batch 512, BDWP 2:8. Processor time of the one thread, on a machine that "
            "had other work to do. Every model is checked (schedules replayed, cycles and bits against the closed form and a software product) before it is timed.\n\n")
    rows = []
    for entry in bench["rows"]:
        rate = entry["unit"] != "seconds"
        amount = entry["figure"] * entry["median"]
        of = (lambda seconds: amount / seconds) if rate else (lambda seconds: seconds)
        unit, factor = ("ms", 1e3) if not rate else ("billion/s", 1e-9) if entry["unit"].startswith("element") else ("/s", 1)
        rows.append([entry["name"], entry["unit"], *[f"{factor * of(entry[key]):.3g} {unit}" for key in ("median", "min", "max")],
                     f"{'≥' if rate else '<'} {factor * entry['target']:g} {unit}"])
    return text + table(["model", "figure", "median", "best", "worst", "target"], rows)


def training_page(program, folder):
    text = ("\n## Training with SAT's arithmetic\n\n`enmesh train --data digits --method … --epochs 12 --batch 64 --seed S --nesterov=false --warmup 0 --device cpu|sat`, digits_cnn, mean test accuracy of seeds 1 to 3 (least and most) "
            "after 12 epochs; SAT's seconds and joules are simulated, of the whole training without evaluation.\n\n")
    rows = []
    for method, pattern in (("dense", None), ("bdwp", "2:8"), ("sdgp", "2:8"), ("sr-ste", "2:8")):
        for device in ("cpu", "sat"):
            summaries = []
            for seed in (1, 2, 3):
                out = f"{folder}/train-{method}-{device}-{seed}"
                command = [program, "train", "--data", "digits", "--method", method, "--epochs", "12", "--batch", "64", "--seed", str(seed), "--nesterov=false", "--warmup", "0", "--device", device, "--plan", "default", "--out", out]
                subprocess.run(command + (["--pattern", pattern] if pattern else []), check=True, capture_output=True)
                with open(f"{out}/summary.json", encoding="utf-8") as file:
                    summaries.append(json.load(file))
            accuracies = [100 * summary["test_accuracy"] for summary in summaries]
            cells = [method + (f" {pattern}" if pattern else ""), device, f"{sum(accuracies) / 3:.2f} % ({min(accuracies):.2f}, {max(accuracies):.2f})"]
            if device == "sat":
                cells += [f"{summaries[0]['simulated_seconds']:.3g}", f"{summaries[0]['simulated_joules']:.3g}", " ".join(str(summary["skipped_updates"]) for summary in summaries)]
            else:
                cells += ["", "", ""]
            rows.append(cells)
    return text + table(["method", "device", "test accuracy", "SAT seconds", "SAT joules", "updates skipped"], rows)


def notes():
    return ("\n## What is behind the figures\n\n"
            "- The machine is `configs/sat.toml`: 32 × 32 elements at 200 MHz and the VCU1525's four DDR4-2400 channels are published, everything else in that file is ours and says so. "
            "`docs/sat.md` and `docs/schedule.md` describe the model.\n"
            "- Utilisation counts useful multiply-adds only. Zeros inserted by strided data gradients are neither multiplied nor counted, in the dense baseline as well.\n"
            "- SR-STE's mask is FF's alone, so its BP runs dense; SDGP packs the out-gradient online in BP; WG is dense in all three.\n"
            "- The dense baseline has the same scheduler, interleaving and group sizes as the sparse runs.\n"
            "- The publication does not name its ViT; this one is ViT-Small with 4 × 4 patches.\n"
            "- Vector work runs between products, never beside them, and is not fused with them except for statistics taken while a product drains; both choices are pessimistic for sparse and dense alike, and weigh more on the shorter sparse step.\n"
            "- Joules come from `configs/energy_fpga.toml`, an estimate with its sources named there, not a measurement.\n")


def main():
    program, page = sys.argv[1], sys.argv[2]
    start = time.time()
    results = {}
    folder = tempfile.mkdtemp()
    for name, network in NETWORKS:
        results[name] = {"dense": simulate(program, network, "dense", out=f"{folder}/{name}/dense")}
        for method in METHODS:
            for pattern in PATTERNS:
                keep = f"{folder}/{name}/bdwp" if (method, pattern) == ("bdwp", "2:8") else None
                results[name][(method, pattern)] = simulate(program, network, method, pattern, out=keep)
        print(f"{name}: {time.time() - start:.0f} s", file=sys.stderr)
    text = ("# SAT: simulated training steps\n\nMade by `scripts/results/sat.sh`. Every time and energy of a step is simulated, none is measured on hardware; the speed of the models is measured.\n\n"
            + times_page(results) + comparison_page(results) + stall_page(results) + lanes_page(program, folder) + ablation_page(program) + training_page(program, folder) + speed_page(program) + notes())
    os.makedirs(os.path.dirname(page) or ".", exist_ok=True)
    with open(page + ".tmp", "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(page + ".tmp", page)
    shutil.rmtree(folder)
    print(f"{page}: {time.time() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
