#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/data/dataset.hpp"

namespace enmesh::data {

/// 8-bit pixels, row by row, channels interleaved: 1 (grey) or 3 (red, green, blue).
struct DecodedImage {
    int channels = 0;
    int height = 0;
    int width = 0;
    std::vector<uint8_t> pixels;
};

/// Decodes a JPEG or PNG file, whichever its first bytes say it is, to grey or RGB: the samples as they are
/// stored, whatever a file says of gamma or colour profiles. Alpha is dropped; of 16 bits the high 8 are
/// taken. Refuses by name what is neither, is truncated or damaged, or claims more pixels than its bytes can
/// hold.
DecodedImage read_image(const std::filesystem::path& file, int channels);

/// Shrinks or grows so that the image covers height x width (bilinear; a triangle as wide as the reduction,
/// so that nothing aliases), crops the centre and writes it as (c, h, w).
void resize_to_cover(const DecodedImage& image, int height, int width, std::span<uint8_t> dst);

}  // namespace enmesh::data
