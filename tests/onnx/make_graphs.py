"""Small ONNX graphs, one or more per operator that enmesh imports. `graphs()` yields (name, model): one input "x" of
N x C x H x W (dynamic N), one output "y"."""
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

C, H, W = 6, 9, 8


class Builder:
    """Collects nodes; every initialiser and intermediate value gets a name."""

    def __init__(self, opset):
        self.opset = opset
        self.nodes, self.initializers, self.count = [], [], 0
        self.random = np.random.default_rng(7)

    def weights(self, *shape, low=-0.5, high=0.5, name=None):
        return self.known(self.random.uniform(low, high, shape).astype(np.float32), name)

    def known(self, array, name=None):
        self.count += 1
        name = name or f"w{self.count}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def ints(self, *values):
        return self.known(np.array(values, np.int64))

    def number(self, value):
        return self.known(np.array(value, np.float32))

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"/{kind}_{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def model(self, result):
        self.nodes.append(helper.make_node("Flatten", [result], ["y"], name="/last", axis=1))
        graph = helper.make_graph(
            self.nodes, "graph", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", C, H, W])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = min(model.ir_version, 10)
        model = onnx.shape_inference.infer_shapes(model)
        if not model.graph.output[0].type.tensor_type.HasField("shape"):
            model.graph.output[0].type.tensor_type.shape.CopyFrom(self.shape_of_result(model))
        return model

    @staticmethod
    def shape_of_result(model):
        """Where inference does not reach: a run says it, the first axis being the batch."""
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        shape = session.run(None, {"x": np.zeros((2, C, H, W), np.float32)})[0].shape
        info = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *shape[1:]])
        return info.type.tensor_type.shape


def conv(b, x, out=6, kernel=3, groups=1, bias=True, **attributes):
    inputs = [x, b.weights(out, C // groups, kernel, kernel)] + ([b.weights(out)] if bias else [])
    return b.op("Conv", *inputs, group=groups, **attributes)


def flat(b, x):
    return b.op("Flatten", x, axis=1)


def tokens(b, x):
    """N x 72 x 6."""
    shape = b.op("Shape", x)
    batch = b.op("Gather", shape, b.known(np.array(0, np.int64)), axis=0)
    batch = b.op("Unsqueeze", batch, b.ints(0))
    target = b.op("Concat", batch, b.ints(C), b.ints(-1), axis=0)
    return b.op("Transpose", b.op("Reshape", x, target), perm=[0, 2, 1])


def unary(kind, **attributes):
    return lambda b, x: b.op(kind, x, **attributes)


def layer_norm_parts(b, x, product=False):
    t = tokens(b, x)
    mean = b.op("ReduceMean", t, axes=[-1]) if b.opset < 18 else b.op("ReduceMean", t, b.ints(-1))
    centred = b.op("Sub", t, mean)
    square = b.op("Mul", centred, centred) if product else b.op("Pow", centred, b.number(2.0))
    variance = b.op("ReduceMean", square, axes=[-1]) if b.opset < 18 else b.op("ReduceMean", square, b.ints(-1))
    deviation = b.op("Sqrt", b.op("Add", variance, b.number(1e-5)))
    scaled = b.op("Mul", b.op("Div", centred, deviation), b.weights(C, low=0.5, high=1.5))
    return b.op("Add", scaled, b.weights(C))



def gelu_erf(b, x):
    inner = b.op("Add", b.op("Erf", b.op("Div", x, b.number(np.sqrt(2.0)))), b.number(1.0))
    return b.op("Mul", b.op("Mul", x, inner), b.number(0.5))


def gelu_tanh(b, x):
    cube = b.op("Mul", b.number(0.044715), b.op("Pow", x, b.number(3.0)))
    inner = b.op("Mul", b.op("Add", x, cube), b.number(np.sqrt(2 / np.pi)))
    gate = b.op("Add", b.op("Tanh", inner), b.number(1.0))
    return b.op("Mul", b.op("Mul", b.number(0.5), x), gate)


def attention(b, x):
    t = tokens(b, x)
    qkv = b.op("Add", b.op("MatMul", t, b.weights(C, 3 * C)), b.weights(3 * C))
    shape = b.op("Shape", t)
    batch = b.op("Slice", shape, b.ints(0), b.ints(1))
    heads = b.op("Reshape", qkv, b.op("Concat", batch, b.ints(72, 3, 2, 3), axis=0))
    heads = b.op("Transpose", heads, perm=[2, 0, 3, 1, 4])
    q, k, v = b.op("Split", heads, outputs=3, axis=0, **({"num_outputs": 3} if b.opset >= 18 else {}))
    q, k, v = (b.op("Squeeze", part, b.ints(0)) for part in (q, k, v))
    scores = b.op("MatMul", b.op("Mul", q, b.number(0.577)), b.op("Transpose", k, perm=[0, 1, 3, 2]))
    mixed = b.op("MatMul", b.op("Softmax", scores, axis=-1), v)
    mixed = b.op("Transpose", mixed, perm=[0, 2, 1, 3])
    mixed = b.op("Reshape", mixed, b.op("Concat", batch, b.ints(72, C), axis=0))
    return b.op("MatMul", mixed, b.weights(C, C))


def shuffle(b, x):
    x = conv(b, x, kernel=1, groups=2)
    grouped = b.op("Reshape", x, b.ints(0, 2, 3, H, W))
    swapped = b.op("Transpose", grouped, perm=[0, 2, 1, 3, 4])
    left, right = b.op("Split", b.op("Reshape", swapped, b.ints(0, -1, H, W)), b.ints(3, 3), outputs=2, axis=1)
    return b.op("Concat", b.op("Relu", right), left, axis=1)


def squeeze_excite(b, x):
    pooled = b.op("GlobalAveragePool", x)
    hidden = b.op("Relu", conv(b, pooled, kernel=1))
    return b.op("Mul", x, b.op("Sigmoid", conv(b, hidden, kernel=1)))


def class_token(b, x):
    t = tokens(b, x)
    batch = b.op("Slice", b.op("Shape", t), b.ints(0), b.ints(1))
    ones = b.op("ConstantOfShape", b.ints(3), value=helper.make_tensor("v", TensorProto.INT64, [1], [1]))
    wanted = b.op("Concat", batch, b.ints(-1, -1), axis=0)
    minus = b.op("Mul", ones, b.ints(-1))
    target = b.op("Where", b.op("Equal", wanted, minus), ones, wanted)
    token = b.op("Expand", b.weights(1, 1, C, name="cls_token"), target)
    joined = b.op("Concat", token, t, axis=1)
    joined = b.op("Add", joined, b.weights(1, 73, C, name="pos_embed"))
    return b.op("Gather", joined, b.known(np.array(0, np.int64)), axis=1)


def norm(b, x):
    return b.op("BatchNormalization", x, b.weights(C, low=0.5, high=1.5), b.weights(C), b.weights(C),
                b.weights(C, low=0.5, high=2.0), epsilon=1e-3)


def cases():
    yield "conv", lambda b, x: conv(b, x, pads=[1, 1, 1, 1])
    yield "conv_asymmetric", lambda b, x: conv(b, x, out=8, pads=[0, 1, 2, 1], strides=[2, 1], bias=False)
    yield "conv_dilated", lambda b, x: conv(b, x, dilations=[2, 2], pads=[2, 2, 2, 2])
    yield "conv_grouped", lambda b, x: conv(b, x, out=9, groups=3, pads=[1, 1, 1, 1])
    yield "conv_depthwise", lambda b, x: conv(b, x, groups=6, pads=[1, 1, 1, 1], strides=[2, 2])
    yield "conv_same_upper", lambda b, x: conv(b, x, kernel=4, auto_pad="SAME_UPPER", strides=[2, 2])
    yield "conv_same_lower", lambda b, x: conv(b, x, kernel=4, auto_pad="SAME_LOWER", strides=[2, 2])
    yield "gemm", lambda b, x: b.op("Gemm", flat(b, x), b.weights(C * H * W, 5), b.weights(5))
    yield "gemm_transposed", lambda b, x: b.op("Gemm", flat(b, x), b.weights(5, C * H * W), b.weights(5), transB=1)
    yield "gemm_scaled", lambda b, x: b.op("Gemm", flat(b, x), b.weights(5, C * H * W), b.weights(5), transB=1, alpha=0.5, beta=2.0)
    yield "matmul", lambda b, x: b.op("MatMul", x, b.weights(W, 5))
    yield "matmul_bias", lambda b, x: b.op("Add", b.weights(5), b.op("MatMul", tokens(b, x), b.weights(C, 5)))
    yield "matmul_transposed_weight", lambda b, x: b.op(
        "MatMul", tokens(b, x), b.op("Transpose", b.weights(5, C, name="fc.weight"), perm=[1, 0]))
    yield "matmul_values", lambda b, x: b.op("MatMul", x, b.op("Transpose", x, perm=[0, 1, 3, 2]))
    yield "matmul_broadcast", lambda b, x: b.op("MatMul", b.weights(1, 1, 4, H), x)
    yield "batch_norm", norm
    yield "conv_batch_norm_relu", lambda b, x: b.op("Relu", norm(b, conv(b, x, pads=[1, 1, 1, 1])))
    yield "layer_norm_parts", layer_norm_parts
    yield "layer_norm_parts_product", lambda b, x: layer_norm_parts(b, x, True)
    for kind, attributes in {
            "Relu": {}, "Sigmoid": {}, "HardSigmoid": {"alpha": 0.3, "beta": 0.4}, "Tanh": {}, "Erf": {},
            "Exp": {}, "LeakyRelu": {"alpha": 0.1}, "Neg": {}, "Identity": {}, "GlobalAveragePool": {},
            "GlobalMaxPool": {}, "Softmax": {"axis": -1}}.items():
        yield kind.lower(), unary(kind, **attributes)
    yield "softmax_channels", unary("Softmax", axis=1)
    yield "sqrt_log_reciprocal", lambda b, x: b.op(
        "Log", b.op("Sqrt", b.op("Reciprocal", b.op("Add", b.op("Mul", x, x), b.number(0.5)))))
    yield "clip", lambda b, x: b.op("Clip", x, b.number(0.0), b.number(1.0))
    yield "clip_upper", lambda b, x: b.op("Clip", x, "", b.number(0.3))
    yield "clip_lower", lambda b, x: b.op("Clip", x, b.number(0.0))
    yield "min_max", lambda b, x: b.op("Max", b.op("Min", x, b.number(0.6)), b.number(-0.7))
    yield "silu", lambda b, x: b.op("Mul", x, b.op("Sigmoid", x))
    yield "hard_swish_parts", lambda b, x: b.op(
        "Div", b.op("Mul", x, b.op("Clip", b.op("Add", x, b.number(3.0)), b.number(0.0), b.number(6.0))), b.number(6.0))
    yield "gelu_erf", gelu_erf
    yield "gelu_tanh", gelu_tanh
    yield "add_channels", lambda b, x: b.op("Add", x, b.weights(C, 1, 1))
    yield "sub_constant_first", lambda b, x: b.op("Sub", b.number(1.0), x)
    yield "sub", lambda b, x: b.op("Sub", x, b.op("Relu", x))
    yield "sub_number", lambda b, x: b.op("Sub", x, b.number(0.25))
    yield "mul_layer_scale", lambda b, x: b.op("Mul", x, b.weights(1, C, 1, 1))
    yield "div", lambda b, x: b.op("Div", x, b.op("Add", b.op("Mul", x, x), b.number(1.0)))
    yield "pow", lambda b, x: b.op("Pow", x, b.number(2.0))
    yield "max_pool", unary("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    yield "max_pool_ceil", unary("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    yield "average_pool", unary("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    yield "average_pool_padded", unary("AveragePool", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    yield "average_pool_counting", unary(
        "AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)
    yield "flatten", unary("Flatten", axis=2)
    yield "transpose", unary("Transpose", perm=[0, 3, 1, 2])
    yield "transpose_reversed_twice", lambda b, x: b.op("Transpose", b.op("Transpose", b.op("Relu", x)))
    yield "concat", lambda b, x: b.op("Concat", x, b.op("Relu", x), x, axis=-3)
    yield "slice", lambda b, x: b.op("Slice", x, b.ints(-4, 1), b.ints(9999, -1), b.ints(3, 2), b.ints(1, 2))
    yield "split", lambda b, x: b.op("Concat", *reversed(b.op("Split", x, b.ints(1, 5), outputs=2, axis=1)), axis=1)
    yield "split_to_sequence", lambda b, x: b.op(
        "SequenceAt", b.op("SplitToSequence", x, b.known(np.array(4, np.int64)), axis=1), b.known(np.array(-1, np.int64)))
    yield "gather_list", lambda b, x: b.op("Gather", x, b.ints(3, 4, 0, -1), axis=1)
    yield "gather_one", lambda b, x: b.op("Gather", x, b.known(np.array(-2, np.int64)), axis=2)
    yield "squeeze_unsqueeze", lambda b, x: b.op(
        "Unsqueeze", b.op("Squeeze", b.op("GlobalAveragePool", x), b.ints(2, -1)), b.ints(1))
    yield "expand", lambda b, x: b.op("Expand", b.op("GlobalAveragePool", x), b.ints(1, 1, 3, 4))
    yield "tile", lambda b, x: b.op("Tile", b.op("GlobalAveragePool", x), b.ints(1, 1, 2, 2))
    yield "pad", lambda b, x: b.op("Pad", x, b.ints(0, 0, 1, 2, 0, 1, 0, 1), b.number(0.5))
    yield "pad_negative", lambda b, x: b.op("Pad", x, b.ints(0, 0, -1, 2, 0, 0, 0, -1))
    yield "dropout", lambda b, x: b.op("Dropout", x, b.number(0.4))
    yield "cast", lambda b, x: b.op("Cast", x, to=TensorProto.FLOAT)
    yield "constant", lambda b, x: b.op("Mul", x, b.op("Constant", value_float=1.5))
    yield "range", lambda b, x: b.op("Add", x, b.op("Cast", b.op(
        "Range", b.known(np.array(0, np.int64)), b.known(np.array(W, np.int64)), b.known(np.array(1, np.int64))),
        to=TensorProto.FLOAT))
    yield "reshape_kept", lambda b, x: b.op("Reshape", x, b.ints(0, 0, -1))
    yield "attention", attention
    yield "channel_shuffle", shuffle
    yield "squeeze_excite", squeeze_excite
    yield "class_token", class_token


def cases_13():
    yield "reduce_mean_maps", unary("ReduceMean", axes=[2, 3], keepdims=0)
    yield "reduce_mean_channels", unary("ReduceMean", axes=[1], keepdims=1)
    yield "reduce_sum", lambda b, x: b.op("ReduceSum", x, b.ints(-1), keepdims=0)


def cases_17():
    yield "hardswish", unary("HardSwish")
    yield "layer_norm", lambda b, x: b.op(
        "LayerNormalization", tokens(b, x), b.weights(C, low=0.5, high=1.5), b.weights(C), epsilon=1e-4)
    yield "layer_norm_maps", lambda b, x: b.op("LayerNormalization", x, b.weights(H, W), axis=2)


def cases_18():
    yield "reduce_mean_maps", lambda b, x: b.op("ReduceMean", x, b.ints(2, 3), keepdims=0)
    yield "reduce_mean_channels", lambda b, x: b.op("ReduceMean", x, b.ints(1), keepdims=1)
    yield "split_evenly", lambda b, x: b.op("Concat", *reversed(b.op("Split", x, outputs=3, axis=1, num_outputs=3)), axis=1)
    yield "pad_axes", lambda b, x: b.op("Pad", x, b.ints(1, 2), "", b.ints(2))


def cases_20():
    yield "gelu", unary("Gelu")
    yield "gelu_approximate", unary("Gelu", approximate="tanh")


def graphs():
    sets = {13: [cases, cases_13], 17: [cases_17], 18: [cases_18], 20: [cases, cases_18, cases_20]}
    for opset, makers in sets.items():
        for maker in makers:
            for name, make in maker():
                b = Builder(opset)
                yield f"{name}_{opset}", b.model(make(b, "x"))
