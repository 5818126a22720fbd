#pragma once

#include <cstdint>
#include <string_view>

#include "enmesh/models/builder.hpp"
#include "enmesh/models/models.hpp"

namespace enmesh::models {

/// Refuses options that no model can be built for, then adds the input "images".
ValueId add_images(GraphBuilder& builder, const ModelOptions& options);
/// channels * width, rounded, at least 1.
int64_t scaled(int64_t channels, const ModelOptions& options);
/// Whether the longer side has at most 64 pixels.
bool small_image(const ModelOptions& options);
/// Refuses an image with a side below `pixels`, naming the model.
void require_side(std::string_view model, const ModelOptions& options, int64_t pixels);

}  // namespace enmesh::models
