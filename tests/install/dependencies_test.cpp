// Every package that our CMake files find, used once: a header, a library that links, one result that is
// right. A test is named as its package is in find_package; a package without a test here fails
// `Packages.AllAreUsed`.

#include <curl/curl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <omp.h>
#include <openssl/evp.h>
#include <png.h>
#include <zlib.h>

#include <toml++/toml.h>
#include <CLI/CLI.hpp>
#include <array>
#include <atomic>
#include <cstdio>  // jpeglib.h needs size_t and FILE
#include <cstdlib>
#include <dnnl.hpp>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <jpeglib.h>

#include "onnx.pb.h"

namespace {

TEST(Packages, AllAreUsed) {
    std::set<std::string> found;
    std::istringstream names(ENMESH_PACKAGES);
    for (std::string name; names >> name;) found.insert(name);
    EXPECT_GT(found.size(), 1U);

    std::set<std::string> used;
    const testing::UnitTest& program = *testing::UnitTest::GetInstance();
    for (int s = 0; s < program.total_test_suite_count(); ++s) {
        const testing::TestSuite& suite = *program.GetTestSuite(s);
        if (suite.name() != std::string("Package")) continue;
        for (int t = 0; t < suite.total_test_count(); ++t) used.insert(suite.GetTestInfo(t)->name());
    }
    EXPECT_EQ(used, found) << "used here, and named by find_package";
}

TEST(Package, Threads) {
    std::atomic<int> value{0};
    std::thread other([&] { value = 7; });
    other.join();
    EXPECT_EQ(value, 7);
}

TEST(Package, OpenMP) {
    int threads = 0;
#pragma omp parallel num_threads(2) reduction(+ : threads)
    threads += omp_get_num_threads() >= 1 ? 1 : 0;
    EXPECT_GE(threads, 1);
    EXPECT_GE(omp_get_max_threads(), 1);
}

TEST(Package, fmt) { EXPECT_EQ(fmt::format("{}:{:.2f}", 2, 8.0), "2:8.00"); }

TEST(Package, nlohmann_json) { EXPECT_EQ(nlohmann::json::parse(R"({"m": [2, 8]})")["m"][1], 8); }

TEST(Package, tomlplusplus) { EXPECT_EQ(toml::parse("rows = 32")["rows"].value_or(0), 32); }

TEST(Package, CLI11) {
    CLI::App app;
    int rows = 0;
    app.add_option("--rows", rows);
    app.parse("--rows 32");
    EXPECT_EQ(rows, 32);
}

// A transposition by oneDNN's reorder.
TEST(Package, dnnl) {
    using dnnl::memory;
    dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    dnnl::stream stream(engine);
    std::array<float, 6> from{1, 2, 3, 4, 5, 6};
    std::array<float, 6> to{};
    const memory::dims shape{2, 3};
    memory source({shape, memory::data_type::f32, memory::format_tag::ab}, engine, from.data());
    memory target({shape, memory::data_type::f32, memory::format_tag::ba}, engine, to.data());
    dnnl::reorder(source, target).execute(stream, source, target);
    stream.wait();
    EXPECT_EQ(to, (std::array<float, 6>{1, 4, 2, 5, 3, 6}));
}

TEST(Package, ZLIB) {
    const std::vector<Bytef> text(1000, 'n');
    std::vector<Bytef> packed(compressBound(text.size()));
    uLongf packed_bytes = packed.size();
    ASSERT_EQ(compress(packed.data(), &packed_bytes, text.data(), text.size()), Z_OK);
    EXPECT_LT(packed_bytes, 100U);
    std::vector<Bytef> again(text.size());
    uLongf bytes = again.size();
    ASSERT_EQ(uncompress(again.data(), &bytes, packed.data(), packed_bytes), Z_OK);
    EXPECT_EQ(again, text);
}

// An 8 by 8 grey image is written to memory and its header read back.
TEST(Package, JPEG) {
    jpeg_error_mgr errors{};
    jpeg_compress_struct writer{};
    writer.err = jpeg_std_error(&errors);
    jpeg_create_compress(&writer);
    unsigned char* file = nullptr;
    unsigned long bytes = 0;  // NOLINT(google-runtime-int): the library's type
    jpeg_mem_dest(&writer, &file, &bytes);
    writer.image_width = writer.image_height = 8;
    writer.input_components = 1;
    writer.in_color_space = JCS_GRAYSCALE;
    jpeg_set_defaults(&writer);
    jpeg_start_compress(&writer, TRUE);
    std::array<JSAMPLE, 8> row{};
    JSAMPROW rows = row.data();
    while (writer.next_scanline < writer.image_height) jpeg_write_scanlines(&writer, &rows, 1);
    jpeg_finish_compress(&writer);
    jpeg_destroy_compress(&writer);

    jpeg_decompress_struct reader{};
    reader.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&reader);
    jpeg_mem_src(&reader, file, bytes);
    EXPECT_EQ(jpeg_read_header(&reader, TRUE), JPEG_HEADER_OK);
    EXPECT_EQ(reader.image_width, 8U);
    jpeg_destroy_decompress(&reader);
    std::free(file);
}

TEST(Package, PNG) {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = image.height = 8;
    image.format = PNG_FORMAT_GRAY;
    const std::vector<png_byte> pixels(64, 3);
    std::vector<png_byte> file(4096);
    png_alloc_size_t bytes = file.size();
    ASSERT_NE(png_image_write_to_memory(&image, file.data(), &bytes, 0, pixels.data(), 0, nullptr), 0);

    png_image again{};
    again.version = PNG_IMAGE_VERSION;
    ASSERT_NE(png_image_begin_read_from_memory(&again, file.data(), bytes), 0);
    again.format = PNG_FORMAT_GRAY;
    std::vector<png_byte> read(64);
    ASSERT_NE(png_image_finish_read(&again, nullptr, read.data(), 0, nullptr), 0);
    EXPECT_EQ(read, pixels);
}

// A transfer without a network: the source file of this test.
TEST(Package, CURL) {
    CURL* transfer = curl_easy_init();
    ASSERT_NE(transfer, nullptr);
    std::string text;
    const auto append = +[](char* data, size_t size, size_t count, void* to) {
        static_cast<std::string*>(to)->append(data, size * count);
        return size * count;
    };
    char* path = curl_easy_escape(transfer, ENMESH_SOURCE_DIR "/tests/install/dependencies_test.cpp", 0);
    std::string url = std::string("file://") + path;
    for (size_t at; (at = url.find("%2F")) != std::string::npos;) url.replace(at, 3, "/");
    curl_free(path);
    curl_easy_setopt(transfer, CURLOPT_URL, url.c_str());
    curl_easy_setopt(transfer, CURLOPT_WRITEFUNCTION, append);
    curl_easy_setopt(transfer, CURLOPT_WRITEDATA, &text);
    EXPECT_EQ(curl_easy_perform(transfer), CURLE_OK);
    curl_easy_cleanup(transfer);
    EXPECT_NE(text.find("A transfer without a network"), std::string::npos);
}

TEST(Package, OpenSSL) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned bytes = 0;
    ASSERT_EQ(EVP_Digest("abc", 3, digest.data(), &bytes, EVP_sha256(), nullptr), 1);
    EXPECT_EQ(bytes, 32U);
    EXPECT_EQ(digest[0], 0xba);  // FIPS 180-2, appendix B.1
    EXPECT_EQ(digest[31], 0xad);
}

// The code that protoc made of libonnx-dev's onnx.proto.
TEST(Package, Protobuf) {
    onnx::ModelProto model;
    model.mutable_graph()->add_node()->set_op_type("Relu");
    onnx::ModelProto again;
    ASSERT_TRUE(again.ParseFromString(model.SerializeAsString()));
    EXPECT_EQ(again.graph().node(0).op_type(), "Relu");
}

// This program runs by GoogleTest: its library is linked, and knows of this test.
TEST(Package, GTest) { EXPECT_STREQ(testing::UnitTest::GetInstance()->current_test_info()->name(), "GTest"); }

}  // namespace
