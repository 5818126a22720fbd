#include "enmesh/accel/common/product_choice.hpp"

#include <algorithm>

#include "enmesh/base/error.hpp"

namespace enmesh::accel {

std::vector<size_t> chosen_products(const Workload& workload, const ProductChoice& choice) {
    std::vector<size_t> chosen;
    std::vector<std::string> layers;
    for (size_t i = 0; i < workload.products.size(); ++i) {
        const Product& product = workload.products[i];
        layers.push_back(product.layer);
        if (!choice.layer.empty() && product.layer != choice.layer) continue;
        if (choice.stage.has_value() && product.stage != *choice.stage) continue;
        chosen.push_back(i);
    }
    if (!chosen.empty()) return chosen;
    if (choice.layer.empty() && !choice.stage.has_value()) refuse("the step has no products");
    if (std::find(layers.begin(), layers.end(), choice.layer) != layers.end())
        refuse("layer {} has no product of stage {}", choice.layer, to_string(*choice.stage));
    std::sort(layers.begin(), layers.end());
    layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
    if (choice.layer.empty()) refuse("there is no product of stage {}", to_string(*choice.stage));
    refuse("there is no layer '{}'{}", choice.layer, suggestion(choice.layer, layers));
}

}  // namespace enmesh::accel
