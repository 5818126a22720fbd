#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/run_program.hpp"
#include "enmesh/base/file.hpp"
#include "support/folder.hpp"

namespace enmesh {
namespace {

using ::enmesh::testing::is_one_error_line;
using ::enmesh::testing::ProgramResult;
using ::enmesh::testing::run_program;
using ::enmesh::testing::slurp;
using ::enmesh::testing::TemporaryFolder;
using Json = nlohmann::json;

void expect_done(const std::vector<std::string>& arguments) {
    const ProgramResult result = run_program(arguments);
    ASSERT_EQ(result.code, 0) << result.err;
}

Json embedded(const std::string& page) {
    const std::string start = "<script type=\"application/json\" id=\"enmesh-data\">";
    const size_t from = page.find(start) + start.size();
    return Json::parse(page.substr(from, page.find("</script>", from) - from));
}

/// Nothing of the page comes from elsewhere: the one address is the name of SVG.
void expect_self_contained(std::string page) {
    const std::string svg = "http://www.w3.org/2000/svg";
    for (size_t at = page.find(svg); at != std::string::npos; at = page.find(svg)) page.erase(at, svg.size());
    for (const char* const outside : {"http:", "https:", "src=", "@import", "url("})
        EXPECT_EQ(page.find(outside), std::string::npos) << outside;
}

std::string refusal(const std::filesystem::path& folder) {
    const ProgramResult result = run_program({"report", folder.string()});
    EXPECT_EQ(result.code, 2) << result.err;
    EXPECT_TRUE(is_one_error_line(result.err)) << result.err;
    EXPECT_FALSE(std::filesystem::exists(folder / "report.html"));
    return result.err;
}

TEST(Report, TwoTrainingRunsSideBySide) {
    const TemporaryFolder folder;
    const std::string dense = folder / "dense", bdwp = folder / "bdwp", page = folder / "page.html";
    expect_done({"train", "--data", "digits", "--epochs", "1", "--threads", "1", "--plan", "default",
                 "--method", "dense", "--out", dense});
    expect_done({"train", "--data", "digits", "--epochs", "2", "--threads", "1", "--plan", "default",
                 "--method", "bdwp", "--pattern", "2:8", "--out", bdwp});
    expect_done({"report", dense, bdwp, "--out", page});
    const std::string first = slurp(page);
    expect_self_contained(first);
    const Json runs = embedded(first)["runs"];
    ASSERT_EQ(runs.size(), 2U);
    EXPECT_EQ(runs[0]["name"], "dense");
    EXPECT_EQ(runs[1]["summary"], Json::parse(slurp(bdwp + "/summary.json")));
    EXPECT_EQ(runs[1]["epochs"].size(), 2U);
    EXPECT_NE(first.find(runs[1]["summary"]["left_dense"][0]["reason"].get<std::string>()),
              std::string::npos);
    expect_done({"report", dense, bdwp, "--out", page});
    EXPECT_EQ(slurp(page), first);
}

TEST(Report, ASimulationAndAnExploration) {
    const TemporaryFolder folder;
    const std::string sat = folder / "sat", points = folder / "points";
    const std::vector<std::string> network = {"--model",  "lenet5", "--batch",   "8",
                                              "--method", "bdwp",   "--pattern", "2:8"};
    std::vector<std::string> simulate = {"simulate", "--accel", "sat", "--out", sat};
    simulate.insert(simulate.end(), network.begin(), network.end());
    expect_done(simulate);
    std::vector<std::string> explore = {"explore", "--accel", "sat", "--sweep", "array=8x8,16x16,32x32",
                                        "--out",   points};
    explore.insert(explore.end(), network.begin(), network.end());
    expect_done(explore);
    expect_done({"report", sat, points});
    const std::string page = slurp(sat + "/report.html");
    expect_self_contained(page);
    const Json runs = embedded(page)["runs"];
    EXPECT_EQ(runs[0]["report"], Json::parse(slurp(sat + "/report.json")));
    EXPECT_NE(page.find("<td>" + runs[0]["report"]["total_cycles"].dump() + "</td>"), std::string::npos);
    ASSERT_EQ(runs[1]["points"].size(), 3U);
    for (const Json& point : runs[1]["points"]) {
        EXPECT_TRUE(point["pareto"].is_boolean());
        EXPECT_NE(page.find("<title>" + point["point"].get<std::string>()), std::string::npos);
    }
}

TEST(Report, SaysInOneLineWhatAFolderLacks) {
    const TemporaryFolder folder;
    EXPECT_NE(refusal(folder / "missing").find("is no folder"), std::string::npos);
    EXPECT_NE(refusal(folder.path()).find("holds no run"), std::string::npos);
    write_file(folder / "metrics.jsonl", "");
    EXPECT_NE(refusal(folder.path()).find("has not ended"), std::string::npos);
    for (const char* const text : {"", "{", "[1]", "{}", "{\"model\": 3}", "\xff\xfe"}) {
        write_file(folder / "summary.json", text);
        EXPECT_NE(refusal(folder.path()).find("summary.json"), std::string::npos) << text;
    }
    std::filesystem::remove(folder / "summary.json");
    for (const char* const text : {"{}", R"({"total_cycles": 1, "products": [{"layer": 1}]})"}) {
        write_file(folder / "report.json", text);
        EXPECT_NE(refusal(folder.path()).find("report.json"), std::string::npos) << text;
    }
    std::filesystem::remove(folder / "report.json");
    for (const char* const text : {"", "{}\n", "{\"subject\": \"\"}\n{\"point\": 1}\n", "x\ny\n"}) {
        write_file(folder / "points.jsonl", text);
        EXPECT_NE(refusal(folder.path()).find("points.jsonl"), std::string::npos) << text;
    }
}

TEST(Report, LeavesWhatItReadsAlone) {
    const TemporaryFolder folder;
    const std::string points = folder / "points.jsonl", text = "{\"subject\": \"\"}\n";
    write_file(points, text);
    const ProgramResult result = run_program({"report", folder.path().string(), "--out", points});
    EXPECT_EQ(result.code, 2);
    EXPECT_TRUE(is_one_error_line(result.err)) << result.err;
    EXPECT_EQ(slurp(points), text);
}

TEST(Report, ALongRunOfALargeNetworkStaysSmall) {
    const TemporaryFolder folder;
    Json summary = {{"model", {{"model", "resnet50"}}}, {"method", "bdwp"}, {"left_dense", Json::array()}};
    for (const char* const key : {"multiply_adds", "sparse_multiply_adds"})
        for (const char* const stage : {"FF", "BP", "WG"}) summary[key][stage] = 1000000000;
    for (int layer = 0; layer < 161; ++layer)
        summary["left_dense"].push_back({{"name", "layer4.2.downsample." + std::to_string(layer)},
                                         {"stage", "BP"},
                                         {"reason", "fewer channels than one group of the pattern"}});
    write_file(folder / "summary.json", summary.dump());
    std::string lines;
    for (int epoch = 1; epoch <= 200; ++epoch)
        lines += Json{{"epoch", epoch},
                      {"step", epoch * 5004},
                      {"train_loss", 7.0 / epoch},
                      {"test_accuracy", 1 - 1.0 / epoch},
                      {"seconds", 1234.56789012345},
                      {"images_per_second", 1037.123456789},
                      {"test_loss", 6.9 / epoch},
                      {"learning_rate", 0.1 / 3}}
                     .dump() +
                 "\n";
    write_file(folder / "metrics.jsonl", lines);
    expect_done({"report", folder.path().string()});
    EXPECT_LT(std::filesystem::file_size(folder / "report.html"), 2U << 20);
    EXPECT_EQ(embedded(slurp(folder / "report.html"))["runs"][0]["epochs"].size(), 200U);
}

}  // namespace
}  // namespace enmesh
