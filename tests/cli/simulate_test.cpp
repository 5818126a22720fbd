#include <gtest/gtest.h>
#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "cli/run_program.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh {
namespace {

namespace fs = std::filesystem;

class SimulateCli : public ::testing::Test {
  protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() /
                  ("enmesh-simulate-" +
                   std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
        fs::remove_all(folder_);
        fs::create_directories(folder_);
    }
    void TearDown() override { fs::remove_all(folder_); }

    std::string path(const std::string& name) const { return (folder_ / name).string(); }

    static testing::ProgramResult run(const std::string& arguments) {
        std::istringstream stream(arguments);
        std::vector<std::string> words;
        for (std::string word; stream >> word;) words.push_back(word);
        return testing::run_program(words);
    }

    static void expect_refused(const std::string& arguments, const std::string& message) {
        const testing::ProgramResult o = run(arguments);
        EXPECT_EQ(o.code, 2) << arguments;
        EXPECT_NE(o.err.find(message), std::string::npos) << arguments << "\n" << o.err;
        EXPECT_TRUE(testing::is_one_error_line(o.err)) << o.err;
        EXPECT_TRUE(o.out.empty()) << o.out;
    }

    fs::path folder_;
};

TEST_F(SimulateCli, SystolicFollowsScaleSimsFormula) {
    write_file(path("net.csv"), "Layer,M,N,K,\nA,100,200,300,\nB,64,64,64,\n");
    const int64_t rows = 16, cols = 8;
    const auto folds = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
    for (const std::string flow : {"ws", "os", "is"}) {
        const testing::ProgramResult o =
            run("simulate --topology " + path("net.csv") +
                " --accel systolic --set rows=16 --set cols=8 --dataflow " + flow + " --json -");
        ASSERT_EQ(o.code, 0) << o.err;
        const auto json = nlohmann::json::parse(o.out);
        const auto& a = json["products"][0];
        const int64_t expected =
            flow == "ws"   ? folds(300, rows) * folds(200, cols) * (2 * rows + cols + 100 - 2)
            : flow == "is" ? folds(300, rows) * folds(100, cols) * (2 * rows + cols + 200 - 2)
                           : folds(100, rows) * folds(200, cols) * (rows + cols + 300 - 2);
        EXPECT_EQ(a["cycles"].get<int64_t>(), expected) << flow;
        EXPECT_EQ(a["layer"], "A");
        EXPECT_EQ(a["dataflow"], flow);
        EXPECT_EQ(a["multiply_adds"].get<int64_t>(), 100 * 200 * 300);
        EXPECT_EQ(json["total_cycles"].get<int64_t>(),
                  a["cycles"].get<int64_t>() + json["products"][1]["cycles"].get<int64_t>());
    }
}

TEST_F(SimulateCli, SatGivesTheContractsFields) {
    const testing::ProgramResult o =
        run("simulate --model resnet9 --batch 16 --method bdwp --pattern 2:8 --accel sat --json -");
    ASSERT_EQ(o.code, 0) << o.err;
    const auto json = nlohmann::json::parse(o.out);
    EXPECT_GT(json["seconds"].get<double>(), 0);
    EXPECT_GT(json["joules"].get<double>(), 0);
    for (const auto& p : json["products"]) {
        for (const char* key : {"layer", "stage", "m", "n", "k", "batch", "pattern", "dataflow", "cycles",
                                "multiply_adds", "utilization", "stalls", "bytes"}) {
            ASSERT_TRUE(p.contains(key)) << key;
        }
        EXPECT_GT(p["utilization"].get<double>(), 0);
        EXPECT_LE(p["utilization"].get<double>(), 1);
        EXPECT_GT(p["engine_cycles"].get<int64_t>(), 0);
        EXPECT_LE(p["engine_cycles"].get<int64_t>(), p["cycles"].get<int64_t>());
    }
}

TEST_F(SimulateCli, ScheduleReplaysAndIsCheckedAgainstNetworkAndMachine) {
    const std::string model = "--model resnet9 --batch 8 --method bdwp --pattern 2:8 ";
    testing::ProgramResult o = run("schedule " + model + "--out " + path("s.toml"));
    ASSERT_EQ(o.code, 0) << o.err;
    const testing::ProgramResult searched = run("simulate " + model + "--json -");
    const testing::ProgramResult replayed =
        run("simulate " + model + "--json - --schedule " + path("s.toml"));
    ASSERT_EQ(replayed.code, 0) << replayed.err;
    EXPECT_EQ(searched.out, replayed.out);
    o = run("simulate --model resnet9 --batch 16 --method bdwp --pattern 2:8 --schedule " + path("s.toml"));
    EXPECT_EQ(o.code, 2);
    EXPECT_NE(o.err.find("the schedule is for another network"), std::string::npos) << o.err;
    o = run("simulate " + model + "--on-demand --schedule " + path("s.toml"));
    EXPECT_EQ(o.code, 2);
    EXPECT_NE(o.err.find("s.toml:"), std::string::npos) << o.err;
    EXPECT_NE(o.err.find("--on-demand"), std::string::npos) << o.err;
    o = run("simulate " + model + "--set features.interleaving=off --schedule " + path("s.toml"));
    EXPECT_EQ(o.code, 2);
    EXPECT_NE(o.err.find("features.interleaving is off"), std::string::npos) << o.err;
}

TEST_F(SimulateCli, WritesReportTraceAndTablesThatAgree) {
    const testing::ProgramResult o =
        run("simulate --model resnet9 --batch 8 --out " + path("out") + " --csv " + path("r.csv"));
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_NE(o.out.find("(simulated)"), std::string::npos);
    const auto trace = nlohmann::json::parse(read_file(path("out/trace.json")));
    const auto report = nlohmann::json::parse(read_file(path("out/report.json")));
    double end = 0;
    for (const auto& event : trace["traceEvents"]) {
        if (event["ph"] == "X") end = std::max(end, event["ts"].get<double>() + event["dur"].get<double>());
    }
    EXPECT_NEAR(end, report["seconds"].get<double>() * 1e6, 1e-3);
    EXPECT_TRUE(fs::exists(path("out/schedule.toml")));
    EXPECT_EQ(read_file(path("out/report.csv")), read_file(path("r.csv")));
}

TEST_F(SimulateCli, ExactRunsAWholeNetworkValueByValue) {
    const testing::ProgramResult o =
        run("simulate --model lenet5 --batch 1 --method bdwp --pattern 2:4 --set rows=8 --set cols=8 --exact "
            "--json -");
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_NE(o.err.find("bits as in software"), std::string::npos) << o.err;
    const auto exact = nlohmann::json::parse(o.out)["exact"];
    for (const char* key : {"products", "tiles", "element_cycles", "outputs_compared"})
        EXPECT_GT(exact[key].get<int64_t>(), 0) << key;
    EXPECT_TRUE(exact["whole_products"].get<bool>());
    EXPECT_GE(exact["host_seconds"].get<double>(), 0);
    const testing::ProgramResult large =
        run("simulate --model resnet18 --batch 512 --set input_bytes=4e9 --set weight_bytes=4e9 --set "
            "output_bytes=4e9 --exact");
    EXPECT_EQ(large.code, 2);
    EXPECT_NE(large.err.find("--exact"), std::string::npos) << large.err;
}

TEST_F(SimulateCli, ARefusedRunLeavesNoFiles) {
    const std::string lenet = "simulate --model lenet5 --batch 1 --out " + path("out") + " --exact ";
    expect_refused(lenet + "--layer conv7", "--exact: there is no layer 'conv7'");
    expect_refused(lenet + "--stage XX", "enmesh: error: --stage XX: no such stage");
    EXPECT_FALSE(fs::exists(path("out")));
}

TEST_F(SimulateCli, RunsOneLayerAndShowsItsRegisters) {
    const std::string model = "simulate --model lenet5 --batch 1 --set rows=2 --set cols=2 ";
    const testing::ProgramResult exact = run(model + "--exact --layer conv2 --stage FF --json -");
    ASSERT_EQ(exact.code, 0) << exact.err;
    EXPECT_NE(exact.err.find("exact: 1 products in "), std::string::npos) << exact.err;
    const testing::ProgramResult state = run(model + "--layer conv2 --stage FF --state-at 40");
    ASSERT_EQ(state.code, 0) << state.err;
    for (const char* const word :
         {"layer conv2 FF, first of ", "cycle 40\n", "row 1 ", "element 1 1\n", "latch0", "adder", "control"})
        EXPECT_NE(state.out.find(word), std::string::npos) << word << "\n" << state.out;
    EXPECT_NE(run(model + "--layer conv2 --stage FF --state-at 41").out, state.out);
    const std::array<std::pair<std::string, std::string>, 6> bad = {{
        {model + "--state-at -1", "--state-at -1"},
        {model + "--state-at 999999999999", "is over in cycle"},
        {model + "--state-at 5 --layer conv7", "did you mean 'conv"},
        {model + "--state-at 5 --layer conv1 --stage BP", "has no product of stage BP"},
        {model + "--state-at 5 --stage WX", "no such stage"},
        {model + "--layer conv2", "go with --exact or --state-at"},
    }};
    for (const auto& [arguments, message] : bad) {
        const testing::ProgramResult o = run(arguments);
        EXPECT_EQ(o.code, 2) << arguments;
        EXPECT_NE(o.err.find(message), std::string::npos) << arguments << ": " << o.err;
    }
}

TEST_F(SimulateCli, RefusesOptionsThatWouldBeIgnored) {
    const std::string lenet = "simulate --model lenet5 --batch 1 ";
    const std::array<std::pair<std::string, std::string>, 18> cases = {{
        {lenet + "--exact --seed -3", "--seed -3: must be 0 or more"},
        {lenet + "--exact --state-at 3", "--exact and --state-at exclude each other"},
        {lenet + "--seed 7", "--seed goes with --exact or --state-at"},
        {lenet + "--state-at 3 --json -", "--state-at writes no report: leave out --json"},
        {lenet + "--state-at 3 --out " + path("o"), "--state-at writes no report: leave out --out"},
        {"simulate --print-config --schedule s.toml", "--print-config prints the machine alone"},
        {"simulate --print-config --exact", "--print-config prints the machine alone"},
        {"simulate --print-config --csv x.csv", "--print-config writes no report: leave out --csv"},
        {"simulate --model lenet5 --print-config", "--print-config prints the machine alone"},
        {lenet + "--dataflow zz", "--dataflow zz: is none of ws, os and auto"},
        {lenet + "--accel systolic --dataflow wss", "--dataflow wss: is none of ws, os, is and auto"},
        {"schedule --model lenet5 --check s.toml --out t.toml", "--check writes nothing: leave out --out"},
        {"schedule --model lenet5 --check s.toml --json -", "--check writes nothing: leave out --json"},
        {"schedule --model lenet5 --dataflow o", "--dataflow o: is none of"},
        {"explore --model lenet5 --sweep rows=4 --sweep array=4x4 --out " + path("e"),
         "--sweep rows and --sweep array both set array.rows"},
        {"explore --model lenet5 --sweep arry=4x4 --out " + path("e"), "did you mean 'array'?"},
        {"train --data digits --device sat --sat-set rosw=4 --out " + path("t"),
         "--sat-set rosw: unknown key (did you mean 'rows'?)"},
        {"train --data digits --device sat --sat-set rows=0 --out " + path("t"),
         "--sat-set array.rows = 0 is not between 1 and 1024"},
    }};
    for (const auto& [arguments, message] : cases) expect_refused(arguments, message);
    EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(SimulateCli, RefusesBadRequestsInOneLine) {
    write_file(path("bad.csv"), "Layer,M,N,\nA,1,2,\n");
    const std::array<std::pair<std::string, std::string>, 9> cases = {{
        {"simulate --accel sat", "name what to run"},
        {"simulate --model resnet9 --topology x.csv", "not both"},
        {"simulate --model resnet9 --accel stc9", "no such accelerator"},
        {"simulate --model resnet9 --set rows=0", "not between 1 and 1024"},
        {"simulate --model resnet9 --set colls=3", "did you mean 'cols'?"},
        {"simulate --model resnet9 --dataflow is", "belongs to --accel systolic"},
        {"simulate --topology " + path("bad.csv") + " --accel systolic", "bad.csv:1"},
        {"simulate --model resnet9 --batch 8 --set buffers.input_bytes=2",
         "buffers are too small for any tiling"},
        {"simulate --model resnet9 --method bdwp --pattern 2:8 --set max_group=4", "max_group"},
    }};
    for (const auto& [arguments, message] : cases) expect_refused(arguments, message);
}

TEST_F(SimulateCli, RefusesOutputsThatWouldOverwriteOneAnotherOrAnInput) {
    const std::string topology = "Layer,M,N,K,\nA,8,8,8,\n";
    write_file(path("z.csv"), topology);
    write_file(path("m.toml"), "[array]\nrows = 4\n");
    const std::string energy = read_file(ENMESH_SOURCE_DIR "/configs/energy_fpga.toml", 1 << 20);
    write_file(path("e.toml"), energy);
    fs::create_directories(path("s"));
    fs::create_symlink(path("z.csv"), path("link"));
    const std::string net = " --topology " + path("z.csv") + " ", q = path("q"), s = path("s");
    const std::array<std::pair<std::string, std::string>, 13> cases = {{
        {"simulate" + net + "--json " + q + " --csv " + q,
         "--csv " + q + ": would overwrite the file of --json"},
        {"simulate" + net + "--trace " + q + " --csv " + s + "/../q", "would overwrite the file of --csv"},
        {"simulate" + net + "--out " + s + " --json " + s + "/trace.json",
         "would overwrite the file of --json"},
        {"simulate" + net + "--json " + path("z.csv"), "would overwrite the file of --topology"},
        {"simulate" + net + "--json " + path("link"), "would overwrite the file of --topology"},
        {"simulate" + net + "--config " + path("m.toml") + " --csv " + path("m.toml"),
         "the file of --config"},
        {"simulate" + net + "--set energy.table=" + path("e.toml") + " --csv " + path("e.toml"),
         "the file of energy.table"},
        {"simulate" + net + "--schedule " + s + "/schedule.toml --out " + s, "the file of --schedule"},
        {"schedule" + net + "--out " + q + " --json " + q, "would overwrite the file of --out"},
        {"schedule" + net + "--out " + path("z.csv"), "would overwrite the file of --topology"},
        {"explore" + net + "--sweep rows=4 --out " + s + " --json " + s + "/points.jsonl",
         "the file of --out"},
        {"inspect --model lenet5 --json " + q + " --dot " + q, "would overwrite the file of --json"},
        {"unpack " + path("z.csv") + " --out " + path("z.csv"), "would overwrite the file of IN"},
    }};
    for (const auto& [arguments, message] : cases) expect_refused(arguments, message);
    EXPECT_EQ(read_file(path("z.csv"), 1 << 20), topology);
    EXPECT_EQ(read_file(path("e.toml"), 1 << 20), energy);
    EXPECT_TRUE(fs::is_empty(s));
    EXPECT_FALSE(fs::exists(q));
    EXPECT_EQ(run("simulate" + net + "--json /dev/null --csv /dev/null").code, 0);
    // Other accelerators write no config.toml.
    write_file(s + "/config.toml", "[array]\nrows = 4\n");
    EXPECT_EQ(run("simulate" + net + "--accel systolic --config " + s + "/config.toml --out " + s).code, 0);
}

TEST_F(SimulateCli, TakesItsMachineFromAPipe) {
    std::array<int, 2> ends{};
    ASSERT_EQ(pipe(ends.data()), 0);
    const std::string machine = "[array]\nrows = 4\ncols = 4\n";
    ASSERT_EQ(write(ends[1], machine.data(), machine.size()), static_cast<ssize_t>(machine.size()));
    close(ends[1]);
    const auto o =
        run("simulate --model lenet5 --batch 1 --json - --config /dev/fd/" + std::to_string(ends[0]));
    close(ends[0]);
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(nlohmann::json::parse(o.out).at("elements"), 16);
}

TEST_F(SimulateCli, RefusesEmptyArguments) {
    const std::vector<std::string> lenet = {"simulate", "--model", "lenet5", "--batch", "1"};
    const auto refused = [&](const std::vector<std::string>& words, const std::string& message) {
        const testing::ProgramResult o = testing::run_program(words);
        EXPECT_EQ(o.code, 2) << message;
        EXPECT_NE(o.err.find(message), std::string::npos) << o.err;
        EXPECT_TRUE(testing::is_one_error_line(o.err)) << o.err;
    };
    for (const std::string option : {"--schedule", "--config", "--json", "--csv", "--trace", "--out",
                                     "--layer", "--stage", "--dataflow", "--image", "--dense"}) {
        std::vector<std::string> words = lenet;
        words.insert(words.end(), {option, ""});
        refused(words, option + ": its value is empty");
        words.pop_back();
        words.back() += "=";
        words.emplace_back("--exact");
        refused(words, option + ": its value is empty");
    }
    refused({"inspect", "--model", "lenet5", "--dot", ""}, "--dot: its value is empty");
    refused({"prune", "", "--pattern", "2:4", "--dry-run"}, "argument 2 is empty");
    write_file(path("t.toml"), "epochs = 1\njson = ''\n");
    refused({"train", "--config", path("t.toml"), "--out", path("t")}, "t.toml:2: 'json' is empty");
    EXPECT_FALSE(fs::exists(path("t")));
}

TEST_F(SimulateCli, ReadsATopologyFromAPipe) {
    const std::string pipe = path("pipe");
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    std::thread writer([&] { std::ofstream(pipe) << "Layer,M,N,K,Batch Size,\nA,8,8,8,3,\n"; });
    const testing::ProgramResult o = run("simulate --topology " + pipe + " --accel systolic --json -");
    writer.join();
    ASSERT_EQ(o.code, 0) << o.err;
    EXPECT_EQ(nlohmann::json::parse(o.out)["products"][0]["m"].get<int64_t>(), 24);
}

TEST_F(SimulateCli, RefusesAbsurdEnergiesAndNamesTheLinesOfUnknownKeys) {
    const std::string energy = read_file(ENMESH_SOURCE_DIR "/configs/energy_fpga.toml", 1 << 20);
    const size_t value = energy.find("value = ");
    write_file(path("e.toml"), energy.substr(0, value) + "value = 1e30 #" + energy.substr(value));
    write_file(path("k.toml"), "# a comment\nnmae = 'x'\n" + energy);
    write_file(path("s.toml"), "# a comment\nversion = 1\nprodct = []\nproduct = []\n");
    const std::string lenet = "simulate --model lenet5 --batch 1 ";
    expect_refused(lenet + "--set energy.table=" + path("e.toml"),
                   "value = 1e+30 is absurd: more than 1e+09");
    expect_refused(lenet + "--set energy.table=" + path("k.toml"),
                   "k.toml:2: unknown key 'nmae' (did you mean");
    expect_refused(lenet + "--schedule " + path("s.toml"), "s.toml:3: unknown key 'prodct' (did you mean");
}

TEST_F(SimulateCli, AnImpossiblePlaceIsRefused) {
    write_file(path("net.csv"), "Layer,M,N,K,\nA,8,8,8,\n");
    const std::string command = "simulate --topology " + path("net.csv") + " --out ";
    const testing::ProgramResult denied = run(command + "/proc/enmesh-out");
    EXPECT_EQ(denied.code, 2);
    EXPECT_TRUE(testing::is_one_error_line(denied.err)) << denied.err;
    EXPECT_EQ(run(command + path("net.csv")).code, 2);
    EXPECT_EQ(run(command + path("net.csv/below")).code, 2);
    for (const char* const option : {"--json ", "--csv ", "--trace "})
        expect_refused("simulate --topology " + path("net.csv") + " " + option + path("missing/file"),
                       "missing is no folder");
    const std::string lenet = " --model lenet5 --batch 1 --method bdwp --pattern 2:8 ";
    expect_refused("schedule" + lenet + "--out " + path("missing/file"), "missing is no folder");
    expect_refused(
        "explore" + lenet + "--sweep array=8x8 --out " + path("e") + " --json " + path("missing/f"),
        "missing is no folder");
    EXPECT_FALSE(std::filesystem::exists(path("e")));
    EXPECT_EQ(run(command + path("made") + " --json " + path("made/more.json")).code, 0);
    EXPECT_TRUE(std::filesystem::exists(path("made/more.json")));
}

TEST_F(SimulateCli, APointThatCannotRunHasNoFigures) {
    write_file(path("net.csv"), "Layer,M,N,K,\nA,8,8,8,\n");
    const std::string command = "explore --topology " + path("net.csv") +
                                " --sweep input_bytes=1,4096 --out " + path("e") + " --json " +
                                path("e.json");
    // The second run reads the points back.
    for (int i = 0; i < 2; ++i) {
        const testing::ProgramResult o = run(command);
        ASSERT_EQ(o.code, 0) << o.err;
        const auto points = nlohmann::json::parse(read_file(path("e.json"), 1 << 20))["points"];
        ASSERT_EQ(points.size(), 2U);
        for (const char* field : {"total_cycles", "seconds", "joules"}) {
            EXPECT_TRUE(points[0][field].is_null()) << field;
            EXPECT_GT(points[1][field].get<double>(), 0) << field;
        }
        EXPECT_NE(points[0]["error"].get<std::string>().find("input buffer"), std::string::npos);
    }
}

TEST_F(SimulateCli, AnExplorationsPointsAreReadBackOrRefused) {
    write_file(path("net.csv"), "Layer,M,N,K,\nA,8,8,8,\n");
    const std::string command =
        "explore --topology " + path("net.csv") + " --sweep rows=2,4 --threads 1 --out " + path("e");
    ASSERT_EQ(run(command).code, 0);
    const std::string points = path("e/points.jsonl"), whole = read_file(points, 1 << 20);
    // A killed run leaves half a last line.
    write_file(points, whole.substr(0, whole.size() - 20));
    const testing::ProgramResult cut = run(command);
    EXPECT_EQ(cut.code, 0);
    EXPECT_NE(cut.err.find("points.jsonl:3: the last line was cut off"), std::string::npos) << cut.err;
    EXPECT_NE(cut.err.find("1 of 2 points are there already"), std::string::npos) << cut.err;
    EXPECT_EQ(read_file(points, 1 << 20), whole);
    // Garbage elsewhere is nobody's run.
    const size_t second = whole.find('\n') + 1;
    for (const std::string garbage : {"garbage", "{}", "[1]", "{\"point\": 3}", ""}) {
        const std::string text = whole.substr(0, second) + garbage + "\n" + whole.substr(second);
        write_file(points, text);
        expect_refused(command, "points.jsonl:2: is not a point of an exploration");
        EXPECT_EQ(read_file(points, 1 << 20), text);
    }
    write_file(points, "garbage\n" + whole);
    expect_refused(command, "points.jsonl:1: is not the first line");
    write_file(points, whole);
    const std::string other =
        "explore --model lenet5 --batch 1 --method bdwp --out " + path("e") + " --sweep ";
    expect_refused(other + "pattern=2:99", "2:99");
    expect_refused(other + "pattern=2:8", "holds another exploration");
    fs::remove_all(path("e"));
    expect_refused(other + "pattern=2:8 --sweep rows=0", "array.rows = 0");
    EXPECT_FALSE(fs::exists(path("e")));
}

TEST_F(SimulateCli, AnExplorationOfFilesThatChangedIsNotGoneOnWith) {
    const std::string one = "Layer,M,N,K,\nA,8,8,8,\n", other = "Layer,M,N,K,\nA,8,8,16,\n";
    write_file(path("net.csv"), one);
    const std::string command = "explore --topology " + path("net.csv") + " --threads 1 --out " + path("e");
    const std::string rows = command + " --sweep rows=2,4";
    ASSERT_EQ(run(rows).code, 0);
    const std::string points = read_file(path("e/points.jsonl"), 1 << 20);
    write_file(path("net.csv"), other);
    expect_refused(rows, "holds another exploration");
    EXPECT_EQ(read_file(path("e/points.jsonl"), 1 << 20), points);
    write_file(path("net.csv"), one);
    EXPECT_NE(run(rows).err.find("2 of 2 points are there already"), std::string::npos);

    // The energy table, of the machine and of a sweep.
    const std::string table = read_file(fs::path(ENMESH_SOURCE_DIR) / "configs/energy_asic.toml", 1 << 20);
    write_file(path("table.toml"), table);
    for (const std::string with : {" --sweep rows=2 --set energy.table=", " --sweep energy.table="}) {
        fs::remove_all(path("e"));
        write_file(path("table.toml"), table);
        ASSERT_EQ(run(command + with + path("table.toml")).code, 0);
        EXPECT_NE(run(command + with + path("table.toml")).err.find("1 of 1 points"), std::string::npos);
        write_file(path("table.toml"), table + "# changed\n");
        const testing::ProgramResult changed = run(command + with + path("table.toml"));
        EXPECT_EQ(changed.code, 2) << with;
        EXPECT_TRUE(testing::is_one_error_line(changed.err)) << changed.err;
    }
}

TEST_F(SimulateCli, TwoEnginesShareAStep) {
    const std::string step = "--model resnet9 --batch 8 --method bdwp --pattern 2:8 ",
                      two = "--accel sat+systolic --set systolic.frequency_hz=2e8 --set sat.rows=16 ";
    const testing::ProgramResult turns = run("simulate " + step + two + "--json -");
    ASSERT_EQ(turns.code, 0) << turns.err;
    EXPECT_EQ(turns.err, "");
    const auto side = run("simulate " + step + two + "--set mixed.turns=side_by_side --json -");
    EXPECT_EQ(side.code, 2);
    EXPECT_NE(side.err.find("did you mean 'side by side'?"), std::string::npos) << side.err;
    // What --print-config prints is read back, and overlaps the engines.
    const std::string config = run("simulate " + two + "--print-config").out;
    write_file(path("m.toml"), config);
    EXPECT_EQ(run("simulate --accel sat+systolic --config " + path("m.toml") + " --print-config").out,
              config);
    std::string overlapped = config;
    overlapped.replace(overlapped.find("turns = \"in turn\""), 17, "turns = \"side by side\"");
    write_file(path("side.toml"), overlapped);
    const testing::ProgramResult beside = run("simulate " + step + "--accel sat+systolic --config " +
                                              path("side.toml") + " --out " + path("out") + " --json -");
    ASSERT_EQ(beside.code, 0) << beside.err;
    const auto total = [](const testing::ProgramResult& o) {
        return nlohmann::json::parse(o.out)["total_cycles"].get<int64_t>();
    };
    EXPECT_LT(total(beside), total(turns));
    // Its schedule replays, and holds both parts.
    const testing::ProgramResult replayed =
        run("simulate " + step + "--accel sat+systolic --config " + path("side.toml") + " --schedule " +
            path("out/schedule.toml") + " --json -");
    EXPECT_EQ(replayed.out, beside.out);
    EXPECT_EQ(read_file(path("out/config.toml")), overlapped);
    EXPECT_NE(run("simulate " + step + two).out.find("systolic\n"), std::string::npos);
    const std::array<std::pair<std::string, std::string>, 7> bad = {{
        {"simulate " + step + two + "--set rows=8",
         "--set rows: names no machine: write sat.rows or systolic.rows"},
        {"simulate " + step + two + "--dataflow ws",
         "--dataflow: sat+systolic has two engines: set sat.features.dataflow or systolic.array.dataflow"},
        {"simulate " + step + two + "--exact --stage WG", "--exact: systolic: the array is a formula"},
        {"simulate " + step + "--accel sat+sat", "--accel sat+sat: a mixed machine is made of two different"},
        {"simulate " + step + "--accel sat+sto", "no such accelerator"},
        {"explore " + step + two + "--sweep rows=4 --out " + path("e"),
         "--sweep rows: names no machine: write sat.rows or systolic.rows"},
        {"simulate " + step + "--accel systolic --schedule s.toml",
         "--schedule does not go with --accel systolic: there is nothing to schedule"},
    }};
    for (const auto& [arguments, message] : bad) expect_refused(arguments, message);
    EXPECT_EQ(run("simulate " + step + "--accel sat+stc-a100 --dataflow ws --set wg=sat --json -").code, 0)
        << "one engine has dataflows";
    const testing::ProgramResult explored =
        run("explore " + step + two + "--sweep sat.array=8x8,16x16 --sweep systolic.rows=8,16 --out " +
            path("e") + " --json " + path("e.json"));
    ASSERT_EQ(explored.code, 0) << explored.err;
    EXPECT_EQ(nlohmann::json::parse(read_file(path("e.json"), 1 << 20))["points"].size(), 4U);
    const testing::ProgramResult exact =
        run("simulate --model lenet5 --batch 1 --accel sat+systolic --set "
            "sat.rows=4 --set sat.cols=4 --exact --layer conv2 --stage FF");
    EXPECT_EQ(exact.code, 0) << exact.err;
}

}  // namespace
}  // namespace enmesh
