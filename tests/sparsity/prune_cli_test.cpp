#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "enmesh/base/file.hpp"
#include "enmesh/base/half.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/models/models.hpp"
#include "enmesh/onnx/import.hpp"
#include "enmesh/sparsity/prune.hpp"
#include "enmesh/tensor/safetensors.hpp"
#include "enmesh/train/checkpoint.hpp"

namespace enmesh {
namespace {

namespace fs = std::filesystem;

struct Ran {
    int code;
    std::string out, err;
};

class PruneCommand : public testing::Test {
  protected:
    void SetUp() override {
        folder_ =
            fs::path(testing::TempDir()) / ("prune-" + std::to_string(::getpid()) + "-" +
                                            testing::UnitTest::GetInstance()->current_test_info()->name());
        fs::create_directories(folder_);
        Random random(5);
        SafetensorsFile file;
        file.metadata = {{"made by", "a test"}};
        const auto add = [&](const char* name, Shape shape) {
            TensorHeader header{name, "F32", std::move(shape)};
            NamedTensor tensor{header, Buffer(header.bytes())};
            for (float& value : tensor.data.as<float>()) value = random.normal();
            file.tensors.push_back(std::move(tensor));
        };
        add("conv.weight", {6, 24, 3, 3});
        add("conv.bias", {6});
        add("fc.weight", {10, 16});
        add("stem.weight", {6, 3, 3, 3});
        save_safetensors(path("in"), file);
    }
    void TearDown() override { fs::remove_all(folder_); }

    std::string path(const std::string& name) const { return (folder_ / (name + ".safetensors")).string(); }

    Ran run(const std::string& arguments) const {
        const std::string out = (folder_ / "out.txt").string(), err = (folder_ / "err.txt").string();
        const int status =
            std::system(("\"" ENMESH_PROGRAM "\" " + arguments + " >" + out + " 2>" + err).c_str());
        return {WEXITSTATUS(status), read_file(out), read_file(err)};
    }
    void expect_refused(const std::string& arguments, const std::string& words) const {
        const Ran ran = run(arguments);
        EXPECT_EQ(ran.code, 2) << arguments << "\n" << ran.err;
        EXPECT_TRUE(ran.err.starts_with("enmesh: error: ")) << ran.err;
        EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
        EXPECT_NE(ran.err.find(words), std::string::npos) << ran.err;
        EXPECT_EQ(ran.out, "");
        EXPECT_FALSE(fs::exists(path("out")));
    }

    fs::path folder_;
};

TEST_F(PruneCommand, PrunesPermutesPacksAndUnpacks) {
    const Ran ran = run("prune " + path("in") + " --pattern 2:4 --permute --threads 1 --out " + path("out") +
                        " --json -");
    ASSERT_EQ(ran.code, 0) << ran.err;
    const auto report = nlohmann::json::parse(ran.out);
    ASSERT_EQ(report.at("layers").size(), 2U);
    EXPECT_EQ(report.at("left_dense").at(0).at("name"), "stem.weight");
    const SafetensorsFile in = load_safetensors(path("in")), out = load_safetensors(path("out"));
    EXPECT_EQ(out.metadata, in.metadata);
    EXPECT_EQ(out.tensors.size(), in.tensors.size() + 2);
    for (const auto& layer : report.at("layers")) {
        const std::string name = layer.at("name");
        const NamedTensor &before = *in.find(name), &after = *out.find(name);
        const NamedTensor& permutation = *out.find(name + ".permutation");
        EXPECT_EQ(permutation.dtype, "I64");
        const WeightExtents extents = WeightExtents::of(before.shape);
        EXPECT_EQ(layer.at("rows"), extents.rows());
        EXPECT_EQ(layer.at("cols"), extents.channels);
        Buffer want(before.data.bytes());
        permute_channels(before.data.as<std::byte>(), want.as<std::byte>(), 4, extents,
                         permutation.data.as<int64_t>());
        zero_dropped(want.as<std::byte>(), 4, magnitude_mask(want.as<float>(), extents, {2, 4}));
        EXPECT_EQ(std::memcmp(want.data(), after.data.data(), want.bytes()), 0) << name;
        double kept = 0, magnitude = 0;
        for (const float value : want.as<float>()) kept += std::abs(static_cast<double>(value));
        for (const float value : before.data.as<float>()) magnitude += std::abs(static_cast<double>(value));
        EXPECT_NEAR(layer.at("kept").get<double>(), kept, 1e-6 * magnitude);
        EXPECT_NEAR(layer.at("magnitude").get<double>(), magnitude, 1e-6 * magnitude);
        EXPECT_GT(layer.at("kept").get<double>(), layer.at("kept_plain").get<double>());
    }
    EXPECT_EQ(run("prune " + path("in") + " --pattern 2:4 --permute --threads 2 --out " + path("again")).code,
              0);
    EXPECT_EQ(read_file(path("again")), read_file(path("out")));

    ASSERT_EQ(run("pack " + path("out") + " --layout nm --out " + path("packed")).code, 0);
    ASSERT_EQ(run("unpack " + path("packed") + " --out " + path("unpacked")).code, 0);
    EXPECT_EQ(read_file(path("unpacked")), read_file(path("out")));
    EXPECT_LT(fs::file_size(path("packed")), fs::file_size(path("out")));
    ASSERT_EQ(run("prune " + path("in") + " --pattern 1:2 --out " + path("half")).code, 0);
    ASSERT_EQ(run("pack " + path("half") + " --layout cutlass24 --out " + path("packed")).code, 0);
    ASSERT_EQ(run("unpack " + path("packed") + " --out " + path("unpacked")).code, 0);
    EXPECT_EQ(read_file(path("unpacked")), read_file(path("half")));
}

TEST_F(PruneCommand, PermuteOnlyPrunesNothing) {
    ASSERT_EQ(
        run("prune " + path("in") + " --pattern 2:4 --permute-only --time-limit 5 --out " + path("out")).code,
        0);
    const SafetensorsFile in = load_safetensors(path("in")), out = load_safetensors(path("out"));
    const NamedTensor &before = *in.find("conv.weight"), &after = *out.find("conv.weight");
    Buffer want(before.data.bytes());
    permute_channels(before.data.as<std::byte>(), want.as<std::byte>(), 4, WeightExtents::of(before.shape),
                     out.find("conv.weight.permutation")->data.as<int64_t>());
    EXPECT_EQ(std::memcmp(want.data(), after.data.data(), want.bytes()), 0);
}

TEST_F(PruneCommand, DryRunWritesNothing) {
    const Ran ran = run("prune " + path("in") + " --pattern 2:4 --permute --dry-run --skip 'fc*' --json -");
    EXPECT_EQ(ran.code, 0) << ran.err;
    const auto report = nlohmann::json::parse(ran.out);
    EXPECT_EQ(report.at("layers").size(), 1U);
    EXPECT_EQ(report.at("left_dense").size(), 2U);
    EXPECT_EQ(run("prune " + path("in") + " --pattern 2:4 --transposable --dry-run").code,
              2);  // 6 and 10 outputs
    EXPECT_EQ(run("prune " + path("in") + " --pattern 1:2 --transposable --dry-run").code, 0);
}

/// Random weights of a network of ours as a checkpoint.
void save_network(const std::string& path) {
    const ModelOptions options{.classes = 10, .image = {1, 8, 8}, .batch = 2};
    const auto weights = [](const Value& value) {
        Tensor tensor = initial_value(value, 4);
        if (value.role != Role::parameter) return tensor;
        Random random(6);
        for (float& element : tensor.f32()) element += 0.1F * random.normal();
        return tensor;
    };
    save_weights(
        path, build_model("digits_cnn", options), weights,
        first_metadata({{"model", "digits_cnn"}, {"classes", "10"}, {"image", "1x8x8"}, {"width", "1"}}, {}));
}

TEST_F(PruneCommand, GoesThroughTheGraphOfACheckpointAndOfAnOnnxFile) {
    const std::string onnx = (folder_ / "net.onnx").string(), pruned = (folder_ / "pruned.onnx").string();
    save_network(path("net"));
    const auto evaluated = [&](const std::string& what) {
        const Ran ran = run("eval --data digits --json - " + what);
        EXPECT_EQ(ran.code, 0) << ran.err;
        return nlohmann::json::parse(ran.out).at("loss").get<double>();
    };
    const double loss = evaluated("--init " + path("net"));
    ASSERT_EQ(run("prune " + path("net") + " --pattern 2:4 --permute-only --out " + path("moved")).code, 0);
    EXPECT_NEAR(evaluated("--init " + path("moved")), loss, 1e-4);
    EXPECT_NE(read_file(path("moved")), read_file(path("net")));
    ASSERT_EQ(run("prune " + path("net") + " --pattern 2:4 --permute-only --out " + onnx).code, 0);
    EXPECT_NEAR(evaluated("--model " + onnx), loss, 1e-4);

    const Ran ran = run("prune " + onnx + " --pattern 2:4 --permute --out " + pruned + " --json -");
    ASSERT_EQ(ran.code, 0) << ran.err;
    const auto report = nlohmann::json::parse(ran.out);
    EXPECT_EQ(report.at("layers").size(), 3U);
    EXPECT_EQ(report.at("left_dense").at(0).at("name"), "conv1.weight");
    EXPECT_EQ(report.at("left_dense").at(0).at("reason"), "1 input channels are not a multiple of M = 4");
    EXPECT_EQ(report.at("left_dense").at(1).at("reason"), "classifier");
    EXPECT_EQ(report.at("groups").size(), 3U);
    // The file's own weights are N:M: they keep what they are.
    const Ran again = run("prune " + pruned + " --pattern 2:4 --dry-run --json -");
    ASSERT_EQ(again.code, 0) << again.err;
    for (const auto& layer : nlohmann::json::parse(again.out).at("layers"))
        EXPECT_DOUBLE_EQ(layer.at("kept_plain").get<double>(), layer.at("magnitude").get<double>());
    const double direct = evaluated("--model " + pruned);
    ASSERT_EQ(run("prune " + onnx + " --pattern 2:4 --permute --threads 1 --out " + onnx + "2.onnx").code, 0);
    EXPECT_EQ(read_file(onnx + "2.onnx"), read_file(pruned));
    ASSERT_EQ(run("prune " + path("net") + " --pattern 2:4 --permute --out " + path("pruned")).code, 0);
    EXPECT_TRUE(std::isfinite(direct) && std::isfinite(evaluated("--init " + path("pruned"))));

    const std::string out = " --out " + path("out");
    expect_refused("prune " + path("net") + " --pattern 2:4 --skip conv9" + out, "did you mean 'conv");
    expect_refused("prune " + path("net") + " --pattern 2:4 --sparse conv1" + out, "1 input channels");
    expect_refused("prune " + onnx + " --pattern 2:4" + out, "ends in .onnx");
    expect_refused("prune " + onnx + " --pattern 2:4 --model " + onnx + " --out " + pruned, "--model");
    const std::string dense = read_file(onnx);
    for (const std::string& rest : {"--out " + onnx, "--json " + onnx + " --out " + pruned})
        expect_refused("prune " + onnx + " --pattern 2:4 " + rest, "would overwrite the file of IN");
    expect_refused("pack " + path("net") + " --layout nm --out " + path("net"), "the file of IN");
    expect_refused("export " + onnx + " --out " + onnx, "would overwrite the file of IN");
    expect_refused("eval --data digits --model " + onnx + " --json " + onnx, "the file of --model");
    EXPECT_EQ(read_file(onnx), dense);
    expect_refused("prune " + path("in") + " --pattern 2:4 --sparse fc" + out, "has no graph");
    expect_refused("prune " + path("in") + " --pattern 2:4 --out " + onnx, "no graph to write");
}

TEST_F(PruneCommand, SparseTakesPatternsOfNamesAndOfWeights) {
    save_network(path("net"));
    const auto planned = [&](const std::string& sparse) {
        const Ran ran =
            run("prune " + path("net") + " --pattern 2:4 --out " + path("pruned") + " --json - " + sparse);
        EXPECT_EQ(ran.code, 0) << ran.err;
        return nlohmann::json::parse(ran.out);
    };
    // What matches and cannot be 2:4 stays dense, by the layers' names and by the weights'.
    for (const std::string sparse : {"--sparse '*'", "--sparse '*.weight'"}) {
        const auto report = planned(sparse);
        EXPECT_EQ(report.at("layers").size(), 4U) << sparse;
        ASSERT_EQ(report.at("left_dense").size(), 1U) << sparse;
        EXPECT_EQ(report.at("left_dense").at(0).at("name"), "conv1.weight");
        EXPECT_EQ(report.at("left_dense").at(0).at("reason"), "1 input channels are not a multiple of M = 4");
    }
    EXPECT_EQ(planned("--sparse 'c*'").at("layers").size(), 3U);
    // A pattern of its own, of which the last that matches counts.
    const auto report = planned("--sparse '*=3:4' --sparse 'fc=1:4' --skip conv2");
    const SafetensorsFile pruned = load_safetensors(path("pruned"));
    const auto zeros = [&](const char* name) {
        const auto values = pruned.find(name)->data.as<float>();
        return static_cast<double>(std::count(values.begin(), values.end(), 0.0F)) /
               static_cast<double>(values.size());
    };
    EXPECT_EQ(zeros("conv2.weight"), 0);
    EXPECT_EQ(zeros("conv3.weight"), 0.25);
    EXPECT_EQ(zeros("fc.weight"), 0.75);
    EXPECT_EQ(report.at("layers").at(2).at("pattern"), "1:4");
    // The weights that it kept are those of its table, and are evaluated as they are.
    double kept = 0;
    for (const float value : pruned.find("fc.weight")->data.as<float>()) kept += std::abs(value);
    EXPECT_NEAR(report.at("layers").at(2).at("kept").get<double>(), kept, 1e-5 * kept);
    EXPECT_EQ(run("eval --data digits --init " + path("pruned")).code, 0);
    const std::string prune = "prune " + path("net") + " --pattern 2:4 --out " + path("out");
    expect_refused(prune + " --sparse fc=1:4 --permute", "permutations are searched for one pattern, 2:4");
    expect_refused(prune + " --sparse fc=2", "N:M");
    expect_refused(prune + " --sparse conv1=1:4", "1 input channels");
    expect_refused(prune + " --sparse fc=1:4 --skip fc", "are both for layer 'fc'");
    expect_refused(prune + " --sparse 'f?x*'", "matches no layer");
}

TEST_F(PruneCommand, RetrainingKeepsTheMasksOfAPrunedModelAlsoAfterResuming) {
    const std::string pruned = (folder_ / "pruned.onnx").string(), runs = (folder_ / "run").string();
    save_network(path("net"));
    ASSERT_EQ(run("prune " + path("net") + " --pattern 2:4 --permute --out " + pruned).code, 0);
    const onnx::Model model = onnx::import(pruned);
    const auto expect_masks = [&] {
        const SafetensorsFile trained = load_safetensors(runs + "/last.safetensors");
        for (const char* name : {"conv2.weight", "conv3.weight", "conv4.weight"}) {
            const Tensor before = initial_value(model.graph.value(model.graph.find(name)), 0);
            const auto after = trained.find(name)->data.as<float>();
            const auto velocity = trained.find(std::string(name) + ".velocity")->data.as<float>();
            size_t zeros = 0, changed = 0;
            for (size_t i = 0; i < after.size(); ++i) {
                changed += after[i] != before.f32()[i] ? 1 : 0;
                if (before.f32()[i] != 0.0F) continue;
                ++zeros;
                ASSERT_EQ(after[i], 0.0F) << name << " " << i;
                ASSERT_EQ(velocity[i], 0.0F) << name << " " << i;
            }
            EXPECT_EQ(2 * zeros, after.size()) << name;
            EXPECT_GT(changed, 0U) << name;
        }
    };
    const std::string train = "train --model " + pruned +
                              " --data digits --image 1x8x8 --method asp --pattern 2:4 --threads 1 --out " +
                              runs;
    Ran ran = run(train + " --epochs 1");
    ASSERT_EQ(ran.code, 0) << ran.err;
    expect_masks();
    ran = run(train + " --epochs 2 --resume");
    ASSERT_EQ(ran.code, 0) << ran.err;
    expect_masks();
}

/// The three 2:4 layers of `unpacked` against F32 weights that were rounded.
template <typename Narrow, typename Round>
void expect_rounded(const std::string& unpacked, const std::function<Tensor(const std::string&)>& weights,
                    const std::string& dtype, const Round& round) {
    const SafetensorsFile file = load_safetensors(unpacked);
    for (const char* name : {"conv1.weight", "conv2.weight", "conv3.weight", "conv4.weight", "fc.weight"}) {
        const NamedTensor* const tensor = file.find(name);
        ASSERT_NE(tensor, nullptr) << name;
        EXPECT_EQ(tensor->dtype, dtype) << name;
        const Tensor want = weights(name);
        EXPECT_EQ(tensor->shape, want.shape()) << name;
        const auto bits = tensor->data.as<uint16_t>();
        for (size_t i = 0; i < bits.size(); ++i)
            ASSERT_EQ(bits[i], Narrow(round(want.f32()[i])).bits) << name << " " << i;
    }
    EXPECT_EQ(file.find("bn1.weight")->dtype, "F32");
    for (const NamedTensor& tensor : file.tensors) EXPECT_FALSE(tensor.name.ends_with(".velocity"));
}

TEST_F(PruneCommand, ARetrainedCheckpointAndAnOnnxFileGoToTensorCoresRounded) {
    const std::string onnx = (folder_ / "pruned.onnx").string(), runs = (folder_ / "run").string();
    save_network(path("net"));
    ASSERT_EQ(run("prune " + path("net") + " --pattern 2:4 --out " + path("pruned")).code, 0);
    const Ran trained = run("train --model digits_cnn --init " + path("pruned") +
                            " --data digits --image 1x8x8 --batch 1437 --epochs 1 --method asp --pattern 2:4 "
                            "--threads 1 --ema 0.5 --out " +
                            runs);
    ASSERT_EQ(trained.code, 0) << trained.err;
    const std::string checkpoint = runs + "/last.safetensors", out = " --out " + path("out");
    expect_refused("pack " + checkpoint + " --layout cutlass24" + out, "give --dtype f16");
    const Ran packed = run("pack " + checkpoint + " --layout cutlass24 --dtype f16 --raw --json -" + out);
    ASSERT_EQ(packed.code, 0) << packed.err;
    const auto report = nlohmann::json::parse(packed.out);
    ASSERT_EQ(report.at("tensors").size(), 3U);
    for (const auto& tensor : report.at("tensors"))
        EXPECT_EQ(tensor.at("packed_bytes").get<int64_t>() * 16, tensor.at("dense_bytes").get<int64_t>() * 9);
    EXPECT_EQ(report.at("left_dense").size(), 2U);  // first layer and classifier
    EXPECT_GT(report.at("left_out").size(), 0U);
    ASSERT_EQ(run("unpack " + path("out") + " --out " + path("unpacked")).code, 0);
    EXPECT_LT(static_cast<double>(fs::file_size(path("out"))) - 4096,
              static_cast<double>(fs::file_size(path("unpacked"))) -
                  7.0 / 16 * report.at("tensors").at(0).at("dense_bytes").get<double>());
    const SafetensorsFile masters = load_safetensors(checkpoint);
    const auto half = [](float value) { return to_half(value); };
    expect_rounded<Half>(
        path("unpacked"), [&](const std::string& name) { return masters.find(name)->tensor(); }, "F16", half);
    fs::remove(path("out"));
    // As eval does, averages are taken where there are any.
    ASSERT_EQ(run("pack " + checkpoint + " --layout nv24 --dtype f16 --out " + path("average")).code, 0);
    ASSERT_EQ(run("unpack " + path("average") + " --out " + path("unpacked")).code, 0);
    const auto average = [&](const std::string& name) { return masters.find(name + ".average")->tensor(); };
    expect_rounded<Half>(path("unpacked"), average, "F16", half);

    ASSERT_EQ(run("prune " + path("net") + " --pattern 2:4 --out " + onnx).code, 0);
    ASSERT_EQ(run("pack " + onnx + " --layout nv24 --dtype bf16 --out " + path("core")).code, 0);
    ASSERT_EQ(run("unpack " + path("core") + " --out " + path("unpacked")).code, 0);
    const onnx::Model model = onnx::import(onnx);
    expect_rounded<BFloat16>(
        path("unpacked"),
        [&](const std::string& name) { return initial_value(model.graph.value(model.graph.find(name)), 0); },
        "BF16", [](float value) { return to_bfloat16(value); });
    const std::string rounded = "eval --data digits --threads 1 --json - --model " + onnx;
    const Ran of_rounded = run(rounded + " --init " + path("unpacked"));
    ASSERT_EQ(of_rounded.code, 0) << of_rounded.err;
    EXPECT_NEAR(nlohmann::json::parse(of_rounded.out).at("loss").get<double>(),
                nlohmann::json::parse(run(rounded).out).at("loss").get<double>(), 0.02);
    expect_refused(rounded + " --init " + path("core"), "is packed; enmesh unpack it first");
    // Unrounded, the unpacked weights are the file's own.
    ASSERT_EQ(run("pack " + onnx + " --layout nm --out " + path("nm")).code, 0);
    ASSERT_EQ(run("unpack " + path("nm") + " --out " + path("unpacked")).code, 0);
    const std::string eval = "eval --data digits --json - --model " + onnx;
    EXPECT_EQ(run(eval + " --init " + path("unpacked")).out, run(eval).out);
}

TEST_F(PruneCommand, PacksWhatHoldsThePatternInTheAskedDtype) {
    SafetensorsFile file;
    const auto add = [&](const char* name, Shape shape, float value) {
        TensorHeader header{name, "F32", std::move(shape)};
        NamedTensor tensor{header, Buffer(header.bytes())};
        const auto elements = tensor.data.as<float>();
        for (size_t i = 0; i < elements.size(); ++i) elements[i] = i % 4 < 2 ? value : 0.0F;
        file.tensors.push_back(std::move(tensor));
    };
    add("depthwise", {32, 1, 3, 3}, 1);
    add("small", {1, 4}, 1);
    add("wide", {64, 128}, 65519.0F);  // the largest that still rounds to a finite F16
    save_safetensors(path("in"), file);
    const std::string pack = "pack " + path("in") + " --layout cutlass24 --out " + path("out");
    const Ran ran = run(pack + " --dtype f16 --json -");
    ASSERT_EQ(ran.code, 0) << ran.err;
    const auto report = nlohmann::json::parse(ran.out);
    // A plain file says nothing of networks: what holds 2:4 is packed, its padding notwithstanding.
    ASSERT_EQ(report.at("tensors").size(), 2U);
    EXPECT_EQ(report.at("tensors").at(0).at("name"), "small");
    EXPECT_EQ(report.at("tensors").at(1).at("name"), "wide");
    std::map<std::string, std::string> reasons;
    for (const auto& each : report.at("left_dense")) reasons[each.at("name")] = each.at("reason");
    EXPECT_EQ(reasons.at("depthwise"), "1 input channels are fewer than M = 4");
    // A pattern that is asked for is taken at its word.
    EXPECT_EQ(run(pack + " --dtype f16 --pattern 2:4").code, 0);
    EXPECT_EQ(load_safetensors(path("out")).find("small"), nullptr);
    fs::remove(path("out"));
    expect_refused(pack, "cutlass24 holds 2:4 of F16, BF16 and I8: give --dtype f16");
    file.tensors[2].data.as<float>()[4] = -65520.0F;
    save_safetensors(path("in"), file);
    expect_refused(pack + " --dtype f16", "element 4 of 'wide' is -65520, beyond the range of F16");
    expect_refused(pack + " --dtype f8", "f16 or bf16 expected");
    EXPECT_EQ(run(pack + " --dtype bf16").code, 0);
}

/// Where the first file's tensor is zero the second's must be.
void expect_zeros_kept(const Tensor& before, std::span<const float> after, const std::string& name) {
    ASSERT_EQ(before.f32().size(), after.size()) << name;
    size_t regrown = 0, changed = 0;
    for (size_t i = 0; i < after.size(); ++i) {
        regrown += before.f32()[i] == 0.0F && after[i] != 0.0F ? 1 : 0;
        changed += before.f32()[i] != after[i] ? 1 : 0;
    }
    EXPECT_EQ(regrown, 0U) << name;
    EXPECT_GT(changed, 0U) << name;
}

TEST_F(PruneCommand, RetrainingPrunesWhatWasPrunedAndNothingElse) {
    const std::string pruned = (folder_ / "pruned.onnx").string(), runs = (folder_ / "run").string();
    save_network(path("net"));
    const std::string prune = "prune " + path("net") + " --sparse fc --skip conv3 --out ";
    ASSERT_EQ(run(prune + pruned + " --pattern 1:4").code, 0);
    ASSERT_EQ(run(prune + path("out") + " --pattern 1:4").code, 0);
    const onnx::Model model = onnx::import(pruned);
    const auto weights = [&](const std::string& name) {
        return initial_value(model.graph.value(model.graph.find(name)), 0);
    };
    const std::string train =
        "train --data digits --method asp --threads 1 --epochs 1 --overwrite --out " + runs;
    const auto trained = [&](const std::string& arguments) {
        const Ran ran = run(train + arguments);
        EXPECT_EQ(ran.code, 0) << ran.err;
        return ran.out;
    };
    // The same pattern, and one that allows more than there is, from ONNX and from a checkpoint.
    for (const std::string& from : {" --model " + pruned + " --image 1x8x8", " --init " + path("out")}) {
        for (const std::string pattern : {"1:4", "2:4"}) {
            const std::string text = trained(from + " --pattern " + pattern);
            EXPECT_NE(text.find("are kept: 3 of 5 layers hold " + pattern), std::string::npos) << text;
            EXPECT_NE(text.find("kept " + pattern + ": fc (classifier"), std::string::npos) << text;
            EXPECT_NE(text.find("left dense: conv3: not N:M in "), std::string::npos) << text;
            const SafetensorsFile last = load_safetensors(runs + "/last.safetensors");
            for (const std::string name : {"conv2.weight", "conv4.weight", "fc.weight"})
                expect_zeros_kept(weights(name), last.find(name)->data.as<float>(), name + from + pattern);
            const auto dense = last.find("conv3.weight")->data.as<float>();
            EXPECT_EQ(std::count(dense.begin(), dense.end(), 0.0F), 0) << from << pattern;
        }
    }
    // A checkpoint's masks are kept as its weights' are, under the pattern that they hold alone.
    fs::rename(runs + "/last.safetensors", path("masked"));
    fs::copy_file(runs + "/model.onnx", folder_ / "model.onnx", fs::copy_options::skip_existing);
    trained(" --init " + path("masked") + " --pattern 2:4");
    const SafetensorsFile again = load_safetensors(runs + "/last.safetensors");
    expect_zeros_kept(weights("fc.weight"), again.find("fc.weight")->data.as<float>(), "fc.weight");
    // What the command line asks for counts more.
    const std::string text =
        trained(" --model " + pruned + " --image 1x8x8 --pattern 1:4 --dense fc --sparse conv3");
    EXPECT_EQ(text.find("kept 1:4:"), std::string::npos) << text;
    const SafetensorsFile asked = load_safetensors(runs + "/last.safetensors");
    const auto count_zeros = [&](const std::string& name) {
        const auto values = asked.find(name)->data.as<float>();
        return static_cast<size_t>(std::count(values.begin(), values.end(), 0.0F));
    };
    EXPECT_EQ(4 * count_zeros("conv3.weight"), 3 * asked.find("conv3.weight")->data.as<float>().size());
    EXPECT_EQ(count_zeros("fc.weight"), 0U);
}

TEST_F(PruneCommand, EvalAndBenchRunPrunedWeightsAsTheyAre) {
    const std::string pruned = (folder_ / "pruned.onnx").string(), full = (folder_ / "full.onnx").string();
    save_network(path("net"));
    const std::string prune = "prune " + path("net") + " --pattern 1:4 --sparse fc --skip conv3 --out ";
    ASSERT_EQ(run(prune + pruned).code, 0);
    ASSERT_EQ(run(prune + path("started")).code, 0);
    ASSERT_EQ(run("export " + path("net") + " --out " + full).code, 0);
    const auto eval = [&](const std::string& arguments) {
        const Ran ran = run("eval --data digits --threads 1 --model " + arguments);
        EXPECT_EQ(ran.code, 0) << ran.err;
        return ran.out;
    };
    const auto loss = [&](const std::string& arguments) {
        return nlohmann::json::parse(eval(arguments + " --json -")).at("loss").get<double>();
    };
    const double dense = loss(pruned + " --method dense");
    const std::string as_it_is = "3 of 5 layers hold 1:4 along input channels and run N:M as they are\n";
    EXPECT_NE(eval(pruned).find(as_it_is), std::string::npos);
    EXPECT_NEAR(loss(pruned), dense, 1e-5);
    // Plain weights, with and without folded norms.
    SafetensorsFile file = load_safetensors(path("started"));
    file.metadata.clear();
    save_safetensors(path("plain"), file);
    EXPECT_NE(eval("digits_cnn --init " + path("plain")).find(as_it_is), std::string::npos);
    EXPECT_NEAR(loss("digits_cnn --keep-norms --init " + path("plain")), dense, 1e-5);
    EXPECT_EQ(eval(full).find("hold"), std::string::npos);
    EXPECT_EQ(eval(pruned + " --method dense").find("hold"), std::string::npos);

    const std::string asp = eval(pruned + " --method asp --pattern 2:4");
    EXPECT_NE(asp.find("are kept: 3 of 5 layers hold 2:4"), std::string::npos) << asp;
    EXPECT_EQ(asp.find("prunes"), std::string::npos) << asp;
    EXPECT_NEAR(loss(pruned + " --method asp --pattern 2:4"), dense, 1e-5);
    const std::string bdwp = eval(pruned + " --method bdwp --pattern 1:4");
    EXPECT_NE(bdwp.find("method bdwp prunes weights that are not 1:4: conv3.weight\n"), std::string::npos)
        << bdwp;
    expect_refused("eval --data digits --init " + path("plain") + " --model digits_cnn --pattern 1:4",
                   "go with --method");

    // What a training step on it would cost follows the masks as well.
    const Ran inspected =
        run("inspect --model " + pruned + " --method asp --pattern 2:4 --image 1x8x8 --json -");
    ASSERT_EQ(inspected.code, 0) << inspected.err;
    for (const auto& layer : nlohmann::json::parse(inspected.out).at("layers")) {
        const auto name = layer.at("name").get<std::string>();
        const bool is_sparse = layer.at("sparse_multiply_adds").at("FF") < layer.at("multiply_adds").at("FF");
        EXPECT_EQ(is_sparse, name == "conv2" || name == "conv4" || name == "fc") << name;
    }

    const auto contestants = [&](const std::string& arguments) {
        const Ran ran =
            run("bench infer --batch 2 --rounds 1 --threads 1 --plan default --json - " + arguments);
        EXPECT_EQ(ran.code, 0) << ran.err;
        std::vector<std::string> names;
        for (const auto& row : nlohmann::json::parse(ran.out))
            names.push_back(row.at("method").get<std::string>() + row.at("pattern").get<std::string>());
        return names;
    };
    const std::vector<std::string> with_own{"dense", "bdwp2:4", "bdwp2:8", "asp1:4"};
    EXPECT_EQ(contestants("--init " + path("started")), with_own);
    EXPECT_EQ(contestants("--model " + pruned), with_own);
    EXPECT_EQ(contestants("--init " + path("started") + " --compare dense"),
              std::vector<std::string>{"dense"});
}

TEST_F(PruneCommand, RefusesWrongRequests) {
    const std::string in = path("in"), out = " --out " + path("out");
    expect_refused("prune " + in + " --pattern 2:4", "--out");
    expect_refused("prune " + in + out, "--pattern");
    expect_refused("prune " + in + " --pattern 4:2" + out, "N must be smaller");
    expect_refused("prune " + in + " --pattern 2:17" + out, "at most 16");
    expect_refused("prune " + in + " --pattern 2:4 --permut" + out, "did you mean '--permute'");
    expect_refused("prune " + in + " --pattern 2:4 --skip conv.wieght" + out, "did you mean 'conv.weight'");
    expect_refused("prune " + in + " --pattern 2:4 --time-limit 0" + out, "time-limit");
    const std::string two = "prune " + in + " --pattern 2:4";
    expect_refused(two + " --time-limit 5" + out, "--time-limit is for the search");
    expect_refused(two + " --search stripes" + out, "--search is for the search");
    expect_refused(two + " --permute --permute-only" + out, "give one of them");
    expect_refused(two + " --seed -1" + out, "must be 0 or more");
    expect_refused(two + " --threads -1" + out, "must be between 0 and 4096");
    expect_refused(two + " --skip '*'" + out, "all 3 tensors are skipped");
    EXPECT_EQ(run(two + " --threads 0 --dry-run").code, 0);
    for (const std::string option : {"--out ", "--dry-run --json "}) {
        const Ran unwritable = run(two + " " + option + path("no/such/folder"));
        EXPECT_EQ(unwritable.code, 2) << option;
        EXPECT_NE(unwritable.err.find("is no folder"), std::string::npos) << unwritable.err;
    }
    save_network(path("net"));
    const std::string net = "prune " + path("net") + " --pattern 2:4 --skip ";
    expect_refused(net + "conv2 --sparse conv2.weight" + out, "are both for layer 'conv2'");
    expect_refused(net + "'*'" + out, "all 5 layers are skipped");
    EXPECT_EQ(run(net + "conv2 --sparse 'conv[24]' --dry-run").code, 0);
    expect_refused("bench step --model lenet5 --image 1x28x28 --compare dense --pattern 2:4", "--compare");
    expect_refused("bench step --model lenet5 --image 1x28x28 --compare dense --method bdwp", "--compare");
    expect_refused("prune " + in + " --pattern 5:7" + out, "no tensor can hold 5:7");
    expect_refused("prune " + path("missing") + " --pattern 2:4" + out, "cannot be read");
    write_file(path("bad"), "nonsense");
    expect_refused("prune " + path("bad") + " --pattern 2:4" + out, "bad.safetensors");
    expect_refused("pack " + path("bad") + " --layout nm" + out, "bad.safetensors");
    expect_refused("unpack " + path("bad") + out, "bad.safetensors");
    expect_refused("pack " + in + " --layout nm24" + out, "did you mean");
    expect_refused("pack " + in + " --layout nm" + out, "no tensor can be packed");
    expect_refused("pack " + in + " --layout nm --pattern 2:4" + out, "values in a group");
    expect_refused("unpack " + in + out, "holds no packed weights");
    SafetensorsFile file = load_safetensors(in);
    for (NamedTensor& tensor : file.tensors) tensor.data.as<float>()[0] = std::nanf("");
    save_safetensors(path("nan"), file);
    expect_refused("prune " + path("nan") + " --pattern 1:3" + out, "only finite");
    EXPECT_EQ(run("prune " + in + " --pattern 2:4 --out " + path("no/such/folder")).code, 2);
}

}  // namespace
}  // namespace enmesh
