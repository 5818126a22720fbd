#include "models/common.hpp"

namespace enmesh::models {

Graph mlp(const ModelOptions& options) {
    GraphBuilder builder;
    ValueId x = builder.flatten(add_images(builder, options), "flatten");
    x = builder.relu(builder.linear(x, "fc1", scaled(512, options)), "relu1");
    x = builder.relu(builder.linear(x, "fc2", scaled(512, options)), "relu2");
    x = builder.linear(x, "fc3", options.classes);
    return std::move(builder).finish(x);
}

}  // namespace enmesh::models
