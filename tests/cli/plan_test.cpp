#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/run_program.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/cpu/plan_file.hpp"
#include "support/folder.hpp"

namespace enmesh {
namespace {

using Json = nlohmann::json;
using testing::is_one_error_line;
using testing::ProgramResult;
using testing::run_program;

class PlanProgram : public ::testing::Test {
  protected:
    std::string path(const std::string& name) const { return (folder_ / name).string(); }
    std::string file(const std::string& name) const { return read_file(folder_ / name); }
    Json json(const std::string& name) const { return Json::parse(file(name)); }
    /// Every run finds the cache of that name.
    ProgramResult run(std::vector<std::string> arguments, const std::string& cache = "empty") const {
        return run_program(arguments, {"ENMESH_CACHE_DIR=" + path(cache)});
    }
    std::vector<std::string> train(const std::string& out, const std::string& plan,
                                   const std::vector<std::string>& more = {}) const {
        std::vector<std::string> arguments{"train",   "--data",   "digits",  "--model",   "digits_cnn",
                                           "--width", "0.25",     "--batch", "128",       "--epochs",
                                           "1",       "--method", "bdwp",    "--threads", "2",
                                           "--out",   path(out),  "--plan",  plan};
        arguments.insert(arguments.end(), more.begin(), more.end());
        if (std::find(more.begin(), more.end(), "--pattern") == more.end())
            arguments.insert(arguments.end(), {"--pattern", "2:8"});
        return arguments;
    }
    static std::vector<std::string> bench(const std::string& plan,
                                          const std::vector<std::string>& more = {}) {
        std::vector<std::string> arguments{"bench",     "step",      "--model", "digits_cnn", "--image",
                                           "1x8x8",     "--batch",   "8",       "--rounds",   "1",
                                           "--threads", "2",         "--plan",  plan,         "--compare",
                                           "dense",     "--compare", "bdwp@2:8"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
    void expect_refused(const std::vector<std::string>& arguments, const std::string& message) const {
        const ProgramResult result = run(arguments);
        EXPECT_EQ(result.code, 2) << result.err;
        EXPECT_TRUE(is_one_error_line(result.err)) << result.err;
        EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
        EXPECT_FALSE(std::filesystem::exists(folder_ / "refused"));
    }
    /// A cache that names the slowest kernel for every product of the plans, and the other layout.
    void plant_hostile_cache(const std::string& cache, const std::string& plans) const {
        set_threads(2);  // those of the runs
        cpu::KernelCache planted(folder_ / cache / "kernels.json");
        for (const cpu::PlanFile::Step& step : cpu::parse_plan_file(file(plans), plans).steps) {
            for (const auto& [product, kernel] : step.plan.kernels) {
                planted.remember(product, "reference");
                planted.remember(product + " prepared once", "reference");
            }
            planted.remember("layout of " + step.key, step.plan.layout == "images" ? "channels" : "images");
        }
        planted.save();
    }

    testing::TemporaryFolder folder_;
};

TEST_F(PlanProgram, DefaultGivesTheSameBitsWhateverLiesInTheCache) {
    const ProgramResult clean = run(train("clean", "default", {"--plan-out", path("plan.json")}));
    ASSERT_EQ(clean.code, 0) << clean.err;
    EXPECT_FALSE(std::filesystem::exists(folder_ / "empty"));
    plant_hostile_cache("hostile", "plan.json");
    const std::string planted = file("hostile/kernels.json");
    ASSERT_EQ(run(train("default", "default"), "hostile").code, 0);
    EXPECT_TRUE(file("default/last.safetensors") == file("clean/last.safetensors"));
    EXPECT_EQ(file("hostile/kernels.json"), planted);

    // The same cache does change a run that looks there; what it used can be kept and had again.
    ASSERT_EQ(run(train("cached", "cached", {"--plan-out", path("cached.json")}), "hostile").code, 0);
    EXPECT_FALSE(file("cached/last.safetensors") == file("clean/last.safetensors"));
    ASSERT_EQ(run(train("again", path("cached.json"))).code, 0);
    EXPECT_TRUE(file("again/last.safetensors") == file("cached/last.safetensors"));
    EXPECT_EQ(json("again/summary.json")["plan"], json("cached/summary.json")["plan"]);
    EXPECT_NE(json("again/summary.json")["plan"], json("clean/summary.json")["plan"]);
}

TEST_F(PlanProgram, TheHeaderAndTheSummaryNameThePlanAndHowToRepeatIt) {
    const ProgramResult cached = run(train("run", "cached", {"--plan-out", path("plan.json")}));
    ASSERT_EQ(cached.code, 0) << cached.err;
    const std::string hash = json("run/summary.json")["plan"];
    EXPECT_EQ(hash, cpu::plan_hash(cpu::parse_plan_file(file("plan.json"), "plan.json").steps.at(0).plan));
    EXPECT_NE(cached.out.find("kernel plan " + hash + " (cached"), std::string::npos) << cached.out;
    EXPECT_NE(cached.out.find("--plan " + path("plan.json") + " repeats it"), std::string::npos)
        << cached.out;
    const ProgramResult plain = run(train("plain", "cached"));
    EXPECT_NE(plain.out.find("--plan-out FILE keeps it"), std::string::npos) << plain.out;
    const ProgramResult resumed = run(train("run", "cached", {"--resume"}));
    EXPECT_NE(resumed.out.find("kernel plan " + hash + " (of the checkpoint"), std::string::npos)
        << resumed.out;
}

TEST_F(PlanProgram, KeptPlansThatDoNotFitAreRefusedInOneLine) {
    ASSERT_EQ(run(train("run", "default", {"--plan-out", path("plan.json")})).code, 0);
    expect_refused(train("refused", path("plan.json"), {"--pattern", "2:4"}),
                   "holds no plan for this network");
    expect_refused(train("refused", path("plan.json"), {"--dtype", "bf16"}),
                   "holds no plan for this network");
    expect_refused(train("refused", "mesure"), "unknown plan 'mesure' (did you mean 'measure'?)");
    expect_refused(train("refused", path("missing.json")), "missing.json: no such file");
    expect_refused(train("refused", path("plan.json"), {"--plan-out", path("plan.json")}), "plan.json");
    expect_refused(train("refused", "default", {"--plan-out", path("nowhere/plan.json")}), "is no folder");
    expect_refused(train("refused", "default", {"--plan-out", "-"}), "a file is expected");
    expect_refused(train("refused", path("plan.json"), {"--device", "sat"}), "device sat");
    expect_refused(train("refused", "default", {"--device", "sat", "--plan-out", path("p")}), "device sat");
    expect_refused(
        {"eval", "--init", path("run/last.safetensors"), "--data", "digits", "--plan", path("plan.json")},
        "kept plans go with train and bench step");
    Json plan = json("plan.json");
    const auto with = [&](const Json& changed) {
        write_file(folder_ / "changed.json", changed.dump());
        return train("refused", path("changed.json"));
    };
    Json changed = plan;
    changed["isa"] = "sve";
    expect_refused(with(changed), "its plans were made for sve");
    changed = plan;
    changed["steps"][0]["kernels"].begin().value() = "no such kernel";
    expect_refused(with(changed), "no such kernel");
    changed = plan;
    changed["steps"][0]["layout"] = "bananas";
    expect_refused(with(changed), "changed.json");
    changed = plan;
    changed["steps"][0]["kernel"] = "x";
    expect_refused(with(changed), "unknown key 'kernel' (did you mean 'kernels'?)");
    changed = plan;
    changed["steps"][0]["kernels"].erase(changed["steps"][0]["kernels"].begin());
    expect_refused(with(changed), "names no kernel for the product");
    write_file(folder_ / "changed.json", "garbage");
    expect_refused(train("refused", path("changed.json")), "changed.json: is no file of kernel plans");
    // Another processor of the same instruction set is named, not refused.
    changed = plan;
    changed["machine"] = "another machine";
    write_file(folder_ / "changed.json", changed.dump());
    const ProgramResult other = run(train("other", path("changed.json")));
    EXPECT_EQ(other.code, 0) << other.err;
    EXPECT_NE(other.err.find("enmesh: note: " + path("changed.json") + ": made on another machine"),
              std::string::npos)
        << other.err;
}

TEST_F(PlanProgram, AResumedRunKeepsItsCheckpointsPlan) {
    ASSERT_EQ(run(train("run", "default", {"--plan-out", path("plan.json")})).code, 0);
    plant_hostile_cache("hostile", "plan.json");
    ASSERT_EQ(run(train("cached", "cached", {"--plan-out", path("cached.json")}), "hostile").code, 0);
    expect_refused(train("run", path("cached.json"), {"--resume"}), "of its checkpoint, which is another");
    EXPECT_EQ(run(train("run", path("plan.json"), {"--resume"})).code, 0);
}

TEST_F(PlanProgram, AResumedRunSaysWhereItCannotFollowItsCheckpoint) {
    ASSERT_EQ(run(train("run", "default", {"--plan-out", path("plan.json")})).code, 0);
    const std::string hash =
        cpu::plan_hash(cpu::parse_plan_file(file("plan.json"), "plan.json").steps.at(0).plan);
    std::vector<std::string> longer = train("run", "default", {"--resume"});
    *(std::find(longer.begin(), longer.end(), "--epochs") + 1) = "2";
    const ProgramResult resumed =
        run_program(longer, {"ENMESH_CACHE_DIR=" + path("empty"), "ENMESH_WINOGRAD=0"});
    if (resumed.code == 2) {  // a kernel that the plan names is switched off
        EXPECT_TRUE(is_one_error_line(resumed.err)) << resumed.err;
        EXPECT_NE(resumed.err.find("declines: ENMESH_WINOGRAD=0"), std::string::npos) << resumed.err;
        return;
    }
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    const bool same = resumed.out.find("kernel plan " + hash) != std::string::npos;
    EXPECT_EQ(resumed.out.find("(of the checkpoint") != std::string::npos, same) << resumed.out;
    EXPECT_EQ(resumed.out.find("(not the checkpoint's") == std::string::npos, same) << resumed.out;
}

TEST_F(PlanProgram, BenchStepNamesKeepsAndRepeatsPlans) {
    const ProgramResult first =
        run(bench("default", {"--plan-out", path("plan.json"), "--json", path("one.json")}));
    ASSERT_EQ(first.code, 0) << first.err;
    plant_hostile_cache("hostile", "plan.json");
    ASSERT_EQ(run(bench(path("plan.json"), {"--json", path("two.json")}), "hostile").code, 0);
    ASSERT_EQ(run(bench("cached", {"--json", path("three.json")}), "hostile").code, 0);
    ASSERT_EQ(json("one.json").size(), 2U);
    for (size_t row = 0; row < 2; ++row) {
        const std::string hash = json("one.json")[row]["plan"];
        EXPECT_NE(first.out.find("kernel plan " + hash), std::string::npos) << first.out;
        EXPECT_EQ(json("two.json")[row]["plan"], hash);
        EXPECT_NE(json("three.json")[row]["plan"], hash);
    }
    EXPECT_NE(json("one.json")[0]["plan"], json("one.json")[1]["plan"]);
    expect_refused(bench(path("plan.json"), {"--compare", "bdwp@2:4"}), "holds no plan for this network");
    expect_refused(bench(path("plan.json"), {"--layout", "images"}), "--layout images");
    expect_refused(bench("cachd"), "did you mean 'cached'?");
}

}  // namespace
}  // namespace enmesh
