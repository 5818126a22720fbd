#include <cstdio>
#include <enmesh/enmesh.hpp>

int main() {
    const enmesh::Recipe recipe = enmesh::make_recipe("bdwp", enmesh::Pattern{2, 8});
    const enmesh::Graph graph = enmesh::models::digits_cnn({.classes = 10, .image = {1, 8, 8}, .batch = 16});
    enmesh::Trainer trainer(graph, recipe, {.optimizer = enmesh::Sgd{.lr = 0.05}});
    const enmesh::FitReport report = trainer.fit(enmesh::data::digits(), {.epochs = 1});
    std::printf("%.4f\n", report.epochs.back().test_accuracy);
    return report.epochs.back().test_accuracy > 0.2 ? 0 : 1;
}
