"""Writes the seeds of the importer's fuzz target: the smallest of tests/onnx/make_graphs.py's graphs that together hold
every operator and attribute. Run with Python that has onnx and onnxruntime:

  .venv-onnx/bin/python tests/fuzz/make_corpus.py tests/fuzz/corpus
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "onnx"))
import make_graphs  # noqa: E402


def features(model):
    for node in model.graph.node:
        yield node.op_type
        for attribute in node.attribute:
            yield node.op_type, attribute.name


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    graphs = sorted(make_graphs.graphs(), key=lambda graph: graph[1].ByteSize())
    seen = set()
    written = size = 0
    for name, model in graphs:
        new = set(features(model)) - seen
        if not new or model.ByteSize() > 16384:
            continue
        seen |= new
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        written += 1
        size += model.ByteSize()
    print(f"{written} graphs, {size} bytes, {len(seen)} operators and attributes")


if __name__ == "__main__":
    main()
