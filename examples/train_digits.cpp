// Trains a small network on the embedded digits, dense and under BDWP 2:8, with everything else equal.
// `train_digits --quick` stops after two epochs.

#include <cstdio>
#include <cstring>
#include <enmesh/enmesh.hpp>

namespace {

double train(const enmesh::Recipe& recipe, int64_t epochs) {
    const enmesh::data::Dataset digits = enmesh::data::digits();
    const enmesh::Graph graph = enmesh::models::digits_cnn({.classes = 10, .image = {1, 8, 8}});
    enmesh::Trainer trainer(graph, recipe, {.optimizer = enmesh::Sgd{.lr = 0.05, .momentum = 0.9}});

    enmesh::FitOptions options{.epochs = epochs, .batch = 32};
    options.on_epoch = [](const enmesh::EpochReport& epoch) {
        std::printf("  epoch %2lld  loss %.4f  test accuracy %.2f %%\n", static_cast<long long>(epoch.epoch),
                    epoch.train_loss, 100 * epoch.test_accuracy);
    };
    trainer.fit(digits, options);

    int64_t executed = 0;
    for (const auto stage : {enmesh::Stage::FF, enmesh::Stage::BP, enmesh::Stage::WG}) {
        executed += enmesh::count_products(trainer.step(), stage).sparse_multiply_adds;
    }
    const enmesh::Evaluation test = trainer.evaluate(digits, digits.test);
    std::printf("%s: test accuracy %.2f %%, %lld multiply-adds per step\n", recipe.method.c_str(),
                100 * test.accuracy, static_cast<long long>(executed));
    return test.accuracy;
}

}  // namespace

int main(int argc, char** argv) {
    const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
    const int64_t epochs = quick ? 2 : 15;
    try {
        const double dense = train(enmesh::make_recipe("dense", {}), epochs);
        const double sparse = train(enmesh::make_recipe("bdwp", enmesh::Pattern{2, 8}), epochs);
        const double expected = quick ? 0.5 : 0.95;
        return dense > expected && sparse > expected ? 0 : 1;
    } catch (const enmesh::Error& error) {
        std::fprintf(stderr, "train_digits: %s\n", error.what());
        return 1;
    }
}
