#include "data/image_file.hpp"

// jpeglib.h wants FILE declared before it.
#include <cstdio>

#include <jerror.h>
#include <jpeglib.h>
#include <png.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csetjmp>
#include <cstring>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::data {
namespace {

constexpr uint64_t most_pixels = uint64_t{1} << 27;

/// A header is believed only if `bytes` of compressed data could hold that many pixels at `pixels_per_byte`.
void check_size(const std::string& name, uint64_t width, uint64_t height, size_t bytes,
                uint64_t pixels_per_byte) {
    if (width == 0 || height == 0) refuse("{}: an image without pixels", name);
    if (width * height > most_pixels)
        refuse("{}: {}x{} pixels are more than can be read", name, width, height);
    if (width * height > (bytes + 64) * pixels_per_byte) {
        refuse(
            "{}: its header promises {}x{} pixels, more than {} bytes can hold; it is truncated or damaged",
            name, width, height, bytes);
    }
}

struct JpegErrors {
    jpeg_error_mgr base;
    std::jmp_buf jump;
    bool ran_out = false;
    char message[JMSG_LENGTH_MAX];
};

[[noreturn]] void leave(j_common_ptr info) {
    auto* errors = reinterpret_cast<JpegErrors*>(info->err);
    errors->base.format_message(info, errors->message);
    errors->ran_out = info->err->msg_code == JWRN_JPEG_EOF;
    std::longjmp(errors->jump, 1);
}

/// libjpeg goes on after damaged data, with grey where pixels should be; we do not. Three warnings leave
/// pixels whole.
void on_message(j_common_ptr info, int level) {
    if (level >= 0) return;
    const int code = info->err->msg_code;
    if (code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR) return;
    leave(info);
}

/// libjpeg's errors jump back into the member that called it: those members keep no object that needs
/// destroying.
class JpegDecoder {
  public:
    JpegDecoder() {
        info_.err = jpeg_std_error(&errors_.base);
        errors_.base.error_exit = leave;
        errors_.base.emit_message = on_message;
    }
    ~JpegDecoder() { jpeg_destroy_decompress(&info_); }
    JpegDecoder(const JpegDecoder&) = delete;
    JpegDecoder& operator=(const JpegDecoder&) = delete;

    bool read_header(const std::string& bytes) {
        if (setjmp(errors_.jump) != 0) return false;
        jpeg_create_decompress(&info_);
        jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
        jpeg_read_header(&info_, TRUE);
        return true;
    }
    bool decode(int channels, uint8_t* dst) {
        if (setjmp(errors_.jump) != 0) return false;
        info_.out_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 4 ? JCS_CMYK : JCS_RGB;
        jpeg_start_decompress(&info_);
        const size_t row_bytes = size_t{info_.output_width} * static_cast<size_t>(channels);
        while (info_.output_scanline < info_.output_height) {
            JSAMPROW row = dst + info_.output_scanline * row_bytes;
            jpeg_read_scanlines(&info_, &row, 1);
        }
        jpeg_finish_decompress(&info_);
        return true;
    }
    int width() const { return static_cast<int>(info_.image_width); }
    int height() const { return static_cast<int>(info_.image_height); }
    bool four_channels() const {
        return info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK;
    }
    bool ran_out() const { return errors_.ran_out; }
    const char* message() const { return errors_.message; }

  private:
    jpeg_decompress_struct info_{};
    JpegErrors errors_{};
};

/// ITU-R BT.601 luma of red, green and blue, as JPEG has it.
void make_grey(std::vector<uint8_t>& pixels) {
    const size_t count = pixels.size() / 3;
    for (size_t i = 0; i < count; ++i) {
        const uint8_t* from = &pixels[3 * i];
        pixels[i] = static_cast<uint8_t>((299U * from[0] + 587U * from[1] + 114U * from[2] + 500U) / 1000U);
    }
    pixels.resize(count);
}

/// a * b / 255, rounded to the nearest.
uint8_t share_of_255(unsigned a, unsigned b) {
    const unsigned product = a * b + 128;
    return static_cast<uint8_t>(((product >> 8) + product) >> 8);
}

/// Files store 255 less the ink (Adobe's inversion), whoever wrote them. Red is then the paper that cyan and
/// black leave, as Pillow computes it.
void make_rgb_of_cmyk(std::vector<uint8_t>& pixels) {
    const size_t count = pixels.size() / 4;
    for (size_t i = 0; i < count; ++i) {
        const std::array<uint8_t, 4> stored{pixels[4 * i], pixels[4 * i + 1], pixels[4 * i + 2],
                                            pixels[4 * i + 3]};
        const unsigned without_black = stored[3];
        for (size_t c = 0; c < 3; ++c)
            pixels[3 * i + c] =
                static_cast<uint8_t>(without_black - share_of_255(255U - stored[c], without_black));
    }
    pixels.resize(3 * count);
}

DecodedImage decode_jpeg(const std::string& name, const std::string& bytes, int channels) {
    JpegDecoder decoder;
    if (!decoder.read_header(bytes))
        refuse("{}: {} JPEG file ({})", name, decoder.ran_out() ? "truncated" : "not a readable",
               decoder.message());
    DecodedImage image{channels, decoder.height(), decoder.width(), {}};
    // An 8x8 block takes at least one bit.
    check_size(name, static_cast<uint64_t>(image.width), static_cast<uint64_t>(image.height), bytes.size(),
               512);
    const size_t pixels = static_cast<size_t>(image.width) * static_cast<size_t>(image.height);
    const int stored = decoder.four_channels() ? 4 : channels;
    image.pixels.resize(pixels * static_cast<size_t>(stored));
    if (!decoder.decode(stored, image.pixels.data())) {
        refuse("{}: truncated or damaged JPEG file ({})", name, decoder.message());
    }
    if (stored == 4) {
        make_rgb_of_cmyk(image.pixels);
        if (channels == 1) make_grey(image.pixels);
    }
    return image;
}

struct PngSource {
    const std::string* bytes;
    size_t at = 0;
    bool ran_out = false;
    std::jmp_buf jump;
    char message[160] = "";
};

[[noreturn]] void leave_png(png_structp png, png_const_charp message) {
    auto* source = static_cast<PngSource*>(png_get_error_ptr(png));
    std::snprintf(source->message, sizeof source->message, "%s", message);
    std::longjmp(source->jump, 1);
}

/// What libpng only warns of (an ancillary chunk that is damaged) leaves the pixels whole.
void ignore_warning(png_structp, png_const_charp) {}

void read_png(png_structp png, png_bytep dst, size_t count) {
    auto* source = static_cast<PngSource*>(png_get_io_ptr(png));
    if (count > source->bytes->size() - source->at) {
        source->ran_out = true;
        png_error(png, "it ends too early");
    }
    std::memcpy(dst, source->bytes->data() + source->at, count);
    source->at += count;
}

/// Samples as they are stored: no gamma, no colour profile. As with JPEG, errors jump back into members that
/// keep no object that needs destroying.
class PngDecoder {
  public:
    explicit PngDecoder(const std::string& bytes) { source_.bytes = &bytes; }
    ~PngDecoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
    PngDecoder(const PngDecoder&) = delete;
    PngDecoder& operator=(const PngDecoder&) = delete;

    bool read_header() {
        if (setjmp(source_.jump) != 0) return false;
        png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source_, leave_png, ignore_warning);
        if (png_ == nullptr) return false;
        info_ = png_create_info_struct(png_);
        if (info_ == nullptr) return false;
        png_set_read_fn(png_, &source_, read_png);
        // Only what pixels need is looked at.
        png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
        png_read_info(png_, info_);
        return true;
    }
    /// Red, green and blue, row by row.
    bool decode(uint8_t* dst) {
        if (setjmp(source_.jump) != 0) return false;
        png_set_expand(png_);
        png_set_strip_16(png_);
        png_set_gray_to_rgb(png_);
        png_set_strip_alpha(png_);
        const int passes = png_set_interlace_handling(png_);
        png_read_update_info(png_, info_);
        const size_t row_bytes = size_t{width()} * 3;
        if (png_get_rowbytes(png_, info_) != row_bytes) png_error(png_, "rows of another length");
        for (int pass = 0; pass < passes; ++pass) {
            for (png_uint_32 row = 0; row < height(); ++row)
                png_read_row(png_, dst + row * row_bytes, nullptr);
        }
        png_read_end(png_, nullptr);
        return true;
    }
    png_uint_32 width() const { return png_get_image_width(png_, info_); }
    png_uint_32 height() const { return png_get_image_height(png_, info_); }
    bool ran_out() const { return source_.ran_out; }
    const char* message() const { return source_.message; }

  private:
    PngSource source_{};
    png_structp png_ = nullptr;
    png_infop info_ = nullptr;
};

DecodedImage decode_png(const std::string& name, const std::string& bytes, int channels) {
    PngDecoder decoder(bytes);
    if (!decoder.read_header())
        refuse("{}: {} PNG file ({})", name, decoder.ran_out() ? "truncated" : "not a readable",
               decoder.message());
    // One bit per pixel at least, under deflate's 1032:1.
    check_size(name, decoder.width(), decoder.height(), bytes.size(), 8 * 1032);
    DecodedImage image{channels, static_cast<int>(decoder.height()), static_cast<int>(decoder.width()), {}};
    const size_t pixels = size_t{decoder.width()} * decoder.height();
    image.pixels.resize(pixels * 3);
    if (!decoder.decode(image.pixels.data()))
        refuse("{}: truncated or damaged PNG file ({})", name, decoder.message());
    if (channels == 1) make_grey(image.pixels);
    return image;
}

/// One output sample of a resampled axis: the weights of `weights.size()` inputs from `first` on.
struct Taps {
    int first = 0;
    std::vector<float> weights;
};

/// `wanted` samples from the middle of an axis of `size` resampled to `resized`.
std::vector<Taps> taps_of(int size, int resized, int wanted) {
    const double scale = static_cast<double>(size) / resized;
    const double support = std::max(1.0, scale);
    std::vector<Taps> all;
    for (int i = 0; i < wanted; ++i) {
        const double centre = (i + (resized - wanted) / 2 + 0.5) * scale;
        Taps taps;
        taps.first = std::max(0, static_cast<int>(std::ceil(centre - support - 0.5)));
        const int last = std::min(size - 1, static_cast<int>(std::floor(centre + support - 0.5)));
        std::vector<double> weights;
        double sum = 0;
        for (int k = taps.first; k <= last; ++k) {
            weights.push_back(std::max(0.0, 1.0 - std::abs(k + 0.5 - centre) / support));
            sum += weights.back();
        }
        for (const double weight : weights) taps.weights.push_back(static_cast<float>(weight / sum));
        all.push_back(std::move(taps));
    }
    return all;
}

}  // namespace

DecodedImage read_image(const std::filesystem::path& file, int channels) {
    ENMESH_ASSERT(channels == 1 || channels == 3);
    const std::string bytes = read_file(file, size_t{1} << 30);
    if (bytes.starts_with("\xff\xd8\xff")) return decode_jpeg(file.string(), bytes, channels);
    if (bytes.starts_with("\x89PNG")) return decode_png(file.string(), bytes, channels);
    refuse("{}: neither a JPEG nor a PNG file; replace or remove it", file.string());
}

void resize_to_cover(const DecodedImage& image, int height, int width, std::span<uint8_t> dst) {
    const double scale =
        std::max(static_cast<double>(height) / image.height, static_cast<double>(width) / image.width);
    const auto resized = [scale](int size, int least) {
        return std::max(least, static_cast<int>(std::lround(size * scale)));
    };
    const std::vector<Taps> columns = taps_of(image.width, resized(image.width, width), width);
    const std::vector<Taps> rows = taps_of(image.height, resized(image.height, height), height);
    const size_t channels = static_cast<size_t>(image.channels), out_width = static_cast<size_t>(width);

    // Columns first, for the input rows that are needed; (row, column, channel) like the input.
    const int first_row = rows.front().first;
    const int end_row = rows.back().first + static_cast<int>(rows.back().weights.size());
    std::vector<float> narrow(static_cast<size_t>(end_row - first_row) * out_width * channels);
    float* to = narrow.data();
    for (int y = first_row; y < end_row; ++y) {
        const uint8_t* row =
            image.pixels.data() + static_cast<size_t>(y) * static_cast<size_t>(image.width) * channels;
        for (const Taps& taps : columns) {
            for (size_t c = 0; c < channels; ++c) {
                float sum = 0;
                const uint8_t* from = row + static_cast<size_t>(taps.first) * channels + c;
                for (size_t k = 0; k < taps.weights.size(); ++k) sum += taps.weights[k] * from[k * channels];
                *to++ = sum;
            }
        }
    }
    for (size_t c = 0; c < channels; ++c) {
        for (size_t y = 0; y < rows.size(); ++y) {
            const size_t row = static_cast<size_t>(rows[y].first - first_row);
            for (size_t x = 0; x < out_width; ++x) {
                float sum = 0;
                for (size_t k = 0; k < rows[y].weights.size(); ++k) {
                    sum += rows[y].weights[k] * narrow[((row + k) * out_width + x) * channels + c];
                }
                dst[(c * rows.size() + y) * out_width + x] =
                    static_cast<uint8_t>(std::clamp(std::lround(sum), 0L, 255L));
            }
        }
    }
}

}  // namespace enmesh::data
