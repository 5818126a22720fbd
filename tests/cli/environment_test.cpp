// What surrounds the program: limits, descriptors, signals, names, other runs.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "cli/run_program.hpp"
#include "cli/train_program.hpp"
#include "support/folder.hpp"

namespace enmesh::testing {
namespace {

/// Runs a shell's command line; $PROGRAM is the program.
ProgramResult shell(const std::string& line, const TemporaryFolder& folder) {
    const std::string out = (folder / "out.txt").string(), err = (folder / "err.txt").string();
    const std::string whole = fmt::format("PROGRAM={}; export PROGRAM; cd {} || exit 99; {{ {}; }} >{} 2>{}",
                                          ENMESH_PROGRAM, folder.path().string(), line, out, err);
    const int status = std::system(whole.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), slurp(out), slurp(err)};
}

std::vector<std::string> training(const std::filesystem::path& out, const std::string& epochs) {
    return {"train", "--data",    "digits", "--model", "mlp",       "--epochs",
            epochs,  "--threads", "1",      "--out",   out.string()};
}

void wait_for(const std::filesystem::path& file) {
    for (int tries = 0; tries < 2000 && slurp(file).empty(); ++tries)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

TEST(Environment, ATeamSmallerThanTheMachineTrains) {
    const TemporaryFolder folder;
    for (const std::string limit : {"OMP_THREAD_LIMIT=1", "OMP_DYNAMIC=true", "OMP_NUM_THREADS=1"}) {
        const auto run = run_program(
            {"train", "--data", "digits", "--epochs", "1", "--out", (folder / limit).string()}, {limit});
        EXPECT_EQ(run.code, 0) << limit << run.err;
    }
    const auto run = run_program(
        {"train", "--data", "digits", "--epochs", "1", "--threads", "2", "--out", (folder / "r").string()},
        {"OMP_THREAD_LIMIT=1"});
    EXPECT_EQ(run.code, 0) << run.err;
    EXPECT_NE(run.err.find("1 of the 2 threads asked for"), std::string::npos) << run.err;
}

TEST(Environment, WaitingThreadsSleepSoonUnlessToldOtherwise) {
    const TemporaryFolder folder;
    const auto spins = [&](const std::string& environment) {
        return shell("env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT " + environment +
                         " OMP_DISPLAY_ENV=verbose $PROGRAM --version",
                     folder)
            .err;
    };
    EXPECT_NE(spins("").find("GOMP_SPINCOUNT = '20000'"), std::string::npos) << spins("");
    EXPECT_EQ(spins("OMP_WAIT_POLICY=active").find("GOMP_SPINCOUNT = '20000'"), std::string::npos);
    EXPECT_NE(spins("GOMP_SPINCOUNT=77").find("GOMP_SPINCOUNT = '77'"), std::string::npos);
}

TEST(Environment, AFolderTakesOneRunAtATime) {
    const TemporaryFolder folder;
    RunningProgram first(training(folder / "r", "100000"), folder / "errors");
    wait_for(folder / "r/metrics.jsonl");
    for (const std::string option : {"--resume", "--overwrite"}) {
        auto second = training(folder / "r", "3");
        second.push_back(option);
        const auto refused = run_program(second);
        EXPECT_EQ(refused.code, 2) << option;
        EXPECT_TRUE(is_one_error_line(refused.err)) << refused.err;
        EXPECT_NE(refused.err.find("another process"), std::string::npos) << refused.err;
    }
    first.signal(SIGTERM);
    EXPECT_EQ(first.wait(), 128 + SIGTERM);
    std::istringstream lines(slurp(folder / "r/metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) EXPECT_TRUE(nlohmann::json::accept(line)) << line;
}

TEST(Environment, AResumedRunSaysWhatItCutsOff) {
    const TemporaryFolder folder;
    ASSERT_EQ(run_program(training(folder / "r", "2")).code, 0);
    save(folder / "r/metrics.jsonl", slurp(folder / "r/metrics.jsonl") + "{\"epoch\":3,\"step\":33}\n");
    auto again = training(folder / "r", "3");
    again.push_back("--resume");
    const auto resumed = run_program(again);
    EXPECT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_NE(resumed.out.find("metrics.jsonl: the lines after step 22 are cut off (1)"), std::string::npos)
        << resumed.out;
}

TEST(Environment, ClosedDescriptorsAreNotGivenToFiles) {
    const TemporaryFolder folder;
    const auto run =
        shell("$PROGRAM train --data digits --model mlp --epochs 2 --threads 1 --out r <&- >&-", folder);
    EXPECT_EQ(run.code, 0) << run.err;
    std::istringstream lines(slurp(folder / "r/metrics.jsonl"));
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count)
        EXPECT_TRUE(nlohmann::json::accept(line)) << line;
    EXPECT_EQ(count, 2);
}

TEST(Environment, AFullDeviceIsAnError) {
    if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
    const TemporaryFolder folder;
    for (const std::string command :
         {"--help", "--version", "train --help", "inspect --methods",
          "inspect --model lenet5 --image 1x28x28 --classes 10", "data info digits",
          "data info digits --json -", "simulate --model lenet5 --image 1x28x28 --classes 10 --accel sat",
          "schedule --model lenet5 --image 1x28x28 --classes 10 --accel sat",
          "simulate --accel sat --print-config"}) {
        const auto run = shell("$PROGRAM " + command + " >/dev/full", folder);
        EXPECT_EQ(run.code, 1) << command;
        EXPECT_TRUE(is_one_error_line(run.err)) << command << ": " << run.err;
    }
}

TEST(Environment, APlanMayComeThroughAPipe) {
    const TemporaryFolder folder;
    const std::string train =
        "$PROGRAM train --data digits --model digits_cnn --width 0.25 --epochs 1 --threads 1 --method bdwp "
        "--pattern 2:8 ";
    ASSERT_EQ(shell(train + "--plan default --plan-out plan.json --out a", folder).code, 0);
    const auto piped = shell("mkfifo pipe; cat plan.json >pipe & " + train + "--plan ./pipe --out b", folder);
    EXPECT_EQ(piped.code, 0) << piped.err;
    EXPECT_TRUE(slurp(folder / "a/last.safetensors") == slurp(folder / "b/last.safetensors"));
    // A kernel that nobody has: the file is named.
    const auto wrong =
        shell("sed 's/\"FF \\([^\"]*\\)\": \"[^\"]*\"/\"FF \\1\": \"nosuch\"/' plan.json >wrong.json; " +
                  train + "--plan wrong.json --out c",
              folder);
    EXPECT_EQ(wrong.code, 2);
    EXPECT_TRUE(is_one_error_line(wrong.err)) << wrong.err;
    EXPECT_NE(wrong.err.find("wrong.json: "), std::string::npos) << wrong.err;
}

TEST(Environment, AFileIsNotWrittenInPlaceOfTheFolder) {
    const TemporaryFolder folder;
    for (const std::string option : {"--plan-out", "--json"}) {
        const auto run =
            shell("$PROGRAM train --data digits --epochs 1 --threads 1 --out r " + option + " r", folder);
        EXPECT_EQ(run.code, 2) << option;
        EXPECT_TRUE(is_one_error_line(run.err)) << run.err;
        EXPECT_FALSE(std::filesystem::exists(folder / "r"));
    }
    const auto bench = shell(
        "$PROGRAM bench simulate --model lenet5 --image 1x28x28 --classes 10 --json no/such/folder/x.json",
        folder);
    EXPECT_EQ(bench.code, 2);
    EXPECT_TRUE(is_one_error_line(bench.err)) << bench.err;
}

TEST(Environment, SignalsThatEndJobsLeaveACheckpoint) {
    for (const int signal : {SIGHUP, SIGUSR1}) {
        const TemporaryFolder folder;
        RunningProgram program(training(folder / "r", "100000"), folder / "errors");
        wait_for(folder / "r/metrics.jsonl");
        program.signal(signal);
        EXPECT_EQ(program.wait(), 128 + signal);
        EXPECT_NE(program.errors().find("--resume goes on"), std::string::npos) << program.errors();
        EXPECT_FALSE(slurp(folder / "r/last.safetensors").empty());
    }
}

TEST(Environment, AnIgnoredHangUpIsIgnored) {
    const TemporaryFolder folder;
    const auto run = shell(
        "trap '' HUP; $PROGRAM train --data digits --model mlp --epochs 40 --threads 1 --out r & "
        "child=$!; sleep 0.2; kill -HUP $child; wait $child",
        folder);
    EXPECT_EQ(run.code, 0) << run.err;
}

TEST(Environment, TooFewProcessesAreSaidInALine) {
    const TemporaryFolder folder;
    std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
    // The limit does not hold for root.
    const std::string user = ::geteuid() == 0 ? "setpriv --reuid=65533 --clear-groups " : "";
    if (shell(user + "$PROGRAM --version", folder).code != 0)
        GTEST_SKIP() << "another user cannot run the program here";
    const auto run =
        shell(user + "prlimit --nproc=2 $PROGRAM train --data digits --threads 8 --epochs 1 --out r", folder);
    if (run.code == 0) GTEST_SKIP() << "this system does not limit a user's processes";
    EXPECT_EQ(run.code, 1) << run.err;
    EXPECT_TRUE(is_one_error_line(run.err)) << run.err;
    EXPECT_NE(run.err.find("threads are needed"), std::string::npos) << run.err;
}

std::string idx(const std::vector<uint32_t>& extents, size_t bytes) {
    std::string text{'\0', '\0', '\x08', static_cast<char>(extents.size())};
    for (const uint32_t extent : extents)
        for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(extent >> shift);
    for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(extents.size() == 1 ? i % 2 : i * 37);
    return text;
}

TEST(Environment, NamesAreBytes) {
    const TemporaryFolder folder;
    const std::string name = "d\xff\xfe";
    for (const std::string part : {"train", "t10k"}) {
        save(folder / name / (part + "-images-idx3-ubyte"), idx({4, 8, 8}, 256));
        save(folder / name / (part + "-labels-idx1-ubyte"), idx({4}, 4));
    }
    const std::string data = "idx:" + (folder / name).string();
    const auto info = run_program({"data", "info", data, "--json", "-"});
    EXPECT_EQ(info.code, 0) << info.err;
    EXPECT_TRUE(nlohmann::json::accept(info.out)) << info.out;
    const auto trained =
        run_program({"train", "--data", data, "--model", "mlp", "--batch", "2", "--epochs", "1", "--threads",
                     "1", "--out", (folder / ("r" + name)).string(), "--json", "-"});
    EXPECT_EQ(trained.code, 0) << trained.err;
    EXPECT_TRUE(nlohmann::json::accept(trained.out)) << trained.out;
}

}  // namespace
}  // namespace enmesh::testing
