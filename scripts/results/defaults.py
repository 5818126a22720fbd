"""Trains with defaults alone and writes what they reach into a page: defaults.py PROGRAM PAGE CIFAR10_FOLDER RUNS_FOLDER
[--only TEXT]... Called by defaults.sh."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

METHODS = ["bdwp", "sr-ste", "ste", "sdgp", "sdwp", "transposable", "asp", "mvue"]
PATTERNS = ["2:8", "2:4"]
DTYPES = ["f32", "bf16"]
SPARSE = [f"{method} {pattern}" for method in METHODS for pattern in PATTERNS]
# Network and width. The VGGs take images from 32 pixels, digits have 8; the large networks run at a quarter of their width.
DIGITS = [("digits_cnn", 1), ("mlp", 1), ("lenet5", 1), ("resnet9", 0.25), ("resnet18", 0.25), ("vit_tiny", 0.25), ("resnet34", 0.25),
          ("resnet50", 0.25), ("vit_small", 0.25)]
DIGITS_EPOCHS = 10
CIFAR = [("resnet9", 0.25), ("resnet18", 0.25), ("vgg16", 0.25), ("vgg19", 0.25), ("resnet34", 0.25), ("resnet50", 0.25)]
CIFAR_EPOCHS = 5
CIFAR_METHODS = ["dense", "bdwp 2:8", "bdwp 2:4"]
BEGIN, END = "<!-- defaults: from here on written by scripts/results/defaults.sh -->\n", "<!-- defaults: to here -->\n"


def run_of(data, network, width, method, dtype, epochs):
    name = f"{data}-{network}-{method.replace(' ', '-').replace(':', '')}-{dtype}"
    return {"name": name, "data": data, "network": network, "width": width, "method": method, "dtype": dtype, "epochs": epochs}


def grid():
    """Every run, the most telling ones first."""
    def cifar(networks, methods):
        return [run_of("cifar10", network, width, method, "f32", CIFAR_EPOCHS) for network, width in networks for method in methods]

    def digits(networks, methods, dtypes):
        return [run_of("digits", network, width, method, dtype, DIGITS_EPOCHS) for network, width in networks
                for dtype in dtypes for method in methods]

    order = cifar(CIFAR[:1], CIFAR_METHODS) + digits(DIGITS, ["dense", "bdwp 2:8"], DTYPES) + digits(DIGITS[:4], ["dense", *SPARSE], DTYPES)
    order += cifar(CIFAR[1:], CIFAR_METHODS[:2]) + digits(DIGITS, ["dense", *SPARSE], DTYPES) + cifar(CIFAR, CIFAR_METHODS)
    return list({run["name"]: run for run in order}.values())


def read_results(file):
    """By name."""
    lines = map(json.loads, file.read_text().splitlines() if file.exists() else [])
    return {result["name"]: result for result in lines}


def command_of(program, run, cifar10, out):
    data = f"cifar10:{cifar10}" if run["data"] == "cifar10" else run["data"]
    command = [program, "train", "--model", run["network"], "--data", data, "--epochs", str(run["epochs"])]
    if run["width"] != 1:
        command += ["--width", str(run["width"])]
    method, _, pattern = run["method"].partition(" ")
    if pattern:
        command += ["--method", method, "--pattern", pattern]
    if run["dtype"] != "f32":
        command += ["--dtype", run["dtype"]]
    return command + ["--threads", os.environ.get("THREADS", "1"), "--plan", "default", "--out", str(out), "--resume"]


def train(program, run, cifar10, folder):
    """What the run reached, or why it failed. Its checkpoints are not kept: they take hundreds of megabytes."""
    out = folder / run["name"]
    ended = subprocess.run(command_of(program, run, cifar10, out), capture_output=True, text=True)
    if ended.returncode in (130, 143, -2, -15):
        sys.exit(f"{run['name']}: interrupted; the same command goes on")
    if ended.returncode != 0:
        return {**run, "error": ended.stderr.strip()}
    summary = json.loads((out / "summary.json").read_text())
    shutil.rmtree(out)
    return {**run, **{key: summary[key] for key in ("test_accuracy", "best_accuracy", "train_loss", "seconds", "loss_rose_at_step", "parameters")}}


def processor():
    """The processor that the runs were made on, for the page."""
    lines = subprocess.run(["lscpu"], capture_output=True, text=True).stdout.splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{facts.get('Model name', 'unknown')} (family {facts.get('CPU family', '?')}, model {facts.get('Model', '?')})"


def row(cells):
    return "| " + " | ".join(cells) + " |\n"


def table(header, rows):
    return row(header) + row(["---"] * len(header)) + "".join(map(row, rows))


def title(network, width):
    return f"`{network}`" + ("" if width == 1 else f" {width}")


def cell(results, data, network, method, dtype):
    result = results.get(run_of(data, network, 1, method, dtype, 1)["name"])
    if result is None:
        return "–"
    return "failed" if "error" in result else f"{100 * result['test_accuracy']:.1f}" + ("!" if result["loss_rose_at_step"] else "")


def cifar_page(results):
    rows = []
    for network, width in CIFAR:
        cells = [cell(results, "cifar10", network, method, "f32") for method in CIFAR_METHODS]
        try:
            cells.append(f"{float(cells[0]) - float(cells[1]):+.1f}")
        except ValueError:
            cells.append("–")
        rows.append([title(network, width), *cells])
    return table(["CIFAR-10, network and width", *CIFAR_METHODS, "gap of bdwp 2:8"], rows)


def digits_page(results):
    rows = []
    for method in ["dense", *SPARSE]:
        rows.append([method, *[" ".join(cell(results, "digits", network, method, dtype) for dtype in DTYPES) for network, _ in DIGITS]])
    return table(["digits: f32 and bf16", *[title(network, width) for network, width in DIGITS]], rows)


def state_of(results):
    """Which runs are behind the tables, in words."""
    runs = grid()
    missing = [run for run in runs if run["name"] not in results]
    done = [result for result in (results.get(run["name"]) for run in runs) if result and "error" not in result]
    rose = [result["name"] for result in done if result["loss_rose_at_step"]]
    failed = [run["name"] for run in runs if "error" in results.get(run["name"], {})]
    text = f"{len(runs) - len(missing)} of {len(runs)} runs have ended"
    text += f"; those marked – have not run ({', '.join(f'{count} {data}' for data, count in counts(missing))}). " if missing else ". "
    if done:
        lowest = {data: min((r for r in done if r["data"] == data), key=lambda r: r["test_accuracy"], default=None) for data in ("digits", "cifar10")}
        text += "Lowest: " + ", ".join(f"{100 * r['test_accuracy']:.1f} % ({data}, {r['network']}, {r['method']}, {r['dtype']})"
                                       for data, r in lowest.items() if r) + ". "
    text += f"The loss rose above that of the first steps in: {', '.join(rose)} (marked !). " if rose else "In none did the loss rise above that of the first steps. "
    if failed:
        text += f"Failed: {', '.join(failed)}. "
    return text.rstrip() + "\n"


def counts(runs):
    return [(data, sum(run["data"] == data for run in runs)) for data in ("cifar10", "digits") if any(run["data"] == data for run in runs)]


def write_whole(path, text):
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    temporary.rename(path)


def write_page(page, results):
    text = page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        sys.exit(f"defaults.py: {page} lacks the lines {BEGIN.strip()} and {END.strip()}")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    made = f"\nTest accuracy in percent after the last epoch, seed 0, one thread, {processor()}.\n\n"
    made += cifar_page(results) + "\n" + digits_page(results) + "\n" + state_of(results) + "\n"
    write_whole(page, head + BEGIN + made + END + tail)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("program", "page", "cifar10", "runs"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="run those whose name holds TEXT; repeatable")
    arguments = parser.parse_args()
    arguments.runs.mkdir(parents=True, exist_ok=True)
    file = arguments.runs / "results.jsonl"
    results = read_results(file)
    wanted = [run for run in grid() if not arguments.only or any(text in run["name"] for text in arguments.only)]
    todo = [run for run in wanted if run["name"] not in results]
    print(f"{len(wanted) - len(todo)} of {len(wanted)} runs have ended", flush=True)
    for number, run in enumerate(todo, 1):
        result = train(arguments.program, run, arguments.cifar10, arguments.runs)
        results[run["name"]] = result
        write_whole(file, "".join(json.dumps(line) + "\n" for line in results.values()))
        reached = result.get("error") or f"{100 * result['test_accuracy']:.2f} %, {result['seconds']:.0f} s"
        print(f"{number}/{len(todo)} {run['name']}: {reached}", flush=True)
        write_page(arguments.page, results)
    write_page(arguments.page, results)


if __name__ == "__main__":
    main()
