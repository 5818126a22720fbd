#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cli/run_program.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/tensor/safetensors.hpp"
#include "enmesh/train/checkpoint.hpp"

// enmesh unpack --check, and that faults of a file name it.

namespace enmesh {
namespace {

namespace fs = std::filesystem;
using testing::ProgramResult;
using testing::run_program;

class UnpackCheck : public ::testing::Test {
  protected:
    void SetUp() override {
        folder_ = fs::path(::testing::TempDir()) /
                  ("unpack-" + std::to_string(::getpid()) + "-" +
                   ::testing::UnitTest::GetInstance()->current_test_info()->name());
        fs::create_directories(folder_);
        // 2:4 along the channels, some of the zeros negative, and a bias.
        Random random(3);
        NamedTensor weights = tensor("layer.weight", {16, 32}), bias = tensor("layer.bias", {16});
        const auto values = weights.data.as<float>();
        for (size_t i = 0; i < values.size(); ++i) values[i] = i % 4 < 2 ? random.normal() : 0.0F;
        for (float& value : bias.data.as<float>()) value = random.normal();
        dense_.tensors.push_back(std::move(weights));
        dense_.tensors.push_back(std::move(bias));
        save("dense");
    }
    void TearDown() override { fs::remove_all(folder_); }

    static NamedTensor tensor(const std::string& name, Shape shape) {
        TensorHeader header{name, "F32", std::move(shape)};
        return {header, Buffer(header.bytes())};
    }
    void save(const std::string& name) const { save_safetensors(folder_ / file(name), dense_); }
    static std::string file(const std::string& name) { return name + ".safetensors"; }
    ProgramResult run(const std::vector<std::string>& arguments) const {
        return run_program(arguments, {"OMP_WAIT_POLICY=passive"}, folder_.string());
    }
    void pack(const std::string& layout, const std::vector<std::string>& more = {}) const {
        std::vector<std::string> arguments{"pack", file("dense"), "--layout",
                                           layout, "--out",       file("packed")};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const ProgramResult ran = run(arguments);
        ASSERT_EQ(ran.code, 0) << ran.err;
    }
    ProgramResult check(const std::string& against = "") const {
        std::vector<std::string> arguments{"unpack", file("packed"), "--check"};
        if (!against.empty()) arguments.insert(arguments.end(), {"--against", file(against)});
        return run(arguments);
    }
    void expect_error(const ProgramResult& ran, int code, const std::string& words) const {
        EXPECT_EQ(ran.code, code) << words;
        EXPECT_TRUE(testing::is_one_error_line(ran.err)) << ran.err;
        EXPECT_NE(ran.err.find(words), std::string::npos) << words << "\nsaid: " << ran.err;
        EXPECT_EQ(ran.out, "");
    }
    size_t files() const {
        return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
    }

    fs::path folder_;
    SafetensorsFile dense_;
};

TEST_F(UnpackCheck, a_sound_file_is_one_line_and_nothing_is_written) {
    pack("nm");
    const size_t before = files();
    const ProgramResult ran = check();
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_EQ(ran.out, "packed.safetensors: sound, 1 tensors packed and 1 dense\n");
    const ProgramResult compared = check("dense");
    EXPECT_EQ(compared.code, 0) << compared.err;
    EXPECT_EQ(compared.out,
              "packed.safetensors: sound, 1 tensors packed and 1 dense; all 528 values are those of "
              "dense.safetensors\n");
    EXPECT_EQ(files(), before);
}

TEST_F(UnpackCheck, the_result_is_told_as_json_too) {
    pack("nv24", {"--dtype", "f16"});
    const ProgramResult told =
        run({"unpack", file("packed"), "--check", "--against", file("dense"), "--json", "-"});
    EXPECT_EQ(told.code, 0) << told.err;
    EXPECT_EQ(nlohmann::json::parse(told.out), nlohmann::json({{"file", file("packed")},
                                                               {"packed", 1},
                                                               {"dense", 1},
                                                               {"values", 528},
                                                               {"against", file("dense")},
                                                               {"rounded", 1}}));
    const ProgramResult written = run({"unpack", file("packed"), "--out", file("out"), "--json", "r.json"});
    EXPECT_EQ(written.code, 0) << written.err;
    EXPECT_EQ(written.out, "wrote out.safetensors: 1 tensors unpacked and 1 as they were, 528 values\n");
    EXPECT_EQ(nlohmann::json::parse(read_file(folder_ / "r.json")).at("out"), file("out"));
    const std::string dense = read_file(folder_ / file("dense"));
    expect_error(
        run({"unpack", file("packed"), "--check", "--against", file("dense"), "--json", file("dense")}), 2,
        "would overwrite the file of --against");
    EXPECT_EQ(read_file(folder_ / file("dense")), dense);
}

TEST_F(UnpackCheck, words_do_not_go_among_the_bytes) {
    pack("nm");
    const std::string bytes = read_file(folder_ / file("packed"));
    const ProgramResult packed = run({"pack", file("dense"), "--layout", "nm", "--out", "/dev/stdout"});
    EXPECT_EQ(packed.code, 0) << packed.err;
    EXPECT_EQ(packed.out, bytes);
    EXPECT_NE(packed.err.find("packed 1 tensors"), std::string::npos) << packed.err;
    const ProgramResult unpacked = run({"unpack", file("packed"), "--out", "/dev/stdout"});
    EXPECT_EQ(unpacked.out, read_file(folder_ / file("dense")));
    EXPECT_NE(unpacked.err.find("1 tensors unpacked"), std::string::npos) << unpacked.err;
    const ProgramResult pruned = run({"prune", file("dense"), "--pattern", "2:4", "--out", "/dev/stdout"});
    EXPECT_EQ(pruned.out, read_file(folder_ / file("dense")));
    expect_error(run({"pack", file("dense"), "--layout", "nm", "--out", "/dev/stdout", "--json", "-"}), 2,
                 "standard output is taken by --out");
}

TEST_F(UnpackCheck, values_that_round_to_zero_are_counted) {
    const auto weights = dense_.tensors[0].data.as<float>();
    weights[0] = 1e-8F;
    weights[4] = -1e-8F;
    save("dense");
    const auto packed = [&](const std::string& dtype) {
        const ProgramResult ran = run({"pack", file("dense"), "--layout", "nm", "--dtype", dtype, "--out",
                                       file("packed"), "--json", "-"});
        EXPECT_EQ(ran.code, 0) << ran.err;
        return std::pair(nlohmann::json::parse(ran.out).at("underflow"), ran.err);
    };
    const auto [counts, note] = packed("f16");
    EXPECT_EQ(counts, nlohmann::json({{"layer.weight", 2}}));
    EXPECT_EQ(note,
              "enmesh: note: rounding to F16 made 2 values of 1 tensors zero, the first of 'layer.weight' "
              "(--dtype bf16 has the range of F32)\n");
    const auto [none, silence] = packed("bf16");
    EXPECT_TRUE(none.empty());
    EXPECT_EQ(silence, "");
}

TEST_F(UnpackCheck, what_is_never_packed_is_told_by_its_dtype) {
    dense_.tensors.erase(dense_.tensors.begin());
    TensorHeader header{"wide", "F64", {8, 8}};
    dense_.tensors.push_back({header, Buffer(header.bytes())});
    save("dense");
    expect_error(run({"pack", file("dense"), "--layout", "nm", "--out", file("out")}), 2,
                 "'wide': F64 is not packed (F32, F16, BF16 and I8 are)");
}

TEST_F(UnpackCheck, values_are_rounded_as_pack_rounds_them) {
    for (const std::string dtype : {"f16", "bf16"}) {
        for (const std::string layout : {"nm", "nv24", "cutlass24"}) {
            pack(layout, {"--dtype", dtype});
            const ProgramResult ran = check("dense");
            EXPECT_EQ(ran.code, 0) << ran.err;
            EXPECT_NE(ran.out.find("(1 tensors rounded)"), std::string::npos) << ran.out;
        }
    }
    const auto weights = dense_.tensors[0].data.as<float>();
    weights[5] *= 1.0F + 0x1p-5F;
    save("other");
    expect_error(check("other"), 1, "packed.safetensors: tensor 'layer.weight': element 5 is ");
    expect_error(check("other"), 1, "rounded to BF16");
}

TEST_F(UnpackCheck, differences_are_named_by_tensor_and_element) {
    dense_.tensors[0].data.as<float>()[2] = -0.0F;
    save("dense");
    pack("nm", {"--flush-zeros"});
    EXPECT_EQ(check("dense").code, 0);  // -0 is the value that +0 is
    const auto weights = dense_.tensors[0].data.as<float>();
    const auto bias = dense_.tensors[1].data.as<float>();
    const float kept = bias[7];
    bias[7] = 3;
    save("other");
    expect_error(check("other"), 1, "tensor 'layer.bias': element 7 is ");
    expect_error(check("other"), 1, "in other.safetensors it is 3\n");
    bias[7] = kept;
    weights[511] = 1;
    save("other");
    expect_error(check("other"), 1,
                 "tensor 'layer.weight': element 511 is 0, in other.safetensors it is 1\n");
    weights[511] = 0;
    dense_.tensors.push_back(tensor("more", {2}));
    save("other");
    expect_error(check("other"), 1, "tensor 'more' of other.safetensors is missing");
    dense_.tensors.resize(1);
    save("other");
    expect_error(check("other"), 1, "tensor 'layer.bias' is not in other.safetensors");
    dense_.tensors.push_back(tensor("layer.bias", {4, 4}));
    save("other");
    expect_error(check("other"), 1, "tensor 'layer.bias' is F32 16, in other.safetensors it is F32 4x4");
}

TEST_F(UnpackCheck, a_damaged_file_is_refused_by_its_name) {
    pack("nm");
    SafetensorsFile packed = load_safetensors(folder_ / file("packed"));
    for (NamedTensor& part : packed.tensors)
        if (part.name == "layer.weight.indices") part.data.as<uint8_t>()[3] = 0;
    save_safetensors(folder_ / file("packed"), packed);
    const std::string words =
        "packed.safetensors: packed tensor 'layer.weight': its indices or its padding are damaged";
    expect_error(check(), 2, words);
    expect_error(run({"unpack", file("packed"), "--out", file("out")}), 2, words);
    EXPECT_FALSE(fs::exists(folder_ / file("out")));
    dense_.tensors[0].data.as<float>()[0] = std::numeric_limits<float>::quiet_NaN();
    save("nan");
    expect_error(run({"prune", file("nan"), "--pattern", "2:4", "--dry-run"}), 2,
                 "nan.safetensors: tensor 'layer.weight': element 0 is nan");
}

TEST_F(UnpackCheck, options_that_do_not_go_together) {
    pack("nm");
    const std::string packed = file("packed");
    expect_error(run({"unpack", packed}), 2, "--out FILE says");
    expect_error(run({"unpack", packed, "--check", "--out", "x"}), 2, "leave out --out");
    expect_error(run({"unpack", packed, "--out", "x", "--against", file("dense")}), 2, "goes with --check");
    expect_error(run({"unpack", packed, "--check", "--raw"}), 2, "go with --against");
    expect_error(check("absent"), 2, "absent.safetensors");
}

TEST_F(UnpackCheck, against_a_checkpoint_and_an_onnx_file) {
    const ModelOptions options{.classes = 10, .image = {1, 8, 8}, .batch = 2};
    save_weights(
        folder_ / file("net"), build_model("digits_cnn", options),
        [](const Value& value) { return initial_value(value, 4); },
        first_metadata({{"model", "digits_cnn"}, {"classes", "10"}, {"image", "1x8x8"}, {"width", "1"}}, {}));
    ASSERT_EQ(run({"prune", file("net"), "--pattern", "2:4", "--out", file("dense")}).code, 0);
    ASSERT_EQ(run({"prune", file("net"), "--pattern", "2:4", "--out", "net.onnx"}).code, 0);
    pack("nv24", {"--dtype", "f16"});
    const ProgramResult ran = check("dense");
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_NE(ran.out.find("(5 tensors rounded)"), std::string::npos) << ran.out;
    const ProgramResult onnx = run({"unpack", file("packed"), "--check", "--against", "net.onnx"});
    EXPECT_EQ(onnx.code, 0) << onnx.err;
    expect_error(check("net"), 1, "element ");
}

}  // namespace
}  // namespace enmesh
