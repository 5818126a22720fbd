#include "enmesh/train/defaults.hpp"

#include <gtest/gtest.h>

#include "enmesh/models/models.hpp"
#include "enmesh/train/trainer.hpp"

namespace enmesh {
namespace {

TEST(Defaults, FollowTheNormsOfTheNetwork) {
    for (const std::string& name : model_names()) {
        const Graph graph = build_model(name, {.image = {3, 32, 32}, .batch = 2});
        const bool plain = name == "mlp" || name == "lenet5", transformer = name.starts_with("vit");
        EXPECT_EQ(training_defaults(graph).networks, plain         ? "without norms"
                                                     : transformer ? "with layer norm"
                                                                   : "with batch norm")
            << name;
    }
}

TEST(Defaults, ATrainerWithoutOptionsTakesThem) {
    const ModelOptions options{.image = {1, 8, 8}, .batch = 2};
    const Trainer norms(models::digits_cnn(options), make_recipe("dense", {}));
    EXPECT_EQ(std::get<Sgd>(norms.step().options.optimizer), (Sgd{.lr = 0.1, .nesterov = true}));
    EXPECT_EQ(norms.step().options.clip_norm, 0);
    const Trainer plain(models::mlp(options), make_recipe("dense", {}));
    EXPECT_EQ(std::get<AdamW>(plain.step().options.optimizer), (AdamW{.lr = 0.003}));
    EXPECT_EQ(plain.step().options.clip_norm, 1);
}

}  // namespace
}  // namespace enmesh
