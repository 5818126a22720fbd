#include "enmesh/train/evaluate.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "enmesh/base/error.hpp"
#include "enmesh/data/loader.hpp"
#include "enmesh/graph/fold_norms.hpp"
#include "enmesh/train/checkpoint.hpp"
#include "train/batch.hpp"

namespace enmesh {
namespace {

/// log(sum(exp(logits))) - logits[label], in double.
double cross_entropy(std::span<const float> logits, size_t label) {
    const double top = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
    return top + std::log(sum) - static_cast<double>(logits[label]);
}

}  // namespace

void check_dataset(const TrainingStep& step, const data::Dataset& dataset) {
    const Shape& images = step.graph.type(step.images).shape;
    const Shape one{dataset.image.channels, dataset.image.height, dataset.image.width};
    if (images.rank() != 4 || Shape{images[1], images[2], images[3]} != one) {
        refuse("the model takes images of {}, {} has {}",
               images.rank() == 4 ? to_string(Shape{images[1], images[2], images[3]}) : to_string(images),
               dataset.name, to_string(dataset.image));
    }
    const int64_t classes = step.graph.type(step.logits).shape[1];
    if (dataset.classes() > classes) {
        refuse("the model tells {} classes apart, {} has {}", classes, dataset.name, dataset.classes());
    }
}

BatchWriter::BatchWriter(const TrainingStep& step)
    : step_(step),
      images_(step.graph.type(step.images).shape),
      labels_(step.graph.type(step.labels).shape, DType::i32) {}

void BatchWriter::write(const data::Batch& batch, Executor& executor) {
    ENMESH_ASSERT(static_cast<int64_t>(batch.images.size()) == images_.elements());
    std::memcpy(images_.data(), batch.images.data(), images_.bytes());
    // The images that fill up a partial batch carry label -1; they take any class and are not counted.
    const std::span<int32_t> labels = labels_.as<int32_t>();
    std::transform(batch.labels.begin(), batch.labels.end(), labels.begin(),
                   [](int32_t label) { return std::max(label, 0); });
    executor.write(step_.images, images_);
    executor.write(step_.labels, labels_);
}

std::unique_ptr<Executor> folded_inference(const Backend& backend, const Graph& graph, const Recipe& recipe,
                                           const Executor& loaded) {
    const auto value_of = [&](const std::string& name) {
        return loaded.read(loaded.step().graph.find(name));
    };
    const FoldedNorms folded = fold_batch_norms(graph, value_of);
    auto executor = backend.make(build_inference_step(folded.graph, recipe), "");
    for (const ValueId id : checkpoint_values(executor->step())) {
        const std::string& name = executor->step().graph.value(id).name;
        const auto changed = folded.values.find(name);
        executor->write(id, changed != folded.values.end() ? changed->second.clone() : value_of(name));
    }
    executor->refresh();
    return executor;
}

Evaluation evaluate(Executor& inference, const data::Dataset& dataset, const data::Images& split,
                    int loader_threads) {
    const TrainingStep& step = inference.step();
    check_dataset(step, dataset);
    data::Loader loader = data::Loader::evaluation(
        dataset, split, {.batch = step.graph.type(step.images).shape[0], .threads = loader_threads});
    BatchWriter writer(step);
    const auto classes = static_cast<size_t>(step.graph.type(step.logits).shape[1]);
    int64_t images = 0, correct = 0;
    double loss = 0;
    while (const data::Batch* const batch = loader.next()) {
        writer.write(*batch, inference);
        inference.gradients({});
        const Tensor logits = inference.read(step.logits);
        for (int64_t i = 0; i < batch->count; ++i) {
            const auto row = logits.f32().subspan(static_cast<size_t>(i) * classes, classes);
            const auto label = static_cast<size_t>(batch->labels[static_cast<size_t>(i)]);
            const double row_loss = cross_entropy(row, label);
            loss += row_loss;
            // Among NaN the first class would win.
            correct += std::isfinite(row_loss) &&
                       std::max_element(row.begin(), row.end()) - row.begin() == static_cast<int64_t>(label);
        }
        images += batch->count;
    }
    const auto count = static_cast<double>(images);
    return {.accuracy = static_cast<double>(correct) / count, .loss = loss / count, .images = images};
}

}  // namespace enmesh
