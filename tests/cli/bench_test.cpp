#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/run_program.hpp"
#include "enmesh/base/isa.hpp"

namespace enmesh {
namespace {

using ::enmesh::testing::ProgramResult;
using ::enmesh::testing::run_program;
using Json = nlohmann::json;

class Bench : public ::testing::Test {
  protected:
    void SetUp() override { std::filesystem::remove_all(cache_); }
    void TearDown() override { std::filesystem::remove_all(cache_); }

    ProgramResult step(std::vector<std::string> more, std::vector<std::string> environment = {}) const {
        std::vector<std::string> arguments{"bench",   "step", "--model",  "digits_cnn", "--image",   "1x8x8",
                                           "--batch", "8",    "--rounds", "1",          "--threads", "2"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        environment.push_back("ENMESH_CACHE_DIR=" + cache_.string());
        return run_program(arguments, environment);
    }

  private:
    std::filesystem::path cache_ =
        std::filesystem::temp_directory_path() / ("enmesh-bench-test-" + std::to_string(::getpid()));
};

TEST_F(Bench, StepsWithoutWinogradAfterKernelsWereMeasured) {
    for (const char* const plan : {"measure", "cached"}) {
        const ProgramResult with = step({"--method", "bdwp", "--pattern", "2:8", "--plan", plan});
        EXPECT_EQ(with.code, 0) << with.err;
        const ProgramResult without =
            step({"--method", "bdwp", "--pattern", "2:8", "--plan", plan}, {"ENMESH_WINOGRAD=0"});
        EXPECT_EQ(without.code, 0) << without.err;
    }
}

TEST_F(Bench, DispatchTellsWhereAChoiceComesFrom) {
    const std::vector<std::string> bdwp{"--method", "bdwp",   "--pattern", "2:8",
                                        "--layout", "images", "--plan"};
    const auto dispatch = [&](const std::string& plan) {
        std::vector<std::string> arguments = bdwp;
        arguments.push_back(plan);
        return step(arguments, {"ENMESH_VERBOSE=dispatch", "ENMESH_WINOGRAD=0"}).err;
    };
    const std::string measured = dispatch("measure"), cached = dispatch("cached");
    EXPECT_NE(measured.find("was measured as the fastest"), std::string::npos) << measured;
    EXPECT_NE(cached.find("was measured before and cached"), std::string::npos) << cached;
    for (const std::string& text : {measured, cached}) {
        EXPECT_NE(text.find("winograd declines: ENMESH_WINOGRAD=0"), std::string::npos) << text;
        EXPECT_NE(text.find(": oneDNN gemm\n"), std::string::npos) << text;
    }
}

TEST_F(Bench, StreamingIsByNameOrRefused) {
    for (const std::string streaming : {"never", "always", "by_size"}) {
        const ProgramResult result = step({"--plan", "default"}, {"ENMESH_STREAMING=" + streaming});
        EXPECT_EQ(result.code, 0) << result.err;
    }
    const ProgramResult result = step({"--plan", "default"}, {"ENMESH_STREAMING=sometimes"});
    EXPECT_EQ(result.code, 2);
    EXPECT_EQ(result.err,
              "enmesh: error: ENMESH_STREAMING='sometimes' is unknown (known: by_size, never, always)\n");
}

TEST_F(Bench, FilledInGradientsAreNotSaidToBeMeasured) {
    const ProgramResult result = step({"--method", "sdgp", "--pattern", "2:8", "--plan", "default"});
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_NE(result.out.find("the zeros of their N:M operand filled in: BP"), std::string::npos)
        << result.out;
    EXPECT_EQ(result.out.find("measured faster"), std::string::npos) << result.out;
}

TEST_F(Bench, PeakShareIsOfTheThreadsUsedOrNull) {
    for (const std::string isa : {"portable", "avx2"}) {
        const ProgramResult result =
            run_program({"bench", "kernels", "--model", "digits_cnn", "--image", "1x8x8", "--batch", "8",
                         "--rounds", "1", "--stages", "FF", "--threads", "2", "--json", "-"},
                        {"ENMESH_ISA=" + isa});
        ASSERT_EQ(result.code, 0) << result.err;
        const Json rows = Json::parse(result.out);
        for (const Json& row : rows) {
            for (const Json& one : row["implementations"]) {
                const bool measured = isa != "portable" && hardware_isa() != Isa::portable;
                ASSERT_EQ(one["peak_share"].is_null(), !measured);
                if (measured) {
                    EXPECT_GT(one["peak_share"].get<double>(), 0.0);
                }
            }
        }
    }
}

}  // namespace
}  // namespace enmesh
