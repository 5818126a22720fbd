#!/usr/bin/env python3
"""Training step time of enmesh beside PyTorch's, interleaved in one run; prints a Markdown table.

    scripts/peers.sh                                    # once: a virtual environment with PyTorch
    .venv-peers/bin/python bench/step_vs_pytorch.py --model resnet18 --batch 128 --rounds 7
    .venv-peers/bin/python bench/step_vs_pytorch.py --model vit_small --image 3x224x224 --classes 1000 --batch 8

Every contestant is a process of its own that runs one step whenever it is asked, so that rounds interleave and each
one's peak memory is its own. Steps include forward, backward and SGD with momentum; data is random and fixed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

TORCH_VARIANTS = ["eager nchw", "eager nhwc", "compile nchw", "compile nhwc"]  # " bf16" behind one: autocast


def torch_vit(classes):
    import torch
    import torch.nn as nn

    width, heads, tokens = 384, 6, 197

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

        def forward(self, x):
            n = x.shape[0]
            q, k, v = self.qkv(self.norm1(x)).view(n, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            y = nn.functional.scaled_dot_product_attention(q, k, v)
            x = x + self.proj(y.transpose(1, 2).reshape(n, tokens, width))
            return x + self.mlp(self.norm2(x))

    class Vit(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, width, 16, 16)
            self.token = nn.Parameter(torch.zeros(1, 1, width))
            self.positions = nn.Parameter(torch.zeros(1, tokens, width))
            self.blocks = nn.Sequential(*[Block() for _ in range(12)])
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
            return self.head(self.norm(self.blocks(x))[:, 0])

    return Vit()


def torch_model(name, classes, side):
    import torch.nn as nn

    def conv(cin, cout, stride=1, kernel=3):
        return [nn.Conv2d(cin, cout, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(cout)]

    class Block(nn.Module):
        def __init__(self, cin, cout, stride):
            super().__init__()
            self.body = nn.Sequential(*conv(cin, cout, stride), nn.ReLU(), *conv(cout, cout))
            project = stride != 1 or cin != cout
            self.shortcut = nn.Sequential(*conv(cin, cout, stride, 1)) if project else nn.Identity()
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.body(x) + self.shortcut(x))

    class Bottleneck(nn.Module):
        def __init__(self, cin, c, stride):
            super().__init__()
            self.body = nn.Sequential(*conv(cin, c, 1, 1), nn.ReLU(), *conv(c, c, stride), nn.ReLU(), *conv(c, 4 * c, 1, 1))
            project = stride != 1 or cin != 4 * c
            self.shortcut = nn.Sequential(*conv(cin, 4 * c, stride, 1)) if project else nn.Identity()
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.body(x) + self.shortcut(x))

    class Residual(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.body = nn.Sequential(*conv(c, c), nn.ReLU(), *conv(c, c), nn.ReLU())

        def forward(self, x):
            return x + self.body(x)

    if name == "vit_small" and side == 224:
        return torch_vit(classes)
    if name == "resnet50" and side == 224:
        layers = conv(3, 64, 2, 7) + [nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        cin = 64
        for c, count, stride in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
            for i in range(count):
                layers.append(Bottleneck(cin, c, stride if i == 0 else 1))
                cin = 4 * c
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, classes))
    if side != 32:
        sys.exit(f"step_vs_pytorch: no PyTorch twin of '{name}' for {side} pixels")
    if name == "resnet18":
        layers = conv(3, 64) + [nn.ReLU()]
        cin = 64
        for cout, stride in [(64, 1), (128, 2), (256, 2), (512, 2)]:
            layers += [Block(cin, cout, stride), Block(cout, cout, 1)]
            cin = cout
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    if name == "resnet9":
        layers = conv(3, 64) + [nn.ReLU()] + conv(64, 128) + [nn.ReLU(), nn.MaxPool2d(2), Residual(128)]
        layers += conv(128, 256) + [nn.ReLU(), nn.MaxPool2d(2)] + conv(256, 512) + [nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*layers, Residual(512), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(512, classes))
    if name == "vgg19":
        layers, cin = [], 3
        for c in [64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512, 0]:
            if c == 0:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(cin, c, 3, padding=1), nn.BatchNorm2d(c), nn.ReLU()]
                cin = c
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    sys.exit(f"step_vs_pytorch: no PyTorch twin of '{name}' (known: resnet9, resnet18, vgg19; at 224 pixels resnet50, vit_small)")


def torch_worker(name, classes, side, batch, threads, variant):
    import torch

    mode, layout, *rest = variant.split()
    autocast = rest == ["bf16"]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = torch_model(name, classes, side)
    images = torch.randn(batch, 3, side, side)
    labels = torch.randint(0, classes, (batch,))
    if layout == "nhwc":
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    run = torch.compile(model) if mode == "compile" else model
    loss_of = torch.nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = loss_of(run(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    step()
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)


class Contestant:
    def __init__(self, title, command):
        self.title, self.seconds = title, []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_ready(self):
        line = self.process.stdout.readline()
        if line.strip() != "ready":
            sys.exit(f"step_vs_pytorch: {self.title} did not start (answered '{line.strip()}')")

    def ask(self, record=True):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds = float(self.process.stdout.readline())
        if record:
            self.seconds.append(seconds)

    def peak_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) * 1024
        return 0

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def cpu_model():
    with open("/proc/cpuinfo") as info:
        for line in info:
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return "unknown CPU"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--image", default="3x32x32", help="CxHxW")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--methods", nargs="*", default=["dense", "bdwp@2:8"],
                        help='METHOD or METHOD@N:M of enmesh; "METHOD@N:M bf16" for bfloat16')
    parser.add_argument("--variants", nargs="*", default=TORCH_VARIANTS, help="of PyTorch")
    parser.add_argument("--enmesh", default="build/bin/enmesh")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    side = int(options.image.split("x")[-1])
    if options.worker:
        return torch_worker(options.model, options.classes, side, options.batch, options.threads, options.worker)

    shape = ["--model", options.model, "--image", options.image, "--classes", str(options.classes), "--batch", str(options.batch), "--threads", str(options.threads)]
    commands = [(f"enmesh {method}", [options.enmesh, "bench", "step", "--on-request", "--compare", method.split()[0],
                                      "--dtype", (method.split() + ["f32"])[1], "--plan", "measure", *shape])
                for method in options.methods]
    commands += [(f"PyTorch {variant}", [sys.executable, __file__, "--worker", variant, *shape]) for variant in options.variants]
    contestants = []
    for title, command in commands:  # one by one: enmesh measures its kernels while it starts, PyTorch compiles
        contestants.append(Contestant(title, command))
        contestants[-1].wait_ready()
    for one in contestants:
        one.ask(record=False)
    for _ in range(options.rounds):
        for one in contestants:
            one.ask()

    def best_torch(bf16):
        medians = [(one.title.endswith(" bf16"), statistics.median(one.seconds)) for one in contestants if one.title.startswith("PyTorch")]
        return min([median for narrow, median in medians if narrow == bf16] or [median for _, median in medians])

    print(f"{cpu_model()}, {options.threads} threads; {options.model}, {options.image}, batch {options.batch}, float32 "
          f"where not stated; "
          f"median of {options.rounds} interleaved steps\n")
    print("| | median s | min s | max s | vs PyTorch's best (of that dtype, if it runs) | peak memory MiB |\n|---|---|---|---|---|---|")
    for one in contestants:
        median = statistics.median(one.seconds)
        best = best_torch(one.title.endswith(" bf16"))
        print(f"| {one.title} | {median:.3f} | {min(one.seconds):.3f} | {max(one.seconds):.3f} | {best / median:.2f}x | "
              f"{one.peak_bytes() / 2**20:.0f} |")
    for one in contestants:
        one.close()


if __name__ == "__main__":
    main()
