#!/usr/bin/env python3
"""Ten training losses of enmesh and of PyTorch from the same weights and images.

    scripts/peers.sh                                    # once: a virtual environment with PyTorch
    .venv-peers/bin/python tests/peers/pytorch_losses.py build/bin/enmesh

Images and weights are made here, written as CIFAR-10 files and safetensors, and trained on by both. The training set is a
single batch, so that its order does not matter and every epoch is one update. With dense products kept direct the losses
must agree within 1e-4 relative; with Winograd the difference is printed. Exits with 77, which ctest takes as skipped,
where PyTorch is not installed.
"""

import json
import os
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
    from torch import nn
except ImportError as error:
    print(f"skipped: {error.name} is not installed here (scripts/peers.sh makes an environment with it)")
    sys.exit(77)

BATCH, STEPS, WIDTH = 160, 10, 0.25
# At ten times this rate rounding alone sets PyTorch's channels-first and channels-last losses 1e-3 apart after ten steps.
RATE, MOMENTUM, DECAY = 0.0002, 0.9, 5e-4
TOLERANCE = 1e-4


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x):
        return x + torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class ResNet9(nn.Module):
    """enmesh's resnet9, with its names."""

    def __init__(self, width):
        super().__init__()
        a, b, c, d = (int(channels * width) for channels in (64, 128, 256, 512))
        for index, (cin, cout) in enumerate([(3, a), (a, b), (b, c), (c, d)], 1):
            setattr(self, f"conv{index}", nn.Conv2d(cin, cout, 3, padding=1, bias=False))
            setattr(self, f"bn{index}", nn.BatchNorm2d(cout))
        self.res1, self.res2, self.fc = Residual(b), Residual(d), nn.Linear(d, 10)

    def forward(self, x):
        pool = nn.functional.max_pool2d
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.res1(pool(torch.relu(self.bn2(self.conv2(x))), 2))
        x = pool(torch.relu(self.bn3(self.conv3(x))), 2)
        x = pool(torch.relu(self.bn4(self.conv4(x))), 2)
        return self.fc(pool(self.res2(x), 4).flatten(1))


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(array.tobytes())


def make_images(folder):
    """Five training files and a test file as CIFAR-10's; blobs of a class's colour and place under noise."""
    random = np.random.default_rng(7)
    labels = random.integers(0, 10, BATCH).astype(np.uint8)
    pixels = random.integers(0, 120, (BATCH, 3, 32, 32)).astype(np.uint8)
    for image, label in zip(pixels, labels):
        image[label % 3, 3 * (label // 3) : 3 * (label // 3) + 12, 4:28] += 100
    records = np.concatenate([labels[:, None], pixels.reshape(BATCH, -1)], axis=1)
    for index, part in enumerate(np.split(records, 5), 1):
        part.tofile(os.path.join(folder, f"data_batch_{index}.bin"))
    records[:10].tofile(os.path.join(folder, "test_batch.bin"))
    values = pixels.astype(np.float64) / 255
    mean, deviation = values.mean(axis=(0, 2, 3)), values.std(axis=(0, 2, 3))
    images = (values - mean[:, None, None]) / deviation[:, None, None]
    return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))


def pytorch_losses(model, images, labels):
    decayed = [p for p in model.parameters() if p.dim() > 1]
    exempt = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": DECAY}, {"params": exempt}], lr=RATE, momentum=MOMENTUM, nesterov=True
    )
    losses = []
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def enmesh_losses(program, folder, winograd):
    out = os.path.join(folder, f"run-{winograd}")
    command = [program, "train", "--model", "resnet9", "--width", str(WIDTH), "--data", f"cifar10:{folder}"]
    command += ["--no-augment", "--batch", str(BATCH), "--epochs", str(STEPS), "--schedule", "constant", "--warmup", "0", "--clip", "0"]
    command += ["--lr", str(RATE), "--momentum", str(MOMENTUM), "--nesterov", "--weight-decay", str(DECAY)]
    command += ["--init", os.path.join(folder, "weights.safetensors"), "--plan", "default", "--out", out]
    run = subprocess.run(command, env={**os.environ, "ENMESH_WINOGRAD": winograd}, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"enmesh train failed: {run.stderr}")
    with open(os.path.join(out, "metrics.jsonl")) as file:
        return [json.loads(line)["train_loss"] for line in file]


def largest_difference(ours, theirs):
    if len(ours) != len(theirs):
        return float("inf")
    return max((abs(a - b) / abs(b) if abs(a - b) >= 0 else float("inf")) for a, b in zip(ours, theirs))


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "build/bin/enmesh"
    assert largest_difference([float("nan")], [1.0]) == float("inf") and largest_difference([0.0], [1.0]) == 1
    torch.manual_seed(3)
    model = ResNet9(WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        images, labels = make_images(folder)
        weights = {n: p.numpy() for n, p in model.state_dict().items() if not n.endswith("num_batches_tracked")}
        write_safetensors(os.path.join(folder, "weights.safetensors"), weights)
        direct = enmesh_losses(program, folder, "0")
        winograd = enmesh_losses(program, folder, "1")
        theirs = pytorch_losses(model, images, labels)
    print("step  PyTorch     enmesh      with Winograd")
    for step, losses in enumerate(zip(theirs, direct, winograd), 1):
        print(f"{step:4}  " + "  ".join(f"{loss:.8f}" for loss in losses))
    difference = largest_difference(direct, theirs)
    print(f"largest relative difference: {difference:.1e}, with Winograd {largest_difference(winograd, theirs):.1e}")
    if not difference <= TOLERANCE:
        sys.exit(f"the losses differ by more than {TOLERANCE:.0e}")


main()
