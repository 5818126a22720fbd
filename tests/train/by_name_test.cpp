#include <gtest/gtest.h>

#include "enmesh/base/error.hpp"
#include "enmesh/enmesh.hpp"

namespace enmesh {
namespace {

std::string refusal(const std::function<void()>& body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

Trainer small_trainer() {
    return {models::digits_cnn({.classes = 10, .image = {1, 8, 8}, .width = 0.25}),
            make_recipe("bdwp", Pattern{2, 4})};
}

TEST(Tensors, FromValuesAndToOne) {
    const std::vector<float> values{1, 2, 3, 4, 5, 6};
    const Tensor tensor = Tensor::of(Shape{2, 3}, values);
    EXPECT_EQ(std::vector<float>(tensor.f32().begin(), tensor.f32().end()), values);
    EXPECT_EQ(Tensor::of(Shape{1, 1}, std::vector<float>{7}).item(), 7.0F);
    EXPECT_NE(refusal([&] { Tensor::of(Shape{4}, values); }).find("6 values for a tensor of"),
              std::string::npos);
    EXPECT_NE(refusal([&] { (void)tensor.item(); }).find("no single float32 value"), std::string::npos);
    EXPECT_NE(refusal([] { (void)Tensor(Shape{1}, DType::i32).item(); }).find("no single"),
              std::string::npos);
}

TEST(Executors, ReadAndWriteByName) {
    Trainer trainer = small_trainer();
    Tensor weights = trainer.read("conv1.weight");
    EXPECT_EQ(weights.shape().rank(), 4);
    EXPECT_NE(refusal([&] { (void)trainer.read("conv1.weigth"); }).find("did you mean 'conv1.weight'?"),
              std::string::npos);
    auto executor = cpu::make_executor(build_inference_step(trainer.model(), make_recipe("dense", {})));
    initialize(*executor, 1);
    std::fill(weights.f32().begin(), weights.f32().end(), 0.5F);
    executor->write("conv1.weight", weights);
    EXPECT_EQ(executor->read("conv1.weight").f32()[3], 0.5F);
}

TEST(Executors, PredictionsAreThoseOfAnEvaluation) {
    Trainer trainer = small_trainer();
    const data::Dataset digits = data::digits();
    trainer.fit(digits, {.epochs = 1, .batch = 32});
    const int64_t count = digits.test.count(),
                  pixels = digits.image.pixels();  // 360: no multiple of the batch
    Tensor images(Shape{count, 1, 8, 8});
    for (int64_t i = 0; i < count * pixels; ++i) {
        const double fraction = digits.test.pixels[static_cast<size_t>(i)] / double{16};
        images.f32()[static_cast<size_t>(i)] =
            static_cast<float>((fraction - digits.normalization.mean[0]) / digits.normalization.deviation[0]);
    }
    const Tensor outputs = trainer.predict(images);
    ASSERT_EQ(outputs.shape(), (Shape{count, 10}));
    int64_t right = 0;
    for (int64_t i = 0; i < count; ++i) {
        const auto row = outputs.f32().subspan(static_cast<size_t>(10 * i), 10);
        right += std::max_element(row.begin(), row.end()) - row.begin() ==
                         digits.test.labels[static_cast<size_t>(i)]
                     ? 1
                     : 0;
    }
    const Evaluation evaluation = trainer.evaluate(digits, digits.test);
    EXPECT_GT(right, count / 5);
    EXPECT_NEAR(static_cast<double>(right) / static_cast<double>(count), evaluation.accuracy, 1e-9);
    EXPECT_NE(refusal([&] {
                  (void)trainer.predict(Tensor(Shape{2, 1, 9, 8}));
              }).find("the network takes"),
              std::string::npos);
}

}  // namespace
}  // namespace enmesh
