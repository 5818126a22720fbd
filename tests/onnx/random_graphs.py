"""Random ONNX graphs, one operator each: attributes, shapes and operator sets are drawn from a seed. `random_graphs(seed,
count)` yields (name, model) with an input "x" as make_graphs.py has it; what ONNX Runtime does not take is drawn again."""
import numpy as np
import onnx
import onnxruntime

from make_graphs import Builder, C, H, W

OLDEST = 8
onnxruntime.set_default_logger_severity(3)


def newest():
    """The newest operator set that both onnx and ONNX Runtime know."""
    for opset in range(onnx.defs.onnx_opset_version(), OLDEST, -1):
        b = Builder(opset)
        try:
            b.model(b.op("Relu", "x"))
            return opset
        except Exception:
            continue
    return OLDEST


class Draw:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def whole(self, low, high):
        return int(self.random.integers(low, high + 1))

    def one(self, *values):
        return values[self.whole(0, len(values) - 1)]

    def real(self, low, high):
        return float(self.random.uniform(low, high))

    def wholes(self, count, low, high):
        return [self.whole(low, high) for _ in range(count)]

    def maybe(self, attributes, name, value):
        if self.whole(0, 1):
            attributes[name] = value
        return attributes


def axes_op(b, kind, x, axes, **attributes):
    """An operator whose axes are an input since the operator set that this table says."""
    since = {"ReduceSum": 13, "Squeeze": 13, "Unsqueeze": 13}.get(kind, 18)
    if b.opset >= since:
        return b.op(kind, x, b.ints(*axes), **attributes)
    return b.op(kind, x, axes=axes, **attributes)


def reshape(b, x, *shape):
    return b.op("Reshape", x, b.ints(0, *shape))


def maps(b, d, axes=None):
    """A value of N x c x one to three axes, made of x."""
    axes = axes or d.whole(1, 3)
    if axes == 2:
        return "x", [C, H, W]
    if axes == 1:
        c = d.one(6, 12, 24)
        return reshape(b, "x", c, C * H * W // c), [c, C * H * W // c]
    c, deep, high = d.one((4, 3, 6), (6, 3, 4), (2, 6, 6))
    return reshape(b, "x", c, deep, high, C * H * W // (c * deep * high)), [c, deep, high, C * H * W // (c * deep * high)]


def window(d, extents, attributes, dilated=True):
    axes = len(extents)
    kernel = [d.whole(1, min(4, extent)) for extent in extents]
    attributes["kernel_shape"] = kernel
    d.maybe(attributes, "strides", d.wholes(axes, 1, 3))
    if dilated:
        d.maybe(attributes, "dilations", d.wholes(axes, 1, 2))
    if d.whole(0, 3) == 0:
        attributes["auto_pad"] = d.one("SAME_UPPER", "SAME_LOWER", "VALID")
        attributes.pop("dilations", None)
    else:
        d.maybe(attributes, "pads", [d.whole(0, k - 1) for k in kernel + kernel])
    return kernel


def conv(b, d):
    x, (c, *extents) = maps(b, d)
    attributes = {}
    kernel = window(d, extents, attributes)
    groups = d.one(1, 1, 2, c)
    out = groups * d.whole(1, 3)
    attributes["group"] = groups
    inputs = [x, b.weights(out, c // groups, *kernel)] + ([b.weights(out)] if d.whole(0, 1) else [])
    return b.op("Conv", *inputs, **attributes)


def conv_transpose(b, d):
    x, (c, *extents) = maps(b, d, d.whole(1, 2))
    axes, attributes = len(extents), {}
    kernel = d.wholes(axes, 1, 4)
    strides = d.wholes(axes, 1, 3)
    attributes["strides"] = strides
    d.maybe(attributes, "dilations", d.wholes(axes, 1, 2))
    form = d.whole(0, 3)
    if form == 0:
        attributes["output_shape"] = [(e - 1) * s + 1 for e, s in zip(extents, strides)]
        attributes["auto_pad"] = d.one("SAME_UPPER", "SAME_LOWER")
        kernel = [max(k, s) for k, s in zip(kernel, strides)]
    elif form == 1:
        attributes["auto_pad"] = d.one("SAME_UPPER", "SAME_LOWER", "VALID")
        kernel = [max(k, s) for k, s in zip(kernel, strides)]
    else:
        d.maybe(attributes, "pads", [d.whole(0, min(2, k)) for k in kernel + kernel])
        d.maybe(attributes, "output_padding", [d.whole(0, s - 1) for s in strides])
    groups = d.one(1, 1, 2, c)
    attributes["group"] = groups
    out = d.whole(1, 3)
    inputs = [x, b.weights(c, out, *kernel)] + ([b.weights(out * groups)] if d.whole(0, 1) else [])
    return b.op("ConvTranspose", *inputs, **attributes)


def pool(kind):
    def make(b, d):
        x, (_, *extents) = maps(b, d)
        attributes = {}
        window(d, extents, attributes, dilated=False)
        if b.opset >= 10 and "auto_pad" not in attributes and not (kind == "AveragePool" and len(extents) == 3):
            d.maybe(attributes, "ceil_mode", 1)
        if kind == "AveragePool":
            d.maybe(attributes, "count_include_pad", 1)
            if len(extents) == 3:
                attributes["count_include_pad"] = 1
        return b.op(kind, x, **attributes)
    return make


def global_pool(kind):
    return lambda b, d: b.op(kind, maps(b, d)[0])


def batch_norm(b, d):
    x, (c, *_) = maps(b, d)
    statistics = [b.weights(c, low=0.5, high=1.5), b.weights(c), b.weights(c), b.weights(c, low=0.5, high=1.5)]
    return b.op("BatchNormalization", x, *statistics, epsilon=d.real(1e-5, 1e-2))


def instance_norm(b, d):
    x, (c, *_) = maps(b, d)
    return b.op("InstanceNormalization", x, b.weights(c, low=0.5, high=1.5), b.weights(c), epsilon=d.real(1e-5, 1e-2))


def group_norm(b, d):
    x, (c, *_) = maps(b, d)
    groups = d.one(1, 2, c)
    numbers = c if b.opset >= 21 else groups
    return b.op("GroupNormalization", x, b.weights(numbers, low=0.5, high=1.5), b.weights(numbers), num_groups=groups)


def layer_norm(b, d):
    axis = d.whole(1, 3)
    shape = [C, H, W][axis - 1:]
    bias = [b.weights(*shape)] if d.whole(0, 1) else []
    return b.op("LayerNormalization", "x", b.weights(*shape), *bias, axis=axis - d.one(0, 4))


def lrn(b, d):
    x, _ = maps(b, d, 2)
    attributes = {"size": d.one(1, 3, 5, 7)}
    for name, low, high in (("alpha", 1e-4, 1.0), ("beta", 0.3, 1.2), ("bias", 0.5, 2.0)):
        d.maybe(attributes, name, d.real(low, high))
    return b.op("LRN", x, **attributes)


def resize(b, d):
    axes = d.whole(1, 2)
    x, (c, *extents) = maps(b, d, axes)
    mode = d.one("nearest", "linear")
    scales = [1.0, 1.0] + [d.one(0.5, 1.0, 2.0, 3.0, 0.75, 1.5, 2.3) for _ in extents]
    known = np.array(scales, np.float32)
    if b.opset < 9:
        return b.op("Upsample", x, mode=mode, scales=[max(1.0, s) for s in scales])
    if b.opset < 11:
        kind = d.one("Upsample", "Resize") if b.opset == 9 else "Resize"
        kind = "Upsample" if b.opset == 9 else kind
        return b.op(kind, x, b.known(np.maximum(known, 1) if kind == "Upsample" else known), mode=mode)
    attributes = {"mode": mode}
    modes = ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"]
    if b.opset >= 19:
        modes.append("half_pixel_symmetric")
    if b.opset < 13 and mode == "nearest":
        modes.append("tf_half_pixel_for_nn")
    d.maybe(attributes, "coordinate_transformation_mode", d.one(*modes))
    if mode == "nearest":
        d.maybe(attributes, "nearest_mode", d.one("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"))
    roi = "" if b.opset >= 13 else b.known(np.zeros(0, np.float32))
    if d.whole(0, 1):
        return b.op("Resize", x, roi, b.known(known), **attributes)
    # N is open, so sizes are given for the other axes where the operator set lets us name them.
    sizes = [d.whole(1, 2 * extent) for extent in extents]
    if b.opset < 18:
        return b.op("Resize", x, roi, b.known(known), **attributes)
    return b.op("Resize", x, roi, "", b.ints(*sizes), axes=list(range(2, 2 + axes)), **attributes)


def softmax(kind):
    def make(b, d):
        x, shape = maps(b, d)
        return b.op(kind, x, **d.maybe({}, "axis", d.whole(1, len(shape))))
    return make


def reduce(kind):
    def make(b, d):
        x, shape = maps(b, d)
        axes = sorted(set(d.wholes(d.whole(1, 3), 1, len(shape))))
        return axes_op(b, kind, x, axes, **d.maybe({}, "keepdims", 0))
    return make


def activation(kind, since=OLDEST, **ranges):
    def make(b, d):
        x, _ = maps(b, d)
        attributes = {}
        for name, (low, high) in ranges.items():
            d.maybe(attributes, name, d.real(low, high))
        return b.op(kind, b.op("Mul", x, b.number(d.one(1.0, 8.0, 30.0))), **attributes)
    return make


def prelu(b, d):
    x, (c, *extents) = maps(b, d)
    shape = d.one([1], [c] + [1] * len(extents), [1, c] + [1] * len(extents), extents[-1:])
    return b.op("PRelu", x, b.weights(*shape))


def add_up(b, d):
    others = [d.one("x", b.op("Relu", "x"), b.weights(C, 1, 1), b.weights(1, 1, W)) for _ in range(d.whole(0, 3))]
    return b.op("Sum", "x", *others)


def slice_concat(b, d):
    """Parts of one axis, some of them empty."""
    axis = d.whole(1, 3)
    extent = [C, H, W][axis - 1]
    cuts = sorted(d.wholes(d.whole(1, 3), 0, extent))
    parts = []
    for begin, end in zip([0] + cuts, cuts + [extent]):
        if b.opset < 10:
            parts.append(b.op("Slice", "x", starts=[begin], ends=[end], axes=[axis]))
        else:
            parts.append(b.op("Slice", "x", b.ints(begin), b.ints(end), b.ints(axis)))
    return b.op("Concat", *parts, axis=axis)


def split_concat(b, d):
    axis = d.whole(1, 3)
    extent = [C, H, W][axis - 1]
    first = d.whole(0, extent)
    sizes = [first, extent - first]
    if b.opset < 13:
        parts = b.op("Split", "x", outputs=2, axis=axis, split=sizes)
    else:
        parts = b.op("Split", "x", b.ints(*sizes), outputs=2, axis=axis)
    return b.op("Concat", *reversed(parts), axis=axis)


def clip(b, d):
    low, high = d.real(-1, 0), d.real(0, 1)
    if b.opset < 11:
        return b.op("Clip", "x", **d.maybe({"min": low}, "max", high))
    return b.op("Clip", "x", b.number(low), *([b.number(high)] if d.whole(0, 1) else []))


def pad(b, d):
    pads = [0, *d.wholes(3, -1, 2), 0, *d.wholes(3, -1, 2)]
    if b.opset < 11:
        return b.op("Pad", "x", **d.maybe({"pads": pads}, "value", 0.5))
    return b.op("Pad", "x", b.ints(*pads), *([b.number(0.5)] if d.whole(0, 1) else []))


def dropout(b, d):
    attributes = d.maybe({}, "ratio", 0.3) if b.opset < 12 else {}
    return b.op("Dropout", b.op("Relu", "x"), outputs=2, **attributes)[0]


def gemm(b, d):
    features, out = C * H * W, d.whole(1, 9)
    transposed = d.whole(0, 1)
    weights = b.weights(out, features) if transposed else b.weights(features, out)
    bias = [b.weights(out)] if b.opset < 11 or d.whole(0, 1) else []
    attributes = {"transB": transposed}
    d.maybe(attributes, "alpha", d.real(0.5, 2))
    d.maybe(attributes, "beta", d.real(0.5, 2))
    return b.op("Gemm", b.op("Flatten", "x", axis=1), weights, *bias, **attributes)


def squeeze(b, d):
    pooled = b.op("GlobalAveragePool", "x")
    return axes_op(b, "Unsqueeze", axes_op(b, "Squeeze", pooled, [2, 3]), [d.whole(1, 2)])


def stored_as(kind):
    """Weights of another float type behind Cast, as converters to float16 storage write them."""
    def make(b, d):
        stored = b.known(b.random.uniform(-0.5, 0.5, (4, C, 3, 3)).astype(kind))
        return b.op("Conv", "x", b.op("Cast", stored, to=1))
    return make


def constant_weights(b, d):
    """Weights in Constant nodes."""
    def constant(*shape):
        return b.op("Constant", value=onnx.numpy_helper.from_array(b.random.uniform(-0.5, 0.5, shape).astype(np.float32)))
    return b.op("Conv", "x", constant(4, C, 3, 3), constant(4), pads=d.wholes(4, 0, 2))


# Name, maker, first operator set.
MAKERS = [
    ("conv", conv, OLDEST), ("conv_transpose", conv_transpose, OLDEST), ("max_pool", pool("MaxPool"), OLDEST),
    ("average_pool", pool("AveragePool"), OLDEST), ("global_average_pool", global_pool("GlobalAveragePool"), OLDEST),
    ("global_max_pool", global_pool("GlobalMaxPool"), OLDEST), ("batch_norm", batch_norm, 9),
    ("instance_norm", instance_norm, OLDEST), ("group_norm", group_norm, 18), ("layer_norm", layer_norm, 17),
    ("lrn", lrn, OLDEST), ("resize", resize, OLDEST), ("softmax", softmax("Softmax"), OLDEST),
    ("log_softmax", softmax("LogSoftmax"), OLDEST), ("reduce_max", reduce("ReduceMax"), OLDEST),
    ("reduce_mean", reduce("ReduceMean"), OLDEST), ("reduce_sum", reduce("ReduceSum"), OLDEST),
    ("elu", activation("Elu", alpha=(0.2, 2)), OLDEST), ("softplus", activation("Softplus"), OLDEST),
    ("mish", activation("Mish"), 18), ("leaky_relu", activation("LeakyRelu", alpha=(0.01, 0.5)), OLDEST),
    ("hard_sigmoid", activation("HardSigmoid", alpha=(0.1, 0.5), beta=(0.2, 0.8)), OLDEST), ("prelu", prelu, OLDEST),
    ("sum", add_up, OLDEST), ("slice_concat", slice_concat, OLDEST), ("split_concat", split_concat, OLDEST),
    ("clip", clip, OLDEST), ("pad", pad, OLDEST), ("dropout", dropout, OLDEST), ("gemm", gemm, OLDEST),
    ("squeeze", squeeze, OLDEST), ("half_storage", stored_as(np.float16), 9),
    ("double_storage", stored_as(np.float64), 9), ("constant_weights", constant_weights, OLDEST),
]


def random_graphs(seed, rounds):
    last = newest()
    for i in range(rounds):
        for index, (name, make, since) in enumerate(MAKERS):
            for attempt in range(20):
                d = Draw([seed, i, index, attempt])
                b = Builder(d.whole(since, last))
                b.random = np.random.default_rng([seed, i, index, attempt, 1])
                try:
                    model = b.model(make(b, d))
                    onnx.checker.check_model(model)
                    Builder.shape_of_result(model)
                except Exception:
                    continue  # ONNX Runtime does not run it
                yield f"{name}_{b.opset}_{seed}_{i}", model
                break
            else:
                raise RuntimeError(f"{name}: ONNX Runtime refused twenty draws in a row")
