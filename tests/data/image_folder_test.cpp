#include <array>
#include <cstdio>

#include <gtest/gtest.h>
#include <jpeglib.h>
#include <png.h>

#include "data/image_file.hpp"
#include "enmesh/data/dataset.hpp"
#include "files.hpp"

namespace enmesh::data {
namespace {

/// A smooth picture, so that JPEG keeps it within a few steps: (height, width, 3).
std::vector<uint8_t> picture(int height, int width) {
    std::vector<uint8_t> pixels;
    for (int y = 0; y < height; ++y) {
        for (int x = 0; x < width; ++x) {
            pixels.push_back(static_cast<uint8_t>(40 + 150 * y / height));
            pixels.push_back(static_cast<uint8_t>(220 - 180 * x / width));
            pixels.push_back(static_cast<uint8_t>(60 + 90 * (x + y) / (width + height)));
        }
    }
    return pixels;
}

std::string as_png(const std::vector<uint8_t>& pixels, int height, int width,
                   png_uint_32 format = PNG_FORMAT_RGB) {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(width);
    image.height = static_cast<png_uint_32>(height);
    image.format = format;
    std::string bytes(size_t{1} << 20, '\0');
    png_alloc_size_t size = bytes.size();
    EXPECT_NE(png_image_write_to_memory(&image, bytes.data(), &size, 0, pixels.data(), 0, nullptr), 0);
    bytes.resize(size);
    return bytes;
}

/// What libpng's simplified interface does not write.
struct PngForm {
    int color_type = PNG_COLOR_TYPE_RGB, bits = 8;
    bool interlaced = false;
    png_fixed_point gamma = 0;  ///< 0: no gAMA chunk
    std::vector<png_color> palette{};
    std::vector<png_byte> palette_alpha{};
};

/// `samples` row by row as the file keeps them: packed below 8 bits, big-endian above.
std::string as_png(const std::vector<uint8_t>& samples, int height, int width, const PngForm& form) {
    std::string bytes;
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
    png_infop info = png_create_info_struct(png);
    png_set_write_fn(
        png, &bytes,
        [](png_structp writer, png_bytep data, size_t count) {
            static_cast<std::string*>(png_get_io_ptr(writer))->append(reinterpret_cast<char*>(data), count);
        },
        [](png_structp) {});
    png_set_IHDR(png, info, static_cast<png_uint_32>(width), static_cast<png_uint_32>(height), form.bits,
                 form.color_type, form.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (form.gamma != 0) png_set_gAMA_fixed(png, info, form.gamma);
    if (!form.palette.empty())
        png_set_PLTE(png, info, form.palette.data(), static_cast<int>(form.palette.size()));
    if (!form.palette_alpha.empty()) {
        png_set_tRNS(png, info, form.palette_alpha.data(), static_cast<int>(form.palette_alpha.size()),
                     nullptr);
    }
    const size_t row_bytes = samples.size() / static_cast<size_t>(height);
    std::vector<png_bytep> rows;
    for (size_t row = 0; row < static_cast<size_t>(height); ++row)
        rows.push_back(const_cast<png_bytep>(samples.data() + row * row_bytes));
    png_set_rows(png, info, rows.data());
    png_write_png(png, info, PNG_TRANSFORM_IDENTITY, nullptr);
    png_destroy_write_struct(&png, &info);
    return bytes;
}

/// Each sample as 16 bits, its low byte of no importance.
std::vector<uint8_t> widened(const std::vector<uint8_t>& samples) {
    std::vector<uint8_t> wide;
    for (size_t i = 0; i < samples.size(); ++i) {
        wide.push_back(samples[i]);
        wide.push_back(static_cast<uint8_t>(37 * i));
    }
    return wide;
}

std::vector<uint8_t> in_three_channels(const std::vector<uint8_t>& grey) {
    std::vector<uint8_t> pixels;
    for (const uint8_t sample : grey) pixels.insert(pixels.end(), 3, sample);
    return pixels;
}

std::string as_jpeg(std::vector<uint8_t> pixels, int height, int width, int channels = 3,
                    J_COLOR_SPACE space = JCS_RGB, bool progressive = false) {
    jpeg_compress_struct info{};
    jpeg_error_mgr errors{};
    info.err = jpeg_std_error(&errors);
    jpeg_create_compress(&info);
    unsigned char* memory = nullptr;
    unsigned long size = 0;  // NOLINT(google-runtime-int): libjpeg's type
    jpeg_mem_dest(&info, &memory, &size);
    info.image_width = static_cast<JDIMENSION>(width);
    info.image_height = static_cast<JDIMENSION>(height);
    info.input_components = channels;
    info.in_color_space = space;
    jpeg_set_defaults(&info);
    jpeg_set_quality(&info, 95, TRUE);
    if (progressive) jpeg_simple_progression(&info);
    jpeg_start_compress(&info, TRUE);
    while (info.next_scanline < info.image_height) {
        JSAMPROW row =
            pixels.data() + static_cast<size_t>(info.next_scanline) * static_cast<size_t>(width * channels);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    std::string bytes(reinterpret_cast<char*>(memory), size);
    jpeg_destroy_compress(&info);
    std::free(memory);
    return bytes;
}

class ImageFile : public ::testing::Test {
  protected:
    DecodedImage read(const std::string& bytes, int channels = 3) {
        save(folder / "image", bytes);
        return read_image(folder / "image", channels);
    }
    std::string refusal(const std::string& bytes) {
        return error_of([&] { read(bytes); });
    }
    TemporaryFolder folder;
};

TEST_F(ImageFile, PngIsExact) {
    const std::vector<uint8_t> pixels = picture(9, 13);
    const DecodedImage image = read(as_png(pixels, 9, 13));
    EXPECT_EQ(image.height, 9);
    EXPECT_EQ(image.width, 13);
    EXPECT_EQ(image.pixels, pixels);
    const DecodedImage grey = read(as_png(pixels, 9, 13), 1);
    EXPECT_EQ(grey.pixels.size(), 9U * 13U);
    EXPECT_NEAR(grey.pixels[0], 0.299 * pixels[0] + 0.587 * pixels[1] + 0.114 * pixels[2], 0.51);

    std::vector<uint8_t> rgba;
    for (size_t i = 0; i < pixels.size(); ++i) {
        rgba.push_back(pixels[i]);
        if (i % 3 == 2) rgba.push_back(static_cast<uint8_t>(i));
    }
    EXPECT_EQ(read(as_png(rgba, 9, 13, PNG_FORMAT_RGBA)).pixels, pixels);
    const std::vector<uint8_t> ramp{0, 50, 100, 150, 200, 255};
    EXPECT_EQ(read(as_png(ramp, 2, 3, PNG_FORMAT_GRAY), 1).pixels, ramp);
}

TEST_F(ImageFile, PngSamplesAreTakenAsStored) {
    const std::vector<uint8_t> pixels = picture(9, 13);
    const std::vector<uint8_t> grey = {0, 1, 60, 128, 200, 255};
    for (const png_fixed_point gamma : {0, 45455, 55556, 100000, 220000}) {
        for (const bool interlaced : {false, true}) {
            SCOPED_TRACE(fmt::format("gamma {} interlaced {}", gamma, interlaced));
            const PngForm rgb{.interlaced = interlaced, .gamma = gamma};
            PngForm rgb16 = rgb, grey8 = rgb, grey16 = rgb;
            rgb16.bits = grey16.bits = 16;
            grey8.color_type = grey16.color_type = PNG_COLOR_TYPE_GRAY;
            EXPECT_EQ(read(as_png(pixels, 9, 13, rgb)).pixels, pixels);
            EXPECT_EQ(read(as_png(widened(pixels), 9, 13, rgb16)).pixels, pixels);
            EXPECT_EQ(read(as_png(grey, 2, 3, grey8), 1).pixels, grey);
            EXPECT_EQ(read(as_png(widened(grey), 2, 3, grey16), 1).pixels, grey);
            EXPECT_EQ(read(as_png(grey, 2, 3, grey8)).pixels, in_three_channels(grey));
        }
    }
}

TEST_F(ImageFile, PngOfEveryColourType) {
    // 10 columns of 1 bit: a row is two bytes.
    const std::vector<uint8_t> bits = {0b10110010, 0b01000000, 0b00001111, 0b10000000};
    const std::vector<uint8_t> lit = {255, 0, 255, 255, 0,   0,   255, 0,   0,   255,
                                      0,   0, 0,   0,   255, 255, 255, 255, 255, 0};
    const std::vector<png_color> palette = {{1, 2, 3}, {40, 50, 60}, {255, 0, 128}, {7, 8, 9}};
    // 3 columns of 2 bits.
    const std::vector<uint8_t> indices = {0b00011000, 0b11100100};
    const std::vector<uint8_t> coloured = {1, 2, 3, 40,  50, 60,  255, 0,  128,
                                           7, 8, 9, 255, 0,  128, 40,  50, 60};
    const std::vector<uint8_t> grey_alpha = {10, 0, 20, 128, 30, 255, 40, 1};
    const std::vector<uint8_t> rgb_alpha = {10, 20, 30, 0, 40, 50, 60, 255};
    for (const bool interlaced : {false, true}) {
        SCOPED_TRACE(interlaced);
        const auto form = [&](int color_type, int sample_bits = 8) {
            return PngForm{.color_type = color_type, .bits = sample_bits, .interlaced = interlaced};
        };
        EXPECT_EQ(read(as_png(bits, 2, 10, form(PNG_COLOR_TYPE_GRAY, 1)), 1).pixels, lit);
        PngForm indexed = form(PNG_COLOR_TYPE_PALETTE, 2);
        indexed.palette = palette;
        EXPECT_EQ(read(as_png(indices, 2, 3, indexed)).pixels, coloured);
        indexed.palette_alpha = {0, 128, 255};
        EXPECT_EQ(read(as_png(indices, 2, 3, indexed)).pixels, coloured);
        EXPECT_EQ(read(as_png(grey_alpha, 2, 2, form(PNG_COLOR_TYPE_GRAY_ALPHA)), 1).pixels,
                  (std::vector<uint8_t>{10, 20, 30, 40}));
        EXPECT_EQ(read(as_png(widened(grey_alpha), 2, 2, form(PNG_COLOR_TYPE_GRAY_ALPHA, 16)), 1).pixels,
                  (std::vector<uint8_t>{10, 20, 30, 40}));
        EXPECT_EQ(read(as_png(rgb_alpha, 1, 2, form(PNG_COLOR_TYPE_RGB_ALPHA))).pixels,
                  (std::vector<uint8_t>{10, 20, 30, 40, 50, 60}));
    }
}

TEST_F(ImageFile, JpegIsClose) {
    const std::vector<uint8_t> pixels = picture(37, 21);
    for (const bool progressive : {false, true}) {
        const DecodedImage image = read(as_jpeg(pixels, 37, 21, 3, JCS_RGB, progressive));
        ASSERT_EQ(image.pixels.size(), pixels.size());
        for (size_t i = 0; i < pixels.size(); ++i) ASSERT_NEAR(image.pixels[i], pixels[i], 12) << i;
    }
    EXPECT_EQ(read(as_jpeg(std::vector<uint8_t>(64, 90), 8, 8, 1, JCS_GRAYSCALE)).pixels.size(), 192U);
}

TEST_F(ImageFile, InkIsReadAsPillowReadsIt) {
    // Stored values are 255 less the ink; red = K - round((255 - C) K / 255), computed by hand.
    const std::vector<std::array<int, 4>> stored{
        {90, 120, 255, 90}, {0, 255, 255, 255}, {200, 100, 50, 0}, {255, 255, 255, 255}};
    const std::vector<std::array<int, 3>> expected{{32, 42, 90}, {0, 255, 255}, {0, 0, 0}, {255, 255, 255}};
    for (size_t i = 0; i < stored.size(); ++i) {
        std::vector<uint8_t> pixels;
        for (int pixel = 0; pixel < 64; ++pixel)
            for (const int sample : stored[i]) pixels.push_back(static_cast<uint8_t>(sample));
        const DecodedImage image = read(as_jpeg(pixels, 8, 8, 4, JCS_CMYK));
        ASSERT_EQ(image.pixels.size(), 192U);
        for (size_t c = 0; c < 3; ++c) EXPECT_NEAR(image.pixels[c], expected[i][c], 1) << i << " " << c;
    }
}

TEST_F(ImageFile, DamagedJpegIsRefused) {
    const std::string good = as_jpeg(picture(64, 64), 64, 64);
    for (size_t keep = 4; keep < good.size() - 2; keep += 7) {
        EXPECT_CONTAINS(refusal(good.substr(0, keep)), "/image: truncated");
    }
    const std::string bytes = noise(3 * 64 * 64, 5);
    std::string damaged = as_jpeg({bytes.begin(), bytes.end()}, 64, 64);
    for (size_t i = damaged.size() / 2; i < damaged.size() / 2 + 40; ++i)
        damaged[i] = static_cast<char>(0xff);
    EXPECT_CONTAINS(refusal(damaged), "truncated or damaged");

    // A header that promises 65,000 x 65,000 pixels: SOF0 is ff c0, its length, the precision, height and
    // width.
    std::string huge = good;
    const size_t frame = huge.find("\xff\xc0");
    ASSERT_NE(frame, std::string::npos);
    for (size_t i = frame + 5; i < frame + 9; ++i) huge[i] = static_cast<char>(0xfd);
    EXPECT_CONTAINS(refusal(huge), "more than can be read");
    huge[frame + 5] = huge[frame + 7] = 0x10;
    EXPECT_CONTAINS(refusal(huge), "more than");
}

TEST_F(ImageFile, DamagedPngIsRefused) {
    const std::string good = as_png(picture(40, 40), 40, 40);
    for (const bool interlaced : {false, true}) {
        const std::string whole = as_png(picture(40, 40), 40, 40, PngForm{.interlaced = interlaced});
        for (size_t keep = 4; keep < whole.size(); keep += 3)
            EXPECT_CONTAINS(refusal(whole.substr(0, keep)), "/image: truncated");
    }
    std::string flipped = good;
    flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 0x55);
    EXPECT_CONTAINS(refusal(flipped), "damaged PNG");
    // A header that promises more than its bytes hold; the checksum behind it is right.
    std::string huge = good;
    huge[16] = huge[20] = 0;
    huge[17] = huge[21] = 0;
    huge[18] = huge[22] = 0x40;
    const uLong sum = crc32(0, reinterpret_cast<const Bytef*>(huge.data()) + 12, 17);
    for (size_t i = 0; i < 4; ++i) huge[29 + i] = static_cast<char>(sum >> (24 - 8 * i));
    EXPECT_CONTAINS(refusal(huge), "16424x16424 pixels are more than can be read");
    EXPECT_CONTAINS(refusal("GIF89a, not ours"), "neither a JPEG nor a PNG");
    EXPECT_CONTAINS(refusal(""), "neither a JPEG nor a PNG");
}

TEST(Resize, SameSizeIsTheSamePicture) {
    const DecodedImage image{3, 6, 5, picture(6, 5)};
    std::vector<uint8_t> dst(90);
    resize_to_cover(image, 6, 5, dst);
    for (size_t c = 0; c < 3; ++c) {
        for (size_t i = 0; i < 30; ++i) ASSERT_EQ(dst[c * 30 + i], image.pixels[i * 3 + c]);
    }
}

TEST(Resize, ShrinksByAveragingAndCropsTheCentre) {
    // 4 x 8 with a black left half: halved it is 2 x 4, whose centre is 2 x 2 with the edge in the middle.
    DecodedImage image{1, 4, 8, std::vector<uint8_t>(32, 0)};
    for (size_t i = 0; i < 32; ++i) image.pixels[i] = i % 8 >= 4 ? 200 : 0;
    std::vector<uint8_t> dst(4);
    resize_to_cover(image, 2, 2, dst);
    // Triangle of half-width 2 around the second output's centre (x = 3): weights 1/8, 3/8, 3/8, 1/8, the
    // last on white.
    EXPECT_EQ(dst, (std::vector<uint8_t>{25, 175, 25, 175}));
}

TEST(Resize, AConstantStaysConstant) {
    const DecodedImage image{3, 17, 31, std::vector<uint8_t>(17 * 31 * 3, 133)};
    for (const auto& [height, width] : {std::pair{32, 32}, {5, 9}, {17, 4}, {1, 1}, {64, 3}}) {
        std::vector<uint8_t> dst(static_cast<size_t>(3 * height * width));
        resize_to_cover(image, height, width, dst);
        EXPECT_EQ(dst, std::vector<uint8_t>(dst.size(), 133)) << height << "x" << width;
    }
}

class ImageFolder : public ::testing::Test {
  protected:
    ImageFolder() {
        save(folder / "train/cat/b.png", as_png(picture(16, 16), 16, 16));
        save(folder / "train/cat/a.JPG", as_jpeg(picture(16, 16), 16, 16));
        save(folder / "train/cat/notes.txt", "not an image");
        save(folder / "train/ant/x.jpeg", as_jpeg(picture(16, 16), 16, 16));
        save(folder / "val/cat/c.png", as_png(picture(16, 16), 16, 16));
        save(folder / "val/ant/d.png", as_png(picture(16, 16), 16, 16));
    }
    std::string refusal(std::optional<ImageShape> image = {}) {
        return error_of([&] { image_folder(folder.path(), image); });
    }
    TemporaryFolder folder;
};

TEST_F(ImageFolder, ReadsClassesInOrder) {
    const Dataset dataset = load("imagefolder:" + folder.path().string());
    EXPECT_EQ(dataset.class_names, (std::vector<std::string>{"ant", "cat"}));
    EXPECT_EQ(dataset.image, (ImageShape{3, 16, 16}));
    EXPECT_EQ(dataset.train.labels, (std::vector<int32_t>{0, 1, 1}));
    EXPECT_EQ(dataset.test.labels, (std::vector<int32_t>{0, 1}));
    // train/cat/b.png is third: planes of red, green and blue.
    const std::vector<uint8_t> pixels = picture(16, 16);
    for (size_t i = 0; i < 256; ++i) ASSERT_EQ(dataset.train.pixels[2 * 768 + 256 + i], pixels[3 * i + 1]);
    save(folder / "test/ant/d.png", as_png(picture(16, 16), 16, 16));
    save(folder / "test/cat/d.png", as_png(picture(16, 16), 16, 16));
    save(folder / "test/cat/e.png", as_png(picture(16, 16), 16, 16));
    EXPECT_EQ(load("imagefolder:" + folder.path().string()).test.count(), 3);
}

TEST_F(ImageFolder, ResizesWhenAsked) {
    save(folder / "train/ant/z.png", as_png(picture(20, 50), 20, 50));
    const Dataset dataset = image_folder(folder.path(), ImageShape{1, 8, 8});
    EXPECT_EQ(dataset.image, (ImageShape{1, 8, 8}));
    EXPECT_EQ(dataset.train.pixels.size(), 4U * 64U);
    EXPECT_CONTAINS(refusal(), "z.png: 20x50 pixels, but the first image has 16x16");
}

TEST_F(ImageFolder, TheBytesDecideAndFoldersAreWalked) {
    save(folder / "train/cat/photo.jfif", as_jpeg(picture(16, 16), 16, 16));
    save(folder / "train/cat/deep/er/noname", as_png(picture(16, 16), 16, 16));
    save(folder / "train/cat/deep/.hidden.png", "not looked at");
    fs::create_directory_symlink("..", folder / "train/cat/deep/up");
    save(folder / "elsewhere/e.png", as_png(picture(16, 16), 16, 16));
    fs::create_directory_symlink(folder / "elsewhere", folder / "train/ant/linked");
    save(folder / "train/ant/a.webp", std::string("RIFF\x10\0\0\0WEBPVP8 ", 16));
    save(folder / "val/ant/b.bmp", "BM....");
    save(folder / "val/ant/c.gif", "GIF89a");
    save(folder / "val/ant/e.tiff", std::string("II*\0....", 8));
    const Dataset dataset = image_folder(folder.path());
    EXPECT_EQ(dataset.train.labels, (std::vector<int32_t>{0, 0, 1, 1, 1, 1}));
    EXPECT_EQ(dataset.test.count(), 2);
    ASSERT_EQ(dataset.notes.size(), 1U);
    EXPECT_CONTAINS(dataset.notes[0],
                    "5 files are left out: 1 BMP, 1 GIF, 1 TIFF, 1 WebP, 1 no image; JPEG and PNG are read");
}

TEST_F(ImageFolder, WhatIsNoImageIsCounted) {
    const Dataset dataset = image_folder(folder.path());
    ASSERT_EQ(dataset.notes.size(), 1U);
    EXPECT_CONTAINS(dataset.notes[0], "1 file is left out: 1 no image");
}

TEST_F(ImageFolder, AllBadFilesAreNamedAtOnce) {
    save(folder / "train/cat/broken.jpg", as_jpeg(picture(16, 16), 16, 16).substr(0, 300));
    save(folder / "val/ant/empty.png", "");
    save(folder / "val/cat/large.png", as_png(picture(18, 18), 18, 18));
    const std::string text = refusal();
    EXPECT_CONTAINS(text, "3 files cannot be read: ");
    for (const char* const name : {"train/cat/broken.jpg", "val/ant/empty.png", "val/cat/large.png"})
        EXPECT_CONTAINS(text, name);
    for (int i = 0; i < 30; ++i) save(folder / fmt::format("val/ant/bad{}.jpg", i), "x");
    EXPECT_CONTAINS(refusal(), "33 files cannot be read: ");
    EXPECT_CONTAINS(refusal(), "; and 13 more");
}

TEST_F(ImageFolder, TinyImageNetIsReadAsItIsShipped) {
    fs::remove_all(folder / "val");
    save(folder / "train/ant/images/ant_0.JPEG", as_jpeg(picture(16, 16), 16, 16));
    save(folder / "train/ant/ant_boxes.txt", "ant_0.JPEG\t0\t0\t9\t9\n");
    save(folder / "test/images/test_0.JPEG", as_jpeg(picture(16, 16), 16, 16));  // no labels
    save(folder / "val/images/val_0.JPEG", as_jpeg(picture(16, 16), 16, 16));
    save(folder / "val/images/val_1.JPEG", as_jpeg(picture(16, 16), 16, 16));
    save(folder / "val/val_annotations.txt",
         "val_0.JPEG\tcat\t0\t32\t44\t62\r\nval_1.JPEG\tant\t52\t55\t57\t59\n");
    const Dataset dataset = image_folder(folder.path());
    EXPECT_EQ(dataset.train.count(), 4);
    EXPECT_EQ(dataset.test.labels, (std::vector<int32_t>{1, 0}));
    save(folder / "val/val_annotations.txt", "val_0.JPEG\tdog\n");
    EXPECT_CONTAINS(refusal(),
                    "val_annotations.txt:1: 'dog' is a class that the training images do not have");
    save(folder / "val/val_annotations.txt", "val_7.JPEG\tcat\n");
    EXPECT_CONTAINS(refusal(), "val_7.JPEG");
}

TEST_F(ImageFolder, Refusals) {
    save(folder / "train/cat/broken.jpg", as_jpeg(picture(16, 16), 16, 16).substr(0, 300));
    EXPECT_CONTAINS(refusal(), "train/cat/broken.jpg: ");
    fs::remove(folder / "train/cat/broken.jpg");
    save(folder / "train/cat/text.png", "hello");
    EXPECT_CONTAINS(refusal(), "train/cat/text.png: neither");
    fs::remove(folder / "train/cat/text.png");
    EXPECT_CONTAINS(refusal(ImageShape{2, 8, 8}), "1 or 3 channels");
    EXPECT_CONTAINS(refusal(ImageShape{3, 32000, 1 << 30}), "memory");
    save(folder / "val/dog/d.png", as_png(picture(16, 16), 16, 16));
    EXPECT_CONTAINS(refusal(), "val/dog: a class that");
    fs::remove_all(folder / "val/dog");
    fs::remove_all(folder / "val/ant");
    EXPECT_CONTAINS(refusal(), "val/ant: no such folder");
    fs::create_directory(folder / "val/ant");
    EXPECT_CONTAINS(refusal(), "val/ant: has no JPEG or PNG file");
    fs::remove_all(folder / "val");
    EXPECT_CONTAINS(refusal(), "neither a test nor a val folder");
    fs::create_directory(folder / "val");
    EXPECT_CONTAINS(refusal(), "val: has no class folders");
    fs::remove_all(folder / "train");
    EXPECT_CONTAINS(refusal(), "train: no such folder");
}

}  // namespace
}  // namespace enmesh::data
