#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/run_program.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh {
namespace {

using ::enmesh::testing::is_one_error_line;
using ::enmesh::testing::ProgramResult;
using ::enmesh::testing::run_program;
using Json = nlohmann::json;

Json inspect_json(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "inspect");
    arguments.insert(arguments.end(), {"--json", "-"});
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return Json::parse(result.out);
}

const Json& layer_of(const Json& json, const std::string& name) {
    for (const Json& layer : json["layers"]) {
        if (layer["name"] == name) return layer;
    }
    throw std::runtime_error("no layer " + name);
}

std::string reason_of(const Json& json, const std::string& name, const std::string& stage) {
    for (const Json& item : json["left_dense"]) {
        if (item["name"] == name && item["stage"] == stage) return item["reason"];
    }
    return "";
}

/// A refused request: exit code 2, one line that says `what`, nothing on standard output.
void expect_refused(std::vector<std::string> arguments, const std::string& what) {
    arguments.insert(arguments.begin(), "inspect");
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.code, 2) << what;
    EXPECT_EQ(result.out, "") << what;
    EXPECT_TRUE(is_one_error_line(result.err)) << result.err;
    EXPECT_NE(result.err.find(what), std::string::npos) << result.err;
}

TEST(Inspect, JsonHoldsWhatTheContractNames) {
    const Json json =
        inspect_json({"--model", "resnet18", "--batch", "4", "--method", "bdwp", "--pattern", "2:8"});
    EXPECT_EQ(json["parameters"], 11'173'962);
    int64_t parameters = 0;
    for (const Json& layer : json["layers"]) parameters += layer["parameters"].get<int64_t>();
    EXPECT_EQ(parameters, json["parameters"]);

    const int64_t dense = int64_t{4} * 32 * 32 * 64 * 64 * 9;
    const Json& conv = layer_of(json, "layer1.0.conv1");
    EXPECT_EQ(conv["kind"], "conv2d");
    EXPECT_EQ(conv["parameters"], 64 * 64 * 9);
    for (const char* stage : {"FF", "BP", "WG"}) EXPECT_EQ(conv["multiply_adds"][stage], dense) << stage;
    EXPECT_EQ(conv["sparse_multiply_adds"]["FF"], dense / 4);
    EXPECT_EQ(conv["sparse_multiply_adds"]["BP"], dense / 4);
    EXPECT_EQ(conv["sparse_multiply_adds"]["WG"], dense);
    EXPECT_EQ(layer_of(json, "conv1")["multiply_adds"]["BP"], 0);
    EXPECT_EQ(layer_of(json, "bn1")["kind"], "batch_norm");

    EXPECT_EQ(reason_of(json, "conv1", "FF"), "3 input channels are not a multiple of M = 8");
    EXPECT_EQ(reason_of(json, "fc", "FF"), "classifier");
    EXPECT_EQ(reason_of(json, "layer1.0.conv1", "FF"), "");
    // Parameters, gradients and momentum alone take 12 bytes each.
    EXPECT_GT(json["peak_bytes"].get<int64_t>(), 11'173'962 * 12);
}

TEST(Inspect, TotalsAreTheSumOfTheLayers) {
    for (const char* model : {"resnet9", "vit_tiny"}) {
        const Json json =
            inspect_json({"--model", model, "--batch", "2", "--method", "sdgp", "--pattern", "2:4"});
        for (const char* kind : {"multiply_adds", "sparse_multiply_adds"}) {
            for (const char* stage : {"FF", "BP", "WG"}) {
                int64_t sum = 0;
                for (const Json& layer : json["layers"]) sum += layer[kind][stage].get<int64_t>();
                EXPECT_EQ(json[kind][stage], sum) << model << " " << kind << " " << stage;
            }
        }
        EXPECT_LT(json["sparse_multiply_adds"]["BP"], json["multiply_adds"]["BP"]);
    }
}

TEST(Inspect, DenseIgnoresThePattern) {
    const Json plain = inspect_json({"--model", "lenet5", "--image", "1x28x28"});
    const Json with_pattern =
        inspect_json({"--model", "lenet5", "--image", "1x28x28", "--method", "dense", "--pattern", "2:8"});
    EXPECT_EQ(plain, with_pattern);
    EXPECT_TRUE(plain["left_dense"].empty());
    EXPECT_EQ(plain["multiply_adds"], plain["sparse_multiply_adds"]);
}

TEST(Inspect, TheLastMatchingOverrideWins) {
    const std::vector<std::string> base{"--model",  "resnet18", "--batch",   "2",
                                        "--method", "bdwp",     "--pattern", "2:8"};
    const auto executed = [&](std::vector<std::string> overrides, const std::string& name) {
        overrides.insert(overrides.begin(), base.begin(), base.end());
        const Json json = inspect_json(overrides);
        const Json& layer = layer_of(json, name);
        return layer["sparse_multiply_adds"]["FF"].get<double>() / layer["multiply_adds"]["FF"].get<double>();
    };
    EXPECT_EQ(executed({"--sparse", "fc"}, "fc"), 0.25);
    EXPECT_EQ(executed({"--sparse", "layer3.*=1:8"}, "layer3.0.conv1"), 0.125);
    EXPECT_EQ(executed({"--sparse", "layer3.*=1:8"}, "layer2.0.conv1"), 0.25);
    EXPECT_EQ(executed({"--dense", "layer3.*"}, "layer3.0.conv1"), 1);
    EXPECT_EQ(executed({"--dense", "layer3.*", "--sparse", "layer3.0.*"}, "layer3.0.conv1"), 0.25);
    EXPECT_EQ(executed({"--sparse", "layer3.0.*", "--dense", "layer3.*"}, "layer3.0.conv1"), 1);
    EXPECT_EQ(executed({"--dense", "layer3.*", "--dense", "layer2.*"}, "layer3.0.conv1"), 1);
}

TEST(Inspect, TheTableNamesLayersTotalsAndReasons) {
    const ProgramResult result = run_program(
        {"inspect", "--model", "digits_cnn", "--image", "1x8x8", "--method", "bdwp", "--pattern", "2:8"});
    EXPECT_EQ(result.code, 0);
    for (const char* text : {"conv4", "total", "65.83 k", "left dense:", "classifier", "peak memory"}) {
        EXPECT_NE(result.out.find(text), std::string::npos) << text;
    }
}

TEST(Inspect, StepListsNodesOfEveryStage) {
    std::vector<std::string> arguments{"inspect",   "--model", "mlp",     "--method", "bdwp",
                                       "--pattern", "2:4",     "--image", "1x8x8",    "--step"};
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.code, 0);
    for (const char* text : {"linear_backward_weights", "pack_nm", "sgd_update", "left dense: fc1"}) {
        EXPECT_NE(result.out.find(text), std::string::npos) << text;
    }
    arguments.emplace_back("--on-demand");
    const ProgramResult on_demand = run_program(arguments);
    EXPECT_EQ(on_demand.code, 0);
    EXPECT_NE(on_demand.out, result.out);
}

TEST(Inspect, DotGoesToStandardOutputOrAFile) {
    const ProgramResult printed = run_program({"inspect", "--model", "mlp", "--dot"});
    EXPECT_EQ(printed.code, 0);
    EXPECT_TRUE(printed.out.starts_with("digraph")) << printed.out.substr(0, 40);
    const auto path = std::filesystem::temp_directory_path() / ("enmesh_dot_" + std::to_string(getpid()));
    const ProgramResult written = run_program({"inspect", "--model", "mlp", "--dot", path.string()});
    EXPECT_EQ(written.code, 0);
    std::ifstream file(path);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    EXPECT_EQ(text, printed.out);
    std::filesystem::remove(path);
}

TEST(Inspect, MethodsNeedNoModel) {
    const ProgramResult result = run_program({"inspect", "--methods"});
    EXPECT_EQ(result.code, 0);
    for (const char* name : {"dense", "asp", "sr-ste", "sdgp", "sdwp", "bdwp", "transposable", "mvue"}) {
        EXPECT_NE(result.out.find(name), std::string::npos) << name;
    }
}

TEST(Inspect, BadRequestsGetOneLine) {
    expect_refused({}, "--model NAME is missing");
    expect_refused({"--model", "resnt18"}, "did you mean 'resnet18'?");
    expect_refused({"--model", "resnet18", "--method", "bdpw", "--pattern", "2:8"}, "did you mean 'bdwp'?");
    expect_refused({"--model", "resnet18", "--metod", "bdwp"}, "did you mean '--method'?");
    expect_refused({"--model", "resnet18", "--method", "bdwp"}, "needs a pattern");
    for (const char* pattern : {"8:8", "9:8", "0:4", "2:17", "2-8", "a:b", "2:8:16"}) {
        expect_refused({"--model", "resnet18", "--method", "bdwp", "--pattern", pattern}, pattern);
    }
    for (const char* image :
         {"3x32", "3x32x32x32", "32", "x", "3xx32", "3x32x32 ", "3x-1x32", "99999999999999999999x1x1"}) {
        expect_refused({"--model", "resnet18", "--image", image}, "image");
    }
    expect_refused({"--model", "resnet18", "--image", "3x0x32"}, "3x0x32");
    expect_refused({"--model", "vgg16", "--image", "3x16x16"}, "at least 32x32");
    expect_refused({"--model", "resnet18", "--classes", "0"}, "classes");
    expect_refused({"--model", "resnet18", "--classes", "ten"}, "ten");
    expect_refused({"--model", "resnet18", "--width", "nan"}, "width");
    expect_refused({"--model", "resnet18", "--batch", "-1"}, "batch");
    expect_refused({"--model", "resnet18", "--method", "bdwp", "--pattern", "2:8", "--dense", "layr*"},
                   "layr*");
    expect_refused({"--model", "resnet18", "--step", "--json", "-"}, "choose one");
}

TEST(Inspect, AnUnwritableFileFailsTheWork) {
    const ProgramResult result =
        run_program({"inspect", "--model", "mlp", "--json", "/nonexistent/folder/x.json"});
    EXPECT_NE(result.code, 0);
    EXPECT_TRUE(is_one_error_line(result.err)) << result.err;
}

/// A protobuf field that holds bytes of at most 127.
std::string field(int number, const std::string& bytes) {
    return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
}
std::string field(int number, int value) {
    return {static_cast<char>(number << 3), static_cast<char>(value)};
}

/// pixels (n x 3 x h x w, all but the channels open) -> global average pool: an ONNX file without weights.
std::string pool_without_weights() {
    const auto value = [](const std::string& name, const std::string& shape) {
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)));
    };
    const std::string open =
        field(1, field(2, "n")) + field(1, field(1, 3)) + field(1, field(2, "h")) + field(1, field(2, "w"));
    const std::string node = field(1, "pixels") + field(2, "pooled") + field(4, "GlobalAveragePool");
    const std::string flatten = field(1, "pooled") + field(2, "scores") + field(4, "Flatten");
    const std::string graph = field(1, node) + field(1, flatten) + field(2, "g") +
                              field(11, value("pixels", open)) + field(12, value("scores", ""));
    const auto large = [](int number, const std::string& bytes) {  // two bytes of length
        return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size() % 128 | 128),
                           static_cast<char>(bytes.size() / 128)} +
               bytes;
    };
    return field(1, 8) + large(7, graph) + field(8, field(1, "") + field(2, 17));
}

TEST(Inspect, SaysWhichOnnxFileHasNoParameterAndTakesTheSizeThatItLeavesOpen) {
    const std::string folder = ::testing::TempDir() + "inspect-" + std::to_string(::getpid());
    std::filesystem::create_directories(folder);
    const std::string file = folder + "/pool.onnx", out = folder + "/out.onnx";
    write_file(file, pool_without_weights());
    const ProgramResult none = run_program({"inspect", "--model", file, "--image", "3x8x8"});
    EXPECT_EQ(none.code, 2);
    EXPECT_EQ(none.err, "enmesh: error: " + file + ": the graph has no parameter to train\n");
    const ProgramResult open = run_program({"export", file, "--out", out});
    EXPECT_EQ(open.code, 2);
    EXPECT_NE(open.err.find("give --image CxHxW"), std::string::npos) << open.err;
    const ProgramResult given = run_program({"export", file, "--image", "3x8x8", "--out", out});
    EXPECT_EQ(given.code, 0) << given.err;
    EXPECT_TRUE(std::filesystem::exists(out));
    std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace enmesh
