// onnx_forward LIST: for every line "MODEL|BATCH|INPUT|OUTPUT|EXPORTED|CHANGED" of the file imports the
// model, runs it on the images in INPUT (raw float32), writes OUTPUT, changes every weight a little, exports
// to EXPORTED and writes the outputs of the changed network to CHANGED. EXPORTED may be empty. With the
// changed weights it also rearranges all channels that can be at random, which must leave the outputs as they
// are.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "enmesh/base/compare.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/timer.hpp"
#include "enmesh/cpu/executor.hpp"
#include "enmesh/onnx/export.hpp"
#include "enmesh/onnx/import.hpp"
#include "sparsity/network_runner.hpp"

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

/// How many groups of channels were rearranged; fails if that changed the outputs.
size_t rearrange(Executor& executor, const onnx::Model& model, const Tensor& images) {
    const Tensor before = forward(executor, images);
    const WeightSource source = [&](const Value& value) {
        const ValueId id = executor.step().graph.find(value.name);
        return id.valid() ? executor.read(id) : initial_value(value, 0);
    };
    const ChannelGroups groups =
        find_channel_groups(model.graph, source, testing::product_weights(model.graph), 1);
    const auto permutations = testing::random_permutations(groups);
    for (const Value& value : model.graph.values()) {
        const ValueId id = executor.step().graph.find(value.name);
        if (!id.valid() || (value.role != Role::parameter && value.role != Role::state)) continue;
        executor.write(id, permuted(groups, permutations, value.name, executor.read(id)));
    }
    executor.refresh();
    const Comparison same = compare(forward(executor, images).f32(), before.f32(), 1e-4);
    if (!same.ok()) fail("rearranged channels change the outputs: {}", same.describe());
    return groups.groups.size();
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
    size_t rearranged = 0;
    if (!line.exported.empty()) {
        change_weights(*executor, model);
        write_raw(line.changed, forward(*executor, images));
        const auto weights = [&](const Value& value) {
            return executor->read(executor->step().graph.find(value.name));
        };
        onnx::save(line.exported, model, weights);
        rearranged = rearrange(*executor, model, images);
    }
    std::printf("%s: ok, %zu nodes, %zu groups of channels rearranged, %.2f s\n", line.model.c_str(),
                model.graph.nodes().size(), rearranged, timer.seconds());
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
