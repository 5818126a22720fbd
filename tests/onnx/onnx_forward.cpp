// onnx_forward LIST: for every line "MODEL|BATCH|INPUT|OUTPUT|EXPORTED|CHANGED" of the file imports the
// model, runs it on the images in INPUT (raw float32), writes OUTPUT, changes every weight a little, exports
// to EXPORTED and writes the outputs of the changed network to CHANGED. EXPORTED may be empty.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/cpu/executor.hpp"
#include "enmesh/onnx/export.hpp"
#include "enmesh/onnx/import.hpp"

namespace {

using namespace enmesh;

struct Line {
    std::string model, batch, input, output, exported, changed;
};

Tensor forward(Executor& executor, const Tensor& images) {
    executor.write(executor.step().images, images);
    executor.gradients({});
    return executor.read(executor.step().logits);
}

void write_raw(const std::string& path, const Tensor& tensor) {
    write_file(path, {static_cast<const char*>(tensor.data()), tensor.bytes()});
}

/// Away from what the file holds, by a part that differs from element to element; variances stay positive.
void change_weights(Executor& executor, const onnx::Model& model) {
    for (const onnx::WeightLink& link : model.weights) {
        const ValueId id = executor.step().graph.find(link.value);
        if (!id.valid()) continue;
        Tensor tensor = executor.read(id);
        size_t i = 0;
        for (float& value : tensor.f32()) value *= 1 + 0.05F * std::sin(static_cast<float>(i++));
        executor.write(id, tensor);
    }
    executor.refresh();
}

void run(const Line& line) {
    const Timer timer;
    const onnx::Model model = onnx::import(line.model, {.batch = std::stoll(line.batch)});
    const auto executor = cpu::make_executor(build_inference_step(model.graph, {}));
    initialize(*executor, 0);
    Tensor images(model.graph.type(model.graph.find("images")).shape);
    const std::string raw = read_file(line.input);
    if (raw.size() != images.bytes())
        refuse("{}: {} bytes, {} expected", line.input, raw.size(), images.bytes());
    std::memcpy(images.data(), raw.data(), raw.size());
    write_raw(line.output, forward(*executor, images));
    if (!line.exported.empty()) {
        change_weights(*executor, model);
        write_raw(line.changed, forward(*executor, images));
        const auto weights = [&](const Value& value) {
            return executor->read(executor->step().graph.find(value.name));
        };
        onnx::save(line.exported, model, weights);
    }
    std::printf("%s: ok, %zu nodes, %.2f s\n", line.model.c_str(), model.graph.nodes().size(),
                timer.seconds());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    std::ifstream list(argv[1]);
    std::string text;
    int failed = 0;
    while (std::getline(list, text)) {
        Line line;
        std::istringstream fields(text);
        for (std::string* field :
             {&line.model, &line.batch, &line.input, &line.output, &line.exported, &line.changed})
            std::getline(fields, *field, '|');
        try {
            run(line);
        } catch (const std::exception& error) {
            std::printf("%s: failed: %s\n", line.model.c_str(), error.what());
            ++failed;
        }
        std::fflush(stdout);
    }
    return failed == 0 ? 0 : 1;
}
