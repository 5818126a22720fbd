#!/usr/bin/env python3
"""Exports image classifiers of torchvision and timm to ONNX, as users do: with PyTorch's older (TorchScript) and newer
(dynamo) exporter, with batch norms folded into convolutions or kept.

Weights are random (nothing is downloaded), but norms get statistics, scales and biases as training leaves them, so that a
mistake in any of them shows. Needs torch, torchvision, timm, onnx and onnxscript.

    python scripts/onnx_export_models.py OUT [--only NAME ...] [--exporter old new] [--norms folded kept]
"""
import argparse
import pathlib
import sys
import warnings

import torch

TORCHVISION = [
    "resnet18", "resnet50", "vgg19", "vgg19_bn", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "densenet121",
    "shufflenet_v2_x1_0", "efficientnet_b0", "convnext_tiny", "vit_b_16", "googlenet",
]
TIMM = [
    "resnet18", "resnet50", "vgg19", "mobilenetv2_100", "mobilenetv3_large_100", "densenet121", "efficientnet_b0",
    "convnext_tiny", "vit_tiny_patch16_224",
]


def build(library, name):
    torch.manual_seed(0)
    if library == "torchvision":
        import torchvision
        options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        model = getattr(torchvision.models, name)(weights=None, **options)
    else:
        import timm
        model = timm.create_model(name, pretrained=False, exportable=True)
    enliven(model)
    return model.eval()


@torch.no_grad()
def enliven(model):
    """Statistics, scales and biases away from 0 and 1, activations kept in range."""
    generator = torch.Generator().manual_seed(1)

    def uniform(tensor, low, high):
        tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)

    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            uniform(module.running_mean, -0.2, 0.2)
            uniform(module.running_var, 0.5, 1.5)
        if isinstance(module, (torch.nn.modules.batchnorm._BatchNorm, torch.nn.LayerNorm)):
            uniform(module.weight, 0.6, 1.4)
            uniform(module.bias, -0.2, 0.2)
        elif getattr(module, "bias", None) is not None and isinstance(module.bias, torch.nn.Parameter):
            uniform(module.bias, -0.1, 0.1)
        if isinstance(module, torch.nn.Linear) and not module.weight.any():
            uniform(module.weight, -0.05, 0.05)  # a head of zeros would hide everything in front of it
    for name, parameter in model.named_parameters():
        if name.endswith(("cls_token", "class_token", "pos_embed", "pos_embedding")):
            uniform(parameter, -0.2, 0.2)
        elif name.endswith(("gamma", "layer_scale")):
            uniform(parameter, 0.1, 0.9)


def export(model, path, exporter, norms, batch, side):
    images = torch.randn(batch, 3, side, side)
    names = {"input_names": ["pixels"], "output_names": ["scores"]}
    if exporter == "old":
        options = {} if norms == "folded" else {
            "training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
        torch.onnx.export(model, (images,), str(path), dynamo=False, opset_version=17,
                          dynamic_axes={"pixels": {0: "batch"}, "scores": {0: "batch"}}, **names, **options)
    else:
        torch.onnx.export(model, (images,), str(path), dynamo=True, external_data=norms == "folded", optimize=norms == "folded",
                          dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},), verbose=False, **names)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--only", nargs="*", default=[], help="library:name or name")
    parser.add_argument("--exporter", nargs="*", default=["old", "new"], choices=["old", "new"])
    parser.add_argument("--norms", nargs="*", default=["folded", "kept"], choices=["folded", "kept"])
    parser.add_argument("--side", type=int, default=224)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    models = [("torchvision", name) for name in TORCHVISION] + [("timm", name) for name in TIMM]
    failed = 0
    for library, name in models:
        if arguments.only and name not in arguments.only and f"{library}:{name}" not in arguments.only:
            continue
        for exporter in arguments.exporter:
            for norms in arguments.norms:
                path = arguments.out / f"{library}.{name}.{exporter}.{norms}.onnx"
                if path.exists():
                    continue
                try:
                    export(build(library, name), path, exporter, norms, 2, arguments.side)
                    print(path.name, flush=True)
                except Exception as error:  # an exporter's own failure is reported and the others go on
                    failed += 1
                    print(f"{path.name}: the export failed: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
