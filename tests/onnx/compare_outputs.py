"""What a model gives in ONNX Runtime, and how far a file of floats is from it."""
import numpy as np
import onnxruntime


def run(path, images):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def difference(got, want):
    """Largest difference relative to the scale; NaN anywhere gives infinity."""
    got = np.fromfile(got, np.float32)
    if got.size != want.size:
        return float("inf")
    value = np.abs(got - want.ravel()).max() / max(np.abs(want).max(), 1e-30)
    return float(value) if value == value else float("inf")
