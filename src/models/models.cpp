#include "enmesh/models/models.hpp"

#include <algorithm>
#include <array>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

struct ModelRow {
    std::string_view name;
    Graph (*build)(const ModelOptions&);
};

constexpr std::array model_table = {
    ModelRow{"mlp", models::mlp},
    ModelRow{"lenet5", models::lenet5},
    ModelRow{"digits_cnn", models::digits_cnn},
    ModelRow{"resnet9", models::resnet9},
    ModelRow{"resnet18", models::resnet18},
    ModelRow{"resnet34", models::resnet34},
    ModelRow{"resnet50", models::resnet50},
    ModelRow{"vgg16", models::vgg16},
    ModelRow{"vgg19", models::vgg19},
    ModelRow{"vit_tiny", models::vit_tiny},
    ModelRow{"vit_small", models::vit_small},
};

}  // namespace

std::vector<std::string> model_names() {
    std::vector<std::string> names;
    for (const ModelRow& row : model_table) names.emplace_back(row.name);
    return names;
}

Graph build_model(std::string_view name, const ModelOptions& options) {
    const auto row = std::find_if(model_table.begin(), model_table.end(),
                                  [&](const ModelRow& r) { return r.name == name; });
    if (row == model_table.end()) refuse("unknown model '{}'{}", name, suggestion(name, model_names()));
    return row->build(options);
}

}  // namespace enmesh
