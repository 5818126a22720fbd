#include "enmesh/tensor/safetensors.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh {
namespace {

namespace fs = std::filesystem;

class Safetensors : public testing::Test {
  protected:
    void SetUp() override {
        folder_ =
            fs::path(testing::TempDir()) / ("safetensors-" + std::to_string(::getpid()) + "-" +
                                            testing::UnitTest::GetInstance()->current_test_info()->name());
        fs::create_directories(folder_);
    }
    void TearDown() override { fs::remove_all(folder_); }

    fs::path path(const std::string& name = "a.safetensors") const { return folder_ / name; }

    /// A file of this header and that many bytes of data.
    fs::path raw(const std::string& header, size_t data_bytes) const {
        std::string text;
        for (int i = 0; i < 8; ++i)
            text += static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i));
        write_file(path(), text + header + std::string(data_bytes, 'x'));
        return path();
    }

    fs::path folder_;
};

/// Unlike write_file it does not wait for the disk.
void put(const fs::path& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

/// Empty if the file is accepted; anything but enmesh::Error escapes and fails the test.
std::string problem_of(const fs::path& path) {
    try {
        load_safetensors(path);
        return "";
    } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
        EXPECT_NE(std::string(error.what()).find(path.filename().string()), std::string::npos)
            << error.what();
        return error.what();
    }
}

SafetensorsFile sample() {
    Random random(3);
    SafetensorsFile file;
    file.metadata = {{"step", "12"}, {"recipe", "{\"n\":2}\n\"quoted\" ü"}};
    const auto add = [&](const char* name, const char* dtype, Shape shape) {
        TensorHeader header{name, dtype, std::move(shape)};
        Buffer data(header.bytes());
        for (std::byte& byte : data.as<std::byte>()) byte = static_cast<std::byte>(random.next());
        file.tensors.push_back({std::move(header), std::move(data)});
    };
    add("conv.weight", "F32", {3, 5, 2, 1});
    add("half", "F16", {7});
    add("b", "BF16", {2, 3});
    add("a", "BF16", {1, 1});
    add("int8 \"quoted\"/ü", "I8", {13});
    add("flags", "BOOL", {3});
    add("ids", "I64", {4});
    add("f64", "F64", {2});
    add("f8", "F8_E4M3", {5});
    add("f4", "F4", {3, 2});
    add("empty", "F32", {0, 4});
    add("scalar", "F32", {});
    return file;
}

TEST_F(Safetensors, RoundTripIsBitExact) {
    const SafetensorsFile file = sample();
    save_safetensors(path(), file);
    const SafetensorsFile read = load_safetensors(path());
    EXPECT_EQ(read.metadata, file.metadata);
    ASSERT_EQ(read.tensors.size(), file.tensors.size());
    for (const NamedTensor& tensor : file.tensors) {
        const NamedTensor* const found = read.find(tensor.name);
        ASSERT_NE(found, nullptr) << tensor.name;
        EXPECT_EQ(found->dtype, tensor.dtype);
        EXPECT_EQ(found->shape, tensor.shape);
        ASSERT_EQ(found->data.bytes(), tensor.data.bytes());
        EXPECT_TRUE(std::ranges::equal(found->data.as<std::byte>(), tensor.data.as<std::byte>()))
            << tensor.name;
    }
    EXPECT_EQ(read.find("nothing"), nullptr);
}

TEST_F(Safetensors, BytesDependOnContentAlone) {
    SafetensorsFile file = sample();
    save_safetensors(path("a"), file);
    std::reverse(file.tensors.begin(), file.tensors.end());
    save_safetensors(path("b"), file);
    EXPECT_EQ(read_file(path("a")), read_file(path("b")));
    save_safetensors(path("c"), load_safetensors(path("a")));
    EXPECT_EQ(read_file(path("a")), read_file(path("c")));
}

TEST_F(Safetensors, LayoutIsAsStated) {
    const std::vector<float> values{1, 2};
    const int8_t small = 7;
    const std::vector<TensorView> views{{{"small", "I8", {1}}, &small},
                                        {{"values", "F32", {2}}, values.data()}};
    save_safetensors(path(), views, {{"k", "v"}});
    const std::string bytes = read_file(path());
    const std::string header =
        R"({"__metadata__":{"k":"v"},"values":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
        R"("small":{"dtype":"I8","shape":[1],"data_offsets":[8,9]}})";
    EXPECT_EQ(bytes.substr(8, header.size()), header);
    EXPECT_EQ((bytes.size() - 9) % 64, 0U);
    EXPECT_EQ(bytes.find_first_not_of(' ', 8 + header.size()), bytes.size() - 9);
    EXPECT_EQ(std::memcmp(bytes.data() + bytes.size() - 9, values.data(), 8), 0);
    EXPECT_EQ(bytes.back(), 7);
}

TEST_F(Safetensors, TensorsComeAndGo) {
    Tensor tensor({2, 3}, DType::f32);
    for (size_t i = 0; i < 6; ++i) tensor.f32()[i] = static_cast<float>(i);
    const std::vector<TensorView> views{{"w", tensor}};
    save_safetensors(path(), views);
    const Tensor read = load_safetensors(path()).tensors.at(0).tensor();
    EXPECT_EQ(read.shape(), tensor.shape());
    EXPECT_EQ(std::memcmp(read.data(), tensor.data(), tensor.bytes()), 0);
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64, DType::i64, DType::i32,
                              DType::i8, DType::u8, DType::boolean}) {
        EXPECT_EQ(tensor_dtype(safetensors_dtype(dtype)), dtype);
        EXPECT_EQ(*safetensors_bits(safetensors_dtype(dtype)), static_cast<int>(8 * size_of(dtype)));
    }
    EXPECT_EQ(tensor_dtype("F8_E4M3"), std::nullopt);
}

TEST_F(Safetensors, EmptyFileOfTensors) {
    save_safetensors(path(), SafetensorsFile{});
    EXPECT_TRUE(load_safetensors(path()).tensors.empty());
    raw("{}", 0);
    EXPECT_TRUE(load_safetensors(path()).tensors.empty());
}

TEST_F(Safetensors, RefusesToWriteWhatCannotBeRead) {
    const float value = 1;
    const auto writes = [&](std::vector<TensorView> views, const Metadata& metadata) {
        EXPECT_THROW(save_safetensors(path(), views, metadata), Error);
        EXPECT_TRUE(fs::is_empty(folder_));
    };
    writes({{{"w", "F32", {1}}, &value}, {{"w", "F32", {1}}, &value}}, {});
    writes({{{"__metadata__", "F32", {1}}, &value}}, {});
    writes({{{"w", "F31", {1}}, &value}}, {});
    writes({{{"w", "F4", {1}}, &value}}, {});
    writes({{{"w", "F32", {-1}}, &value}}, {});
    writes({{{"w\xff", "F32", {1}}, &value}}, {});
    writes({{{"w", "F32", {1}}, &value}}, {{"k", "\xc3"}});
    EXPECT_THROW(save_safetensors(folder_ / "no" / "such", SafetensorsFile{}), Error);
}

TEST_F(Safetensors, RefusesBadHeaders) {
    const std::string good = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
    EXPECT_EQ(problem_of(raw(good, 8)), "");
    EXPECT_EQ(problem_of(raw(good + "    ", 8)), "");
    struct Case {
        const char* header;
        size_t data_bytes;
        const char* expected;
    };
    const Case cases[] = {
        {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "truncated"},
        {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9, "the file at 9"},
        {R"({"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "takes 12 bytes"},
        {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "outside"},
        {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})", 9, "gap"},
        {R"({"w":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "negative"},
        {R"({"w":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8, "no 63-bit integer"},
        {R"({"w":{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,8]}})", 8,
         "no 63-bit integer"},
        {R"({"w":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}})", 8, "63 bits"},
        {R"({"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0, "whole bytes"},
        {R"({"w":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1, "whole bytes"},
        {R"({"w":{"dtype":"F31","shape":[2],"data_offsets":[0,8]}})", 8, "unknown dtype"},
        {R"({"w":{"dtype":32,"shape":[2],"data_offsets":[0,8]}})", 8, "a number where none belongs"},
        {R"({"w":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", 8, "a number where none belongs"},
        {R"({"w":{"dtype":"F32","shape":"2","data_offsets":[0,8]}})", 8, "a string where none belongs"},
        {R"({"w":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8, "a list where none belongs"},
        {R"({"w":{"dtype":"F32","shape":[{}],"data_offsets":[0,8]}})", 8, "an object where none belongs"},
        {R"({"w":{"dtype":"F32","shape":[null],"data_offsets":[0,8]}})", 8, "null where none belongs"},
        {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0]}})", 8, "two numbers"},
        {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}})", 8, "two numbers"},
        {R"({"w":{"dtype":"F32","shape":[2]}})", 0, "lacks its data_offsets"},
        {R"({"w":{"dtype":"F32","data_offsets":[0,8]}})", 8, "lacks its shape"},
        {R"({"w":{"shape":[2],"data_offsets":[0,8]}})", 8, "lacks its dtype"},
        {R"({"w":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})", 8, "its shape twice"},
        {R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", 8, "unknown field 'x'"},
        {R"({"w":5})", 0, "a number where none belongs"},
        {R"({"w":[]})", 0, "a list where none belongs"},
        {R"({"__metadata__":{"k":1}})", 0, "a string was expected"},
        {R"({"__metadata__":{"k":{}}})", 0, "a string was expected"},
        {R"({"__metadata__":{"k":"a","k":"b"}})", 0, "occurs twice"},
        {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
         8, "occurs twice"},
        {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"v":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}})",
         6, "inside"},
        {R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"v":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
         12, "gap"},
        {R"([])", 0, "does not begin with"},
        {R"( {})", 0, "does not begin with"},
        {R"()", 0, "does not begin with"},
        {R"({)", 0, "not JSON"},
        {R"({}x)", 0, "not JSON"},
        {"{\"w\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "not JSON"},
    };
    for (const Case& c : cases) {
        EXPECT_NE(problem_of(raw(c.header, c.data_bytes)).find(c.expected), std::string::npos)
            << c.header << "\n  said: " << problem_of(path());
    }
}

TEST_F(Safetensors, RefusesBadFiles) {
    EXPECT_NE(problem_of(path("missing")), "");
    EXPECT_NE(problem_of(folder_), "");
    write_file(path(), "short");
    EXPECT_NE(problem_of(path()), "");
    write_file(path(), std::string(64, '\xff'));
    EXPECT_NE(problem_of(path()).find("truncated"), std::string::npos);
    const std::string deep = "{\"w\":" + std::string(1 << 20, '[');
    EXPECT_NE(problem_of(raw(deep, 0)), "");
    const std::string name(1 << 16, 'n');
    EXPECT_LT(problem_of(raw("{\"" + name + "\":5}", 0)).size(), 400U);
}

/// Every prefix of a file and a few thousand files with changed bytes: accepted or refused, never anything
/// else; and what is accepted can be written and read again.
TEST_F(Safetensors, SaysWhatLooksLikeAnOnnxFile) {
    const std::string onnx("\x08\x08\x3a\xe1\xad\x01\x0a\x37\x0a\x06", 10);
    put(path(), onnx);
    EXPECT_NE(problem_of(path()).find("it looks like an ONNX file, whose name has to end in .onnx"),
              std::string::npos);
    put(path("a.onnx"), onnx);
    EXPECT_TRUE(problem_of(path("a.onnx")).ends_with("it looks like an ONNX file"));
    // A header of 3.8 MB that was cut off begins with the same three bytes.
    put(path(), std::string("\x08\x08\x3a\0\0\0\0\0{\"a\":", 13));
    EXPECT_NE(problem_of(path()).find("truncated"), std::string::npos);
}

TEST_F(Safetensors, SurvivesTruncatedAndChangedFiles) {
    save_safetensors(path("good"), sample());
    const std::string good = read_file(path("good"));
    for (size_t length = 0; length < good.size(); length += 1 + length / 64) {
        put(path(), good.substr(0, length));
        EXPECT_NE(problem_of(path()), "") << length;
    }
    const size_t header_end = good.find_last_of('}') + 1;
    const std::string alphabet = "{}[]\",:0123456789-.eE\\ ux\xff\x00";
    Random random(11);
    int accepted = 0;
    for (int round = 0; round < 2000; ++round) {
        std::string bytes = good;
        for (uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
            const size_t position = random.below(header_end);
            bytes[position] = alphabet[random.below(alphabet.size())];
        }
        put(path(), bytes);
        if (problem_of(path()).empty()) {
            ++accepted;
            save_safetensors(path("again"), load_safetensors(path()));
            EXPECT_EQ(problem_of(path("again")), "");
        }
    }
    EXPECT_GT(accepted, 0);
    EXPECT_LT(accepted, 1500);
}

TEST_F(Safetensors, HalvesAreWidened) {
    const auto widened = [](const char* dtype, std::vector<uint16_t> bits) {
        NamedTensor tensor{{"half", dtype, {static_cast<int64_t>(bits.size())}}, Buffer(2 * bits.size())};
        std::ranges::copy(bits, tensor.data.as<uint16_t>().begin());
        const Tensor wide = tensor.as_float32();
        return std::vector<float>(wide.f32().begin(), wide.f32().end());
    };
    EXPECT_EQ(widened("F16", {0x3c00, 0xc000, 0x0001, 0x7bff}), (std::vector<float>{1, -2, 0x1p-24F, 65504}));
    EXPECT_EQ(widened("BF16", {0x3f80, 0xc000, 0x0001}), (std::vector<float>{1, -2, 0x1p-133F}));
    EXPECT_EQ(sample().find("ids")->as_float32().dtype(), DType::i64);
}

TEST_F(Safetensors, ReaderAndWriterStream) {
    save_safetensors(path("a"), sample());
    const SafetensorsReader reader(path("a"));
    SafetensorsWriter writer(path("b"), {reader.tensors().begin(), reader.tensors().end()},
                             reader.metadata());
    ASSERT_EQ(writer.tensors().size(), reader.tensors().size());
    for (size_t i = 0; i < reader.tensors().size(); ++i) {
        EXPECT_EQ(writer.tensors()[i].name, reader.tensors()[i].name);
        writer.write(reader.read(i).data.data());
    }
    EXPECT_FALSE(fs::exists(path("b")));
    writer.commit();
    EXPECT_EQ(read_file(path("a")), read_file(path("b")));
    EXPECT_EQ(reader.find("half").has_value(), true);
    EXPECT_EQ(reader.find("nothing").has_value(), false);
}

}  // namespace
}  // namespace enmesh
