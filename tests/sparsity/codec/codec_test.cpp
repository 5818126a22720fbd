#include "enmesh/sparsity/codec.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh {
namespace {

namespace fs = std::filesystem;

size_t element_bytes(const std::string& dtype) { return static_cast<size_t>(*safetensors_bits(dtype)) / 8; }

/// Random bits in at most n places of every whole group (exactly n where `full`), anywhere in a tail of at
/// most `tail_values`.
NamedTensor sparse_tensor(const std::string& dtype, const Shape& shape, Pattern p, bool full, int tail_values,
                          uint64_t seed) {
    TensorHeader header{"w", dtype, shape};
    NamedTensor tensor{header, Buffer(header.bytes())};
    Random random(seed);
    int64_t positions = 1;
    for (int axis = 2; axis < shape.rank(); ++axis) positions *= shape[axis];
    const size_t bytes = element_bytes(dtype);
    const auto fill = [&](int64_t output, int64_t channel, int64_t position) {
        const int64_t at = (output * shape[1] + channel) * positions + position;
        for (size_t i = 0; i < bytes; ++i) {
            tensor.data.as<uint8_t>()[static_cast<size_t>(at) * bytes + i] =
                static_cast<uint8_t>(random.below(255) + 1);
        }
    };
    for (int64_t output = 0; output < shape[0]; ++output) {
        for (int64_t position = 0; position < positions; ++position) {
            for (int64_t first = 0; first < shape[1]; first += p.m) {
                const int64_t members = std::min<int64_t>(p.m, shape[1] - first);
                const auto most =
                    static_cast<uint64_t>(members == p.m ? p.n : std::min<int64_t>(tail_values, members));
                std::set<uint64_t> chosen;
                const uint64_t count = full ? most : random.below(most + 1);
                while (chosen.size() < count) chosen.insert(random.below(static_cast<uint64_t>(members)));
                for (const uint64_t i : chosen) fill(output, first + static_cast<int64_t>(i), position);
            }
        }
    }
    return tensor;
}

void expect_round_trip(const NamedTensor& tensor, PackedLayout layout, Pattern pattern) {
    const PackedWeights packed = pack_weights(tensor, tensor.data.as<std::byte>(), layout, pattern);
    EXPECT_EQ(packed.values.bytes(), packed.value_data.bytes());
    EXPECT_EQ(packed.indices.bytes(), packed.index_data.bytes());
    const NamedTensor again = unpack_weights(packed);
    EXPECT_EQ(again.name, tensor.name);
    EXPECT_EQ(again.shape, tensor.shape);
    ASSERT_EQ(again.data.bytes(), tensor.data.bytes());
    EXPECT_EQ(std::memcmp(again.data.data(), tensor.data.data(), tensor.data.bytes()), 0)
        << to_string(layout) << " " << to_string(pattern) << " " << tensor.dtype << " "
        << to_string(tensor.shape);
}

const std::vector<std::string> dtypes{"F32", "F16", "BF16", "I8"};

TEST(Codec, EveryPatternRoundTripsInOddSizes) {
    uint64_t seed = 1;
    for (int m = 2; m <= Pattern::max_m; ++m) {
        for (int n = 1; n < m; ++n) {
            const std::string& dtype = dtypes[seed % dtypes.size()];
            for (const Shape& shape : {Shape{3, 2 * m}, Shape{2, 2 * m + m / 2, 3, 1}, Shape{1, m, 2}}) {
                expect_round_trip(sparse_tensor(dtype, shape, {n, m}, seed % 2 == 0, m, seed),
                                  PackedLayout::nm, {n, m});
                ++seed;
            }
        }
    }
}

TEST(Codec, TensorCoreLayoutsRoundTripInOddSizes) {
    uint64_t seed = 100;
    for (const PackedLayout layout : {PackedLayout::nv24, PackedLayout::cutlass24}) {
        for (const std::string& dtype : dtypes) {
            const Pattern pattern = tensor_core_pattern(dtype);
            for (const Shape& shape : {Shape{1, 4}, Shape{64, 128}, Shape{33, 20}, Shape{7, 12, 3, 3},
                                       Shape{5, 6, 2}, Shape{40, 2}, Shape{3, 1}}) {
                for (const bool full : {false, true}) {
                    expect_round_trip(sparse_tensor(dtype, shape, pattern, full, pattern.n, seed++), layout,
                                      pattern);
                }
            }
        }
    }
}

TEST(Codec, NibblesOfAllSixteenMasks) {
    // Column 0 first, as the formats' descriptions write masks.
    const std::vector<std::pair<std::string, int>> table{
        {"1100", 0x4}, {"1010", 0x8}, {"0110", 0x9}, {"1001", 0xC}, {"0101", 0xD}, {"0011", 0xE},
        {"0000", 0xE}, {"0001", 0xE}, {"0010", 0xE}, {"0100", 0x9}, {"1000", 0x8}, {"0111", 0xD},
        {"1011", 0xC}, {"1110", 0x4}, {"1111", 0x4}, {"1101", 0x4}};
    std::set<unsigned> masks;
    for (const auto& [text, nibble] : table) {
        unsigned mask = 0;
        for (unsigned i = 0; i < 4; ++i) mask |= (text[i] == '1' ? 1U : 0U) << i;
        masks.insert(mask);
        EXPECT_EQ(quad_nibble(mask), nibble) << text;
        TensorHeader header{"w", "F16", {1, 4}};
        std::vector<uint16_t> data(4);
        for (unsigned i = 0; i < 4; ++i)
            data[i] = (mask >> i & 1) != 0 ? static_cast<uint16_t>(0x3C00 + i) : 0;
        const auto bytes = std::as_bytes(std::span(data));
        if (std::popcount(mask) > 2) {
            EXPECT_NE(why_not_packable(header, bytes, PackedLayout::nv24, {2, 4}), "");
            EXPECT_THROW(pack_weights(header, bytes, PackedLayout::nv24, {2, 4}), Error);
            continue;
        }
        const PackedWeights packed = pack_weights(header, bytes, PackedLayout::nv24, {2, 4});
        EXPECT_EQ(packed.index_data.as<uint8_t>()[0] & 0xF, nibble);
        EXPECT_EQ(packed.value_data.as<uint16_t>()[0], data[nibble & 3]);
        EXPECT_EQ(packed.value_data.as<uint16_t>()[1], data[nibble >> 2]);
        EXPECT_EQ(std::memcmp(unpack_weights(packed).data.data(), data.data(), 8), 0);
    }
    EXPECT_EQ(masks.size(), 16U);
}

TEST(Codec, KnownMetadata) {
    // Every quad 0011: each 16-bit word is 0xEEEE.
    const TensorHeader header{"w", "BF16", {32, 64}};
    std::vector<uint16_t> data(32 * 64);
    for (size_t i = 0; i < data.size(); ++i) data[i] = i % 4 >= 2 ? static_cast<uint16_t>(i + 1) : 0;
    for (const PackedLayout layout : {PackedLayout::nv24, PackedLayout::cutlass24}) {
        const PackedWeights packed = pack_weights(header, std::as_bytes(std::span(data)), layout, {2, 4});
        EXPECT_EQ(packed.indices.dtype, "I16");
        EXPECT_EQ(packed.indices.shape, (Shape{32, 4}));
        for (const uint16_t word : packed.index_data.as<uint16_t>()) EXPECT_EQ(word, 0xEEEE);
    }
}

TEST(Codec, CutlassOrder) {
    // The first words of a 16-bit matrix, as (row, word) pairs in storage order.
    const std::vector<std::pair<int, int>> first{{0, 0},  {8, 0},  {0, 1},  {8, 1}, {16, 0},
                                                 {24, 0}, {16, 1}, {24, 1}, {1, 0}};
    for (size_t i = 0; i < first.size(); ++i) {
        EXPECT_EQ(cutlass_offset(first[i].first, first[i].second, 64, 2), static_cast<int64_t>(i));
    }
    for (const int word_bytes : {2, 4}) {
        std::set<int64_t> offsets;
        for (int64_t row = 0; row < 64; ++row) {
            for (int64_t column = 0; column < 6; ++column)
                offsets.insert(cutlass_offset(row, column, 64, word_bytes));
        }
        EXPECT_EQ(offsets.size(), 64U * 6);
        EXPECT_EQ(*offsets.begin(), 0);
        EXPECT_EQ(*offsets.rbegin(), 64 * 6 - 1);
    }
}

TEST(Codec, HalfPrecisionTwoOfFourTakesNineSixteenths) {
    const NamedTensor tensor = sparse_tensor("F16", {64, 128, 3, 3}, {2, 4}, true, 0, 5);
    for (const PackedLayout layout : {PackedLayout::nm, PackedLayout::nv24, PackedLayout::cutlass24}) {
        const PackedWeights packed = pack_weights(tensor, tensor.data.as<std::byte>(), layout, {2, 4});
        EXPECT_EQ(packed.bytes() * 16, tensor.data.bytes() * 9) << to_string(layout);
    }
}

TEST(Codec, DetectsThePatternThatSavesMost) {
    for (const Pattern pattern :
         {Pattern{2, 4}, Pattern{1, 2}, Pattern{2, 8}, Pattern{1, 16}, Pattern{3, 5}}) {
        const NamedTensor tensor = sparse_tensor("F16", {16, 80}, pattern, true, pattern.m, 7);
        EXPECT_EQ(detect_pattern(tensor, tensor.data.as<std::byte>()), pattern) << to_string(pattern);
    }
    const NamedTensor full = sparse_tensor("F32", {4, 32}, {16, 16}, true, 0, 8);
    EXPECT_EQ(detect_pattern(full, full.data.as<std::byte>()), std::nullopt);
}

TEST(Codec, SaysWhyNot) {
    const auto reason = [](const NamedTensor& tensor, PackedLayout layout, Pattern pattern) {
        return why_not_packable(tensor, tensor.data.as<std::byte>(), layout, pattern);
    };
    const NamedTensor tensor = sparse_tensor("F32", {4, 8}, {2, 4}, true, 0, 9);
    EXPECT_EQ(reason(tensor, PackedLayout::nm, {2, 4}), "");
    EXPECT_NE(reason(tensor, PackedLayout::nm, {1, 4})
                  .find("2 values in a group (output 0, channel 0, position 0)"),
              std::string::npos);
    EXPECT_NE(reason(tensor, PackedLayout::nv24, {2, 4}).find("F32 weights of 1:2"), std::string::npos);
    EXPECT_NE(reason(tensor, PackedLayout::nm, {1, 16}).find("fewer than M"), std::string::npos);
    EXPECT_NE(reason(sparse_tensor("F64", {4, 8}, {2, 4}, true, 0, 9), PackedLayout::nm, {2, 4}).find("F64"),
              std::string::npos);
    NamedTensor flat = sparse_tensor("F32", {4, 8}, {2, 4}, true, 0, 9);
    flat.shape = Shape{32};
    EXPECT_NE(reason(flat, PackedLayout::nm, {2, 4}).find("two dimensions"), std::string::npos);
    // -0 is a value: it could not be restored otherwise.
    std::vector<float> zeros{1, 2, -0.0F, 0};
    EXPECT_NE(
        why_not_packable({"w", "F32", {1, 4}}, std::as_bytes(std::span(zeros)), PackedLayout::nm, {2, 4}),
        "");
}

class CodecFile : public testing::Test {
  protected:
    void SetUp() override {
        folder_ =
            fs::path(testing::TempDir()) / ("codec-" + std::to_string(::getpid()) + "-" +
                                            testing::UnitTest::GetInstance()->current_test_info()->name());
        fs::create_directories(folder_);
    }
    void TearDown() override { fs::remove_all(folder_); }
    std::string path() const { return (folder_ / "p.safetensors").string(); }

    std::string problem(const std::vector<TensorView>& tensors, const std::string& metadata) const {
        save_safetensors(path(), tensors, {{std::string(packed_metadata_key), metadata}});
        try {
            unpack_file(path());
            return "";
        } catch (const Error& error) {
            return error.what();
        }
    }
    fs::path folder_;
};

TEST_F(CodecFile, UnpacksWhatWasPacked) {
    const NamedTensor tensor = sparse_tensor("I8", {5, 70}, {2, 8}, false, 8, 11);
    const float other = 3;
    std::vector<PackedWeights> packed;
    packed.push_back(pack_weights(tensor, tensor.data.as<std::byte>(), PackedLayout::nm, {2, 8}));
    const std::vector<TensorView> views{{packed[0].values, packed[0].value_data.data()},
                                        {packed[0].indices, packed[0].index_data.data()},
                                        {{"bias", "F32", {1}}, &other}};
    save_safetensors(path(), views,
                     {{std::string(packed_metadata_key), packed_metadata(packed)}, {"k", "v"}});
    const SafetensorsFile file = unpack_file(path());
    EXPECT_EQ(file.metadata, (Metadata{{"k", "v"}}));
    ASSERT_EQ(file.tensors.size(), 2U);
    EXPECT_EQ(std::memcmp(file.find("w")->data.data(), tensor.data.data(), tensor.data.bytes()), 0);
    EXPECT_NE(file.find("bias"), nullptr);
}

TEST_F(CodecFile, RefusesDamagedFiles) {
    const NamedTensor tensor = sparse_tensor("F16", {4, 32}, {2, 4}, true, 0, 12);
    std::vector<PackedWeights> packed;
    packed.push_back(pack_weights(tensor, tensor.data.as<std::byte>(), PackedLayout::nv24, {2, 4}));
    const std::string good = packed_metadata(packed);
    const TensorView values(packed[0].values, packed[0].value_data.data());
    const TensorView metadata(packed[0].indices, packed[0].index_data.data());
    EXPECT_EQ(problem({values, metadata}, good), "");
    EXPECT_NE(problem({values}, good).find("lacks its w.metadata"), std::string::npos);
    EXPECT_NE(problem({metadata}, good).find("lacks its w.values"), std::string::npos);
    const float extra = 1;
    EXPECT_NE(problem({values, metadata, {{"w", "F32", {1}}, &extra}}, good).find("packed and unpacked"),
              std::string::npos);
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string text = good;
        text.replace(text.find(from), from.size(), to);
        return problem({values, metadata}, text);
    };
    EXPECT_NE(with("[4,32]", "[4,64]"), "");
    EXPECT_NE(with("[4,32]", "[]"), "");
    EXPECT_NE(with("[4,32]", "[-4,32]"), "");
    EXPECT_NE(with("[4,32]", "[1099511627776,1099511627776,1099511627776]"), "");
    EXPECT_NE(with("[4,32]", "[1000000,1000000]"), "");
    EXPECT_NE(with("[4,32]", "[4,0]"), "");
    EXPECT_NE(with("[4,32]", "\"4\""), "");
    EXPECT_NE(with("nv24", "nm"), "");
    EXPECT_NE(with("nv24", "nv25").find("did you mean"), std::string::npos);
    EXPECT_NE(with("2:4", "4:2"), "");
    EXPECT_NE(with("2:4", "1:4"), "");
    EXPECT_NE(with("F16", "F64"), "");
    EXPECT_NE(with("F16", "X"), "");
    EXPECT_NE(with("\"dtype\"", "\"type\""), "");
    for (const char* text : {"", "[]", "{", "{\"w\":3}", "{\"w\":{}}", "7"}) {
        EXPECT_NE(problem({values, metadata}, text), "") << text;
    }
    packed[0].index_data.as<uint8_t>()[0] = 0x01;
    EXPECT_NE(problem({values, metadata}, good).find("damaged"), std::string::npos);

    // A value in the padding.
    const NamedTensor narrow = sparse_tensor("F16", {1, 4}, {2, 4}, true, 0, 13);
    PackedWeights padded = pack_weights(narrow, narrow.data.as<std::byte>(), PackedLayout::nv24, {2, 4});
    padded.value_data.as<uint16_t>()[5] = 1;
    EXPECT_THROW(unpack_weights(padded), Error);
    // Index bits past the last index; an index that repeats.
    PackedWeights nm = pack_weights(narrow, narrow.data.as<std::byte>(), PackedLayout::nm, {2, 4});
    nm.index_data.as<uint8_t>()[0] |= 0x80;
    EXPECT_THROW(unpack_weights(nm), Error);
    nm.index_data.as<uint8_t>()[0] = 0x05;
    EXPECT_THROW(unpack_weights(nm), Error);
    EXPECT_THROW(unpack_file((folder_ / "missing").string()), Error);
}

}  // namespace
}  // namespace enmesh
