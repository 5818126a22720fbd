// The program that holds the dummy beside the machines of the house.
#undef ENMESH_PROGRAM
#define ENMESH_PROGRAM ENMESH_DUMMY_PROGRAM

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/run_program.hpp"
#include "enmesh/base/file.hpp"
#include "support/folder.hpp"

namespace enmesh {
namespace {

using Json = nlohmann::json;

class Dummy : public ::testing::Test {
  protected:
    void SetUp() override {
        topology_ = (folder_ / "net.csv").string();
        write_file(topology_, "Layer,M,N,K,Sparsity,\nA,10,20,30,2:4,\nB,64,64,64,1:1,\n");
    }
    testing::ProgramResult run(std::vector<std::string> words) const {
        words.insert(words.begin() + 1, {"--topology", topology_});
        return testing::run_program(words);
    }
    std::string path(const std::string& name) const { return (folder_ / name).string(); }

    testing::TemporaryFolder folder_;
    std::string topology_;
};

TEST_F(Dummy, IsSimulatedWithItsOwnParameterStallFigureAndTrack) {
    const auto o = run({"simulate", "--accel", "dummy", "--set", "queue_cycles=7", "--json", path("j"),
                        "--csv", path("c"), "--trace", path("t")});
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(o.err, "note: the dummy runs dense\n");
    EXPECT_NE(o.out.find(" queue%"), std::string::npos) << o.out;
    EXPECT_NE(o.out.find("queued"), std::string::npos) << o.out;
    const Json json = Json::parse(read_file(path("j"), 1 << 20)), &a = json["products"][0];
    EXPECT_EQ(json["accelerator"], "dummy");
    EXPECT_EQ(json["total_cycles"], 94 + 7 + 4096 + 7);  // 6,000 and 262,144 multiply-adds by 64
    EXPECT_TRUE(json["joules"].is_null());
    EXPECT_EQ(a["stalls"].size(), 1U);
    EXPECT_EQ(a["stalls"]["queueing"], 7.25);
    EXPECT_EQ(a["queued"], 7);
    const std::string csv = read_file(path("c"), 1 << 20);
    EXPECT_TRUE(
        csv.starts_with("kind,layer,stage,m,n,k,batch,pattern,dataflow,elements,cycles,multiply_adds,"
                        "utilization,queueing,dram_read,dram_write,queued\n"))
        << csv;
    const Json events = Json::parse(read_file(path("t"), 1 << 20))["traceEvents"];
    ASSERT_EQ(events.size(), 6U);
    EXPECT_EQ(events[0]["args"]["name"], "queue");
    EXPECT_EQ(events[1]["args"]["name"], "line");
    EXPECT_EQ(events[3]["tid"], 1);
    EXPECT_EQ(events[3]["args"]["waits"], 7);
}

TEST_F(Dummy, IsExplored) {
    const auto o = run({"explore", "--accel", "dummy", "--sweep", "width=8,64", "--out", path("e"), "--json",
                        path("e.json")});
    ASSERT_EQ(o.code, 0) << o.err;
    const Json points = Json::parse(read_file(path("e.json"), 1 << 20))["points"];
    ASSERT_EQ(points.size(), 2U);
    for (const Json& point : points) {
        EXPECT_TRUE(point["joules"].is_null());
        EXPECT_TRUE(point["pareto"].get<bool>()) << "one is faster, one smaller";
        EXPECT_GT(point["total_cycles"].get<int64_t>(), 0);
    }
    EXPECT_NE(read_file(path("e/pareto.svg"), 1 << 20).find(">elements</text>"), std::string::npos);
}

TEST_F(Dummy, SaysItselfWhatItLacksAndIsListed) {
    for (const std::vector<std::string>& facility : {std::vector<std::string>{"--exact"},
                                                     {"--state-at", "3"},
                                                     {"--schedule", "s.toml"},
                                                     {"--dataflow", "ws"}}) {
        std::vector<std::string> words = {"simulate", "--accel", "dummy"};
        words.insert(words.end(), facility.begin(), facility.end());
        const auto o = run(words);
        EXPECT_EQ(o.code, 2);
        EXPECT_EQ(o.err,
                  "enmesh: error: " + facility[0] + " does not go with --accel dummy: it is a dummy\n");
    }
    EXPECT_NE(testing::run_program({"simulate", "--help"}).out.find("dummy (for tests)"), std::string::npos);
    EXPECT_NE(run({"simulate", "--accel", "dumy"}).err.find("did you mean 'dummy'?"), std::string::npos);
    const auto config = testing::run_program({"simulate", "--accel", "dummy", "--print-config"});
    EXPECT_NE(config.out.find("[dummy]\n# multiply-adds a cycle; ours: 64\nwidth = 64\n"), std::string::npos);
}

TEST_F(Dummy, IsAnEngineOfAMixedMachine) {
    const auto o = run({"simulate", "--accel", "dummy+systolic", "--set", "systolic.frequency_hz=1e8",
                        "--set", "mixed.ff=systolic", "--set", "mixed.wg=dummy", "--json", "-"});
    ASSERT_EQ(o.code, 0) << o.err;
    const Json json = Json::parse(o.out);
    EXPECT_EQ(json["products"][0]["engine"], "systolic");
    EXPECT_NE(o.out.find("dummy has nothing to do in this step"), std::string::npos);
    EXPECT_NE(run({"simulate", "--accel", "dummy+systolic", "--set", "width=3"}).err.find("dummy.width"),
              std::string::npos);
}

}  // namespace
}  // namespace enmesh
