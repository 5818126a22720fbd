#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>

#include "cli/run_program.hpp"
#include "cli/train_program.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/random.hpp"
#include "enmesh/report/event_file.hpp"
#include "enmesh/tensor/safetensors.hpp"

namespace enmesh {
namespace {

namespace fs = std::filesystem;
using testing::is_one_error_line;
using testing::ProgramResult;
using testing::run_program;
using testing::RunningProgram;

class TrainProgram : public ::testing::Test {
  protected:
    TrainProgram() : folder_(fs::temp_directory_path() / fmt::format("enmesh-train-cli-{}", ::getpid())) {
        fs::remove_all(folder_);
        fs::create_directories(folder_);
    }
    ~TrainProgram() override {
        std::error_code ignored;
        fs::remove_all(folder_, ignored);
    }

    /// A run of a few seconds at most: 2 epochs of 44 steps of a small network. `more` wins over what it
    /// repeats.
    std::vector<std::string> train(const std::string& out, const std::vector<std::string>& more = {}) const {
        const std::vector<std::array<std::string, 2>> usual = {
            {"--data", "digits"}, {"--model", "digits_cnn"}, {"--width", "0.25"},  {"--batch", "32"},
            {"--epochs", "2"},    {"--method", "bdwp"},      {"--pattern", "2:8"}, {"--threads", "2"},
            {"--lr", "0.05"},     {"--out", path(out)}};
        std::vector<std::string> arguments = {"train"};
        for (const auto& [name, value] : usual) {
            if (std::find(more.begin(), more.end(), name) != more.end()) continue;
            arguments.insert(arguments.end(), {name, value});
        }
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
    std::string path(const std::string& name) const { return (folder_ / name).string(); }
    std::string file(const std::string& name) const { return read_file(folder_ / name); }

    /// metrics.jsonl without what a clock says.
    nlohmann::json metrics(const std::string& out) const {
        nlohmann::json lines = nlohmann::json::array();
        std::istringstream text(file(out + "/metrics.jsonl"));
        for (std::string line; std::getline(text, line);) {
            nlohmann::json json = nlohmann::json::parse(line);
            json.erase("seconds");
            json.erase("images_per_second");
            lines.push_back(std::move(json));
        }
        return lines;
    }
    std::vector<std::string> events(const std::string& out) const {
        std::vector<std::string> texts;
        for (const report::Scalar& scalar :
             report::read_event_file(folder_ / out / report::EventFile::name)) {
            if (scalar.tag == "train/images_per_second") continue;
            texts.push_back(fmt::format("{} {} {}", scalar.tag, scalar.step, scalar.value));
        }
        return texts;
    }

    /// Waits until the run's events have grown by `bytes`, or the program has ended.
    void wait_for_events(RunningProgram& program, const std::string& out, uintmax_t bytes) const {
        const fs::path events = folder_ / out / report::EventFile::name;
        while (!program.ended()) {
            std::error_code code;
            const uintmax_t size = fs::file_size(events, code);
            if (!code && size >= bytes) return;
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }
    uintmax_t event_bytes(const std::string& out) const {
        std::error_code code;
        const uintmax_t size = fs::file_size(folder_ / out / report::EventFile::name, code);
        return code ? 0 : size;
    }

    /// Exit code 2, one line, nothing written.
    void expect_refused(const std::vector<std::string>& arguments, const std::string& message) const {
        const ProgramResult result = run_program(arguments);
        EXPECT_EQ(result.code, 2) << result.err;
        EXPECT_TRUE(is_one_error_line(result.err)) << result.err;
        EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
        EXPECT_EQ(result.out, "");
        EXPECT_FALSE(fs::exists(folder_ / "refused"));
    }

    fs::path folder_;
};

TEST_F(TrainProgram, KilledAtRandomStepsAndResumedGivesTheSameBits) {
    const ProgramResult whole = run_program(train("whole"));
    ASSERT_EQ(whole.code, 0) << whole.err;
    EXPECT_NE(whole.out.find("left dense: fc (FF): classifier"), std::string::npos) << whole.out;

    Random random(static_cast<uint64_t>(::getpid()));
    int kills = 0;
    for (bool finished = false; !finished;) {
        RunningProgram program(train("killed", {"--resume", "--checkpoint-every", "3"}), path("errors"));
        // Two points a step, of some 60 bytes each; at most 4 kills, so that the test ends.
        const uintmax_t more = 60 + random.below(4000);
        if (kills < 4) wait_for_events(program, "killed", event_bytes("killed") + more);
        if (kills < 4 && !program.ended()) {
            program.signal(SIGKILL);
            ++kills;
        }
        const int code = program.wait();
        finished = code == 0;
        if (code != 0) {
            ASSERT_EQ(code, 128 + SIGKILL) << program.errors();
        }
    }
    EXPECT_GE(kills, 1);
    EXPECT_TRUE(file("whole/last.safetensors") == file("killed/last.safetensors"))
        << "after " << kills << " kills";
    EXPECT_TRUE(file("whole/best.safetensors") == file("killed/best.safetensors"));
    EXPECT_EQ(metrics("whole"), metrics("killed"));
    EXPECT_EQ(events("whole"), events("killed"));
}

TEST_F(TrainProgram, InterruptFinishesTheStepAndSaysHowToGoOn) {
    ASSERT_EQ(run_program(train("whole")).code, 0);
    for (const int number : {SIGINT, SIGTERM}) {
        const std::string out = fmt::format("signal{}", number);
        RunningProgram program(train(out), path("errors"));
        wait_for_events(program, out, 1500);
        program.signal(number);
        EXPECT_EQ(program.wait(), 128 + number) << program.errors();
        EXPECT_NE(program.errors().find("the same command with --resume goes on from "), std::string::npos)
            << program.errors();
        const ProgramResult resumed = run_program(train(out, {"--resume"}));
        EXPECT_EQ(resumed.code, 0) << resumed.err;
        EXPECT_NE(resumed.out.find("going on after epoch "), std::string::npos) << resumed.out;
        EXPECT_TRUE(file("whole/last.safetensors") == file(out + "/last.safetensors"));
        EXPECT_EQ(metrics("whole"), metrics(out));
    }
}

TEST_F(TrainProgram, WritesWhatTheContractSaysAndEvaluatesTheSame) {
    const ProgramResult run = run_program(train("run", {"--json", "-"}));
    ASSERT_EQ(run.code, 0) << run.err;
    const nlohmann::json summary = nlohmann::json::parse(run.out);
    EXPECT_EQ(summary, nlohmann::json::parse(file("run/summary.json")));
    EXPECT_EQ(summary["pattern"], "2:8");
    const nlohmann::json lines = metrics("run");
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_EQ(lines[1]["epoch"], 2);
    EXPECT_EQ(lines[1]["step"], 88);
    EXPECT_EQ(lines[1]["test_accuracy"], summary["test_accuracy"]);

    for (const bool folded : {true, false}) {
        std::vector<std::string> arguments{"eval",   "--init",    path("run/last.safetensors"),
                                           "--data", "digits",    "--batch",
                                           "32",     "--threads", "2",
                                           "--json", "-"};
        if (!folded) arguments.push_back("--keep-norms");
        const ProgramResult eval = run_program(arguments);
        ASSERT_EQ(eval.code, 0) << eval.err;
        const nlohmann::json result = nlohmann::json::parse(eval.out);
        EXPECT_EQ(result["images"], 360);
        EXPECT_EQ(result["test_accuracy"], summary["test_accuracy"]);
        EXPECT_NEAR(result["loss"].get<double>(), summary["test_loss"].get<double>(), folded ? 1e-4 : 1e-6);
    }

    const SafetensorsFile checkpoint = load_safetensors(folder_ / "run/last.safetensors");
    for (const auto& [key, value] : checkpoint.metadata)
        EXPECT_EQ(value.find(folder_.string()), std::string::npos);

    const std::string before = file("run/last.safetensors");
    const ProgramResult again = run_program(train("run", {"--resume"}));
    EXPECT_EQ(again.code, 0) << again.err;
    EXPECT_TRUE(file("run/last.safetensors") == before);
    EXPECT_EQ(metrics("run"), lines);

    fs::rename(folder_ / "run/metrics.jsonl", folder_ / "taken");
    expect_refused(train("run", {"--resume"}),
                   "metrics.jsonl: has no line of epoch 2, which summary.json needs");
    EXPECT_EQ(summary, nlohmann::json::parse(file("run/summary.json")));
    fs::rename(folder_ / "taken", folder_ / "run/metrics.jsonl");

    const ProgramResult refused = run_program(train("run"));
    EXPECT_EQ(refused.code, 2);
    EXPECT_NE(refused.err.find("--resume continues it"), std::string::npos) << refused.err;
    const ProgramResult other = run_program(train("run", {"--resume", "--lr", "0.01"}));
    EXPECT_EQ(other.code, 2);
    EXPECT_NE(other.err.find("optimizer.lr is 0.05 there and 0.01 here"), std::string::npos) << other.err;
    EXPECT_TRUE(file("run/last.safetensors") == before);

    expect_refused({"train", "--data", "digits", "--width", "0.5", "--init", path("run/last.safetensors"),
                    "--out", path("refused")},
                   "width is 0.25 there and 0.5 here");
    expect_refused({"eval", "--init", path("run/last.safetensors"), "--data", "digits", "--model", "resnet9"},
                   "weights of another model");
}

TEST_F(TrainProgram, RefusesImpossibleRequestsBeforeItWrites) {
    const auto with = [&](const std::vector<std::string>& more) {
        std::vector<std::string> arguments = {"train", "--data", "digits", "--out", path("refused")};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    };
    expect_refused(with({"--method", "bdwp", "--pattern", "8:8"}), "8:8");
    expect_refused(with({"--method", "bdwp", "--pattern", "2:32"}), "2:32");
    expect_refused(with({"--method", "bdwp"}), "needs a pattern");
    expect_refused(with({"--method", "bdpw", "--pattern", "2:8"}), "did you mean 'bdwp'?");
    expect_refused(with({"--model", "resnet8"}), "did you mean 'resnet9'?");
    expect_refused(with({"--momentun", "0.5"}), "did you mean '--momentum'?");
    expect_refused(with({"--batch", "1438"}), "larger than the training set of 1437 images");
    expect_refused(with({"--batch", "0"}), "batch");
    expect_refused(with({"--image", "3x32x32"}), "the model takes images of 3x32x32, digits has 1x8x8");
    expect_refused(with({"--classes", "5"}), "the model tells 5 classes apart, digits has 10");
    expect_refused(with({"--schedule", "cosin"}), "did you mean 'cosine'?");
    expect_refused(with({"--optimizer", "adam"}), "did you mean 'adamw'?");
    expect_refused(with({"--lr", "-1"}), "--lr -1");
    expect_refused(with({"--lr", "nan"}), "--lr nan");
    expect_refused(with({"--epochs", "0"}), "--epochs 0");
    expect_refused(with({"--accumulate", "1000"}), "fewer than the 1000");
    expect_refused(with({"--ema", "1"}), "--ema 1");
    expect_refused(with({"--momentum", "1"}), "--momentum 1");
    expect_refused(with({"--nesterov", "--momentum", "0"}), "--nesterov needs");
    expect_refused(with({"--optimizer", "adamw", "--momentum", "0.5"}), "--momentum belongs to sgd");
    expect_refused(with({"--seed", "-1"}), "must be 0 or more");
    expect_refused(with({"--json", path("missing/x.json")}), "missing is no folder");
    expect_refused(with({"--resume", "--overwrite"}), "give one of them");
    expect_refused(with({"--dense", "conv9"}), "matches no layer");
    expect_refused(with({"--sr-decay", "0.1"}), "--sr-decay needs a method");
    expect_refused(with({"--device", "gpu"}), "--device gpu");
    expect_refused(with({"--init", path("missing.safetensors")}), "missing.safetensors");
    expect_refused({"train", "--data", "digits", "--out", "/dev/null/run"}, "/dev/null/run");
    // Before the data are read: there are none.
    fs::create_directory_symlink(path("nowhere"), path("dangling"));
    for (const std::string& out : {path("dangling"), path("dangling/run"), std::string("/proc/enmesh-run")})
        expect_refused({"train", "--data", "cifar10:" + path("no-data"), "--out", out}, out.substr(0, 5));
    expect_refused({"train", "--data", "cifar10:" + path("no-data"), "--out", path("dangling")},
                   "is a link to what does not exist");
    EXPECT_FALSE(fs::exists(path("nowhere")));
    expect_refused({"demo", "--out", "/proc/enmesh-run"}, "/proc/enmesh-run");
    expect_refused({"eval", "--json", path("missing/x.json")}, "missing is no folder");
    expect_refused({"data", "info", "digits", "--json", path("missing/x.json")}, "missing is no folder");
    expect_refused({"inspect", "--model", "lenet5", "--json", path("missing/x.json")},
                   "missing is no folder");
    expect_refused({"train", "--data", "cifar11:x", "--out", path("refused")}, "did you mean 'cifar10'?");
}

TEST_F(TrainProgram, AFolderThatHoldsPartOfARunIsLeftAlone) {
    for (const char* const name : {"best.safetensors", "metrics.jsonl"}) {
        const std::string out = std::string("has-") + name;
        fs::create_directory(folder_ / out);
        write_file(folder_ / out / name, "kept");
        expect_refused(train(out), fmt::format("holds a run already ({})", name));
        EXPECT_EQ(file(out + "/" + name), "kept");
    }
    // What a diverged run leaves is nothing to lose.
    fs::create_directory(folder_ / "empty");
    write_file(folder_ / "empty/metrics.jsonl", "");
    EXPECT_EQ(run_program(train("empty")).code, 0);

    fs::remove(folder_ / "empty/best.safetensors");
    fs::rename(folder_ / "empty/last.safetensors", folder_ / "empty/best.safetensors");
    const std::string best = file("empty/best.safetensors");
    expect_refused(train("empty", {"--resume"}), "to go on after epoch 2, or start anew");
    EXPECT_TRUE(file("empty/best.safetensors") == best);
    EXPECT_NE(file("empty/metrics.jsonl"), "");
}

TEST_F(TrainProgram, ReadsAConfigurationFile) {
    write_file(folder_ / "run.toml",
               "method = \"bdwp\"\npattern = \"2:8\"\nwidth = 0.25\nepochs = 1\nlr = 0.5\n"
               "nesterov = true\ndense = [\"conv2\", \"conv3\"]\n");
    const ProgramResult run =
        run_program({"train", "--config", path("run.toml"), "--lr", "0.05", "--out", path("run")});
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_NE(run.out.find("left dense: conv3 (FF, BP): asked for by 'conv3'"), std::string::npos) << run.out;
    const auto training = nlohmann::json::parse(
        load_safetensors(folder_ / "run/last.safetensors").metadata.at("enmesh.training"));
    EXPECT_EQ(training["optimizer"]["lr"], 0.05);
    EXPECT_EQ(training["optimizer"]["nesterov"], true);
    EXPECT_EQ(training["epochs"], 1);

    write_file(folder_ / "bad.toml", "patern = \"2:8\"\n");
    expect_refused({"train", "--config", path("bad.toml"), "--out", path("refused")},
                   "unknown key 'patern' (did you mean 'pattern'?)");
    write_file(folder_ / "bad.toml", "epochs = \"many\"\n");
    expect_refused({"train", "--config", path("bad.toml"), "--out", path("refused")},
                   "'epochs' cannot be many");
    write_file(folder_ / "bad.toml", "epochs = [1, 2]\n");
    expect_refused({"train", "--config", path("bad.toml"), "--out", path("refused")},
                   "'epochs' takes one value");
    write_file(folder_ / "bad.toml", "nesterov = 3\n");
    expect_refused({"train", "--config", path("bad.toml"), "--out", path("refused")}, "true or false");
    write_file(folder_ / "bad.toml", "epochs = \n");
    expect_refused({"train", "--config", path("bad.toml"), "--out", path("refused")}, "line 1");
}

TEST_F(TrainProgram, TheCommandLineWinsOverTheFile) {
    write_file(folder_ / "run.toml", "method = \"bdwp\"\npattern = \"2:8\"\nepochs = 1\ndense = \"conv*\"\n");
    const ProgramResult run =
        run_program({"train", "--config", path("run.toml"), "--sparse", "conv2", "--out", path("run")});
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_NE(run.out.find("left dense: conv3 (FF, BP): asked for by 'conv*'"), std::string::npos) << run.out;
    EXPECT_EQ(run.out.find("left dense: conv2"), std::string::npos) << run.out;
}

TEST_F(TrainProgram, AnUpdateThatOverflowsIsNeverSaved) {
    const ProgramResult first = run_program({"train", "--data", "digits", "--model", "mlp", "--width", "0.1",
                                             "--epochs", "1", "--out", path("run"), "--threads", "1"});
    ASSERT_EQ(first.code, 0) << first.err;
    const std::string kept = file("run/last.safetensors");
    EXPECT_TRUE(nlohmann::json::parse(file("run/summary.json"))["pattern"].is_null());
    // One update an epoch, so that the loss before it is finite.
    const ProgramResult run =
        run_program({"train",     "--data", "digits",  "--model",  "mlp",         "--width", "0.1",
                     "--epochs",  "2",      "--batch", "1437",     "--optimizer", "sgd",     "--lr",
                     "1e30",      "--clip", "0",       "--warmup", "0",           "--out",   path("diverged"),
                     "--threads", "1"});
    EXPECT_EQ(run.code, 1);
    EXPECT_TRUE(is_one_error_line(run.err)) << run.err;
    EXPECT_NE(run.err.find("at step 1 (epoch 1)"), std::string::npos) << run.err;
    EXPECT_FALSE(fs::exists(folder_ / "diverged/last.safetensors"));
    EXPECT_FALSE(fs::exists(folder_ / "diverged/best.safetensors"));
    const ProgramResult shorter =
        run_program({"train", "--data", "digits", "--model", "mlp", "--width", "0.1", "--epochs", "2",
                     "--out", path("run"), "--threads", "1", "--resume"});
    ASSERT_EQ(shorter.code, 0) << shorter.err;
    EXPECT_NE(kept, file("run/last.safetensors"));
    const ProgramResult refused =
        run_program({"train", "--data", "digits", "--model", "mlp", "--width", "0.1", "--epochs", "1",
                     "--out", path("run"), "--threads", "1", "--resume"});
    EXPECT_EQ(refused.code, 2);
    EXPECT_NE(refused.err.find("cannot become one of 1"), std::string::npos) << refused.err;
}

TEST_F(TrainProgram, AFullDiskIsOneErrorAndNoHalfFile) {
    ASSERT_EQ(run_program(train("run", {"--epochs", "1"})).code, 0);
    const std::string before = file("run/last.safetensors");
    // Room for the events and the metrics, not for a checkpoint.
    RunningProgram program(train("run", {"--epochs", "2", "--resume"}), path("errors"), before.size() - 1);
    EXPECT_EQ(program.wait(), 1) << program.errors();
    EXPECT_TRUE(is_one_error_line(program.errors())) << program.errors();
    EXPECT_NE(program.errors().find("cannot be written"), std::string::npos) << program.errors();
    EXPECT_TRUE(file("run/last.safetensors") == before);
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_ / "run")) {
        EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
    }
}

TEST_F(TrainProgram, ALossThatIsNotFiniteEndsTheRun) {
    const ProgramResult run =
        run_program(train("run", {"--model", "lenet5", "--method", "dense", "--optimizer", "adamw", "--lr",
                                  "1e20", "--schedule", "constant", "--warmup", "0", "--clip", "0"}));
    EXPECT_EQ(run.code, 1);
    EXPECT_TRUE(is_one_error_line(run.err)) << run.err;
    EXPECT_NE(run.err.find("at step 2 (epoch 1): the output of layer '"), std::string::npos) << run.err;
}

TEST_F(TrainProgram, TheHeaderAndTheHelpSayTheDefaults) {
    const ProgramResult help = run_program({"train", "--help"});
    EXPECT_NE(help.out.find("with batch norm: sgd, learning rate 0.1, Nesterov's momentum 0.9"),
              std::string::npos)
        << help.out;
    const auto header = [&](const std::string& out, const std::vector<std::string>& more) {
        std::vector<std::string> arguments = {"train",     "--data", "digits", "--epochs", "1",
                                              "--threads", "1",      "--out",  path(out)};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const ProgramResult run = run_program(arguments);
        EXPECT_EQ(run.code, 0) << run.err;
        const size_t at = run.out.find("training: ");
        return at == std::string::npos ? run.out : run.out.substr(at, run.out.find('\n', at) - at);
    };
    EXPECT_EQ(header("norms", {}),
              "training: sgd, learning rate 0.1, Nesterov's momentum 0.9, weight decay 0.0005; cosine over 1 "
              "epochs, rising for the first 0.2");
    EXPECT_EQ(
        header("plain", {"--model", "lenet5"}),
        "training: adamw, learning rate 0.003, weight decay 0.05, gradients clipped to norm 1; cosine over "
        "1 epochs, rising for the first 0.2");
    EXPECT_EQ(
        header("given", {"--lr", "0.05", "--nesterov=false", "--warmup", "0.5", "--clip", "2"}),
        "training: sgd, learning rate 0.05, momentum 0.9, weight decay 0.0005, gradients clipped to norm "
        "2; cosine over 1 epochs, rising for the first 0.5");
    expect_refused(
        {"train", "--data", "digits", "--model", "mlp", "--momentum", "0.5", "--out", path("refused")},
        "this network's default: give --optimizer sgd too");
}

TEST_F(TrainProgram, LearnsWithEveryOptionAtItsDefault) {
    for (const char* const model : {"lenet5", "mlp", "digits_cnn"}) {
        for (const char* const method : {"dense", "bdwp"}) {
            const std::string out = fmt::format("{}-{}", model, method);
            const ProgramResult run =
                run_program({"train", "--data", "digits", "--model", model, "--method", method, "--pattern",
                             "2:8", "--threads", "1", "--out", path(out)});
            ASSERT_EQ(run.code, 0) << run.err;
            EXPECT_EQ(run.out.find("warning"), std::string::npos) << run.out;
            const nlohmann::json summary = nlohmann::json::parse(file(out + "/summary.json"));
            EXPECT_GT(summary["test_accuracy"], 0.8) << out;
            EXPECT_TRUE(summary["loss_rose_at_step"].is_null()) << out;
        }
    }
}

// A checkpoint of before the defaults changed says what it was trained with; the command that made it goes
// on.
TEST_F(TrainProgram, ResumingTakesWhatIsNotGivenFromTheCheckpoint) {
    const std::vector<std::string> old = {"--nesterov=false", "--warmup", "0", "--clip", "0"};
    std::vector<std::string> whole = old, begun = old;
    whole.insert(whole.end(), {"--epochs", "2"});
    begun.insert(begun.end(), {"--epochs", "1"});
    ASSERT_EQ(run_program(train("whole", whole)).code, 0);
    ASSERT_EQ(run_program(train("same", begun)).code, 0);
    ASSERT_EQ(run_program(train("run", begun)).code, 0);
    whole.push_back("--resume");
    ASSERT_EQ(run_program(train("same", whole)).code, 0);
    const ProgramResult resumed = run_program(train("run", {"--resume"}));
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_NE(resumed.out.find("learning rate 0.05, momentum 0.9"), std::string::npos) << resumed.out;
    EXPECT_TRUE(file("run/last.safetensors") == file("same/last.safetensors"));
    const ProgramResult refused = run_program(train("run", {"--resume", "--clip", "3"}));
    EXPECT_EQ(refused.code, 2);
    EXPECT_NE(refused.err.find("clip_norm is 0.0 there and 3.0 here"), std::string::npos) << refused.err;
}

TEST_F(TrainProgram, ALossThatRisesIsSaidOnceAndRecorded) {
    const ProgramResult run = run_program(train("run", {"--lr", "10", "--warmup", "0"}));
    ASSERT_EQ(run.code, 0) << run.err;
    const size_t at = run.out.find("warning: at step ");
    ASSERT_NE(at, std::string::npos) << run.out;
    EXPECT_EQ(run.out.find("warning: ", at + 1), std::string::npos) << run.out;
    const nlohmann::json summary = nlohmann::json::parse(file("run/summary.json"));
    const auto step = summary["loss_rose_at_step"].get<int64_t>();
    EXPECT_LE(step, 44) << "within the first epoch";
    EXPECT_EQ(run.out.find(fmt::format("warning: at step {} the loss has risen to ", step)), at) << run.out;
    for (const nlohmann::json& line : metrics("run")) EXPECT_EQ(line["loss_rose_at_step"], step);

    const ProgramResult healthy = run_program(train("healthy"));
    ASSERT_EQ(healthy.code, 0) << healthy.err;
    EXPECT_EQ(healthy.out.find("warning"), std::string::npos) << healthy.out;
    EXPECT_TRUE(nlohmann::json::parse(file("healthy/summary.json"))["loss_rose_at_step"].is_null());
    for (const nlohmann::json& line : metrics("healthy")) EXPECT_FALSE(line.contains("loss_rose_at_step"));
}

TEST_F(TrainProgram, Bfloat16IsSaidRememberedAndEvaluated) {
    const ProgramResult first = run_program(train("run", {"--dtype", "bf16", "--epochs", "1"}));
    ASSERT_EQ(first.code, 0) << first.err;
    EXPECT_NE(first.out.find("bfloat16"), std::string::npos) << first.out;
    const ProgramResult floats = run_program(train("run", {"--resume"}));
    EXPECT_EQ(floats.code, 2);
    EXPECT_NE(floats.err.find("dtype"), std::string::npos) << floats.err;
    EXPECT_EQ(run_program(train("run", {"--dtype", "bf16", "--resume"})).code, 0);
    ASSERT_EQ(run_program(train("floats")).code, 0);
    EXPECT_NE(metrics("run"), metrics("floats"));
    const std::string weights = path("run/last.safetensors");
    // Folded norms would make other weights to round.
    const ProgramResult evaluated = run_program(
        {"eval", "--init", weights, "--data", "digits", "--dtype", "bf16", "--keep-norms", "--json", "-"});
    ASSERT_EQ(evaluated.code, 0) << evaluated.err;
    const nlohmann::json summary = nlohmann::json::parse(file("run/summary.json"));
    EXPECT_EQ(nlohmann::json::parse(evaluated.out)["test_accuracy"], summary["test_accuracy"]);
    for (const std::vector<std::string>& wrong : {std::vector<std::string>{"--dtype", "f16"},
                                                  {"--dtype", "bf61"},
                                                  {"--dtype", "bf16", "--device", "sat"}}) {
        const ProgramResult refused = run_program(train("wrong", wrong));
        EXPECT_EQ(refused.code, 2);
        EXPECT_TRUE(is_one_error_line(refused.err)) << refused.err;
    }
}

TEST_F(TrainProgram, DemoPrintsItsTableAndSummary) {
    const ProgramResult run = run_program({"demo", "--epochs", "1", "--out", path("demo")});
    ASSERT_EQ(run.code, 0) << run.err;
    EXPECT_NE(run.out.find("multiply-adds per step"), std::string::npos) << run.out;
    const nlohmann::json summary = nlohmann::json::parse(file("demo/summary.json"));
    for (const char* const method : {"dense", "bdwp"}) {
        EXPECT_GT(summary[method]["test_accuracy"], 0.2);
        EXPECT_GT(summary[method]["seconds"], 0);
    }
    EXPECT_LE(summary["bdwp"]["multiply_adds_per_step"].get<double>(),
              0.70 * summary["dense"]["multiply_adds_per_step"].get<double>());
}

/// One step of a tiny network; `config` is a file in the folder, `more` goes behind it.
class ConfigurationLists : public TrainProgram {
  protected:
    std::vector<std::string> one_step(const std::string& out, const std::string& config,
                                      const std::vector<std::string>& more = {}) const {
        write_file(folder_ / "lists.toml", config);
        std::vector<std::string> arguments{
            "train",   "--data",    "digits",   "--model",  "digits_cnn",       "--width", "0.25",
            "--batch", "1437",      "--epochs", "1",        "--method",         "bdwp",    "--pattern",
            "2:8",     "--threads", "2",        "--config", path("lists.toml"), "--out",   path(out)};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
    std::string recipe(const std::string& out) const {
        return load_safetensors(folder_ / out / "last.safetensors").metadata.at("enmesh.recipe");
    }
};

TEST_F(ConfigurationLists, EveryValueCountsNotOnlyTheLast) {
    const std::string sat = "device = \"sat\"\n";
    expect_refused(one_step("refused", sat + "sat-set = [\"nonsense=1\", \"cols=16\"]\n"), "nonsense");
    expect_refused(one_step("refused", sat + "sat-set = [\"cols=16\", \"nonsense=1\"]\n"), "nonsense");
    expect_refused(one_step("refused", "dense = [\"conv9\", \"conv2\"]\n"), "'conv9'");
    expect_refused(one_step("refused", "sparse = [\"conv9=2:4\", \"conv2=2:4\"]\n"), "'conv9'");
    expect_refused(one_step("refused", "sparse = [\"conv2=4:2\", \"conv3=2:4\"]\n"), "4:2");

    ASSERT_EQ(run_program(one_step("file", sat + "sat-set = [\"rows=16\", \"cols=8\"]\n")).code, 0);
    ASSERT_EQ(run_program(one_step("line", sat, {"--sat-set", "rows=16", "--sat-set", "cols=8"})).code, 0);
    ASSERT_EQ(run_program(one_step("last", sat, {"--sat-set", "cols=8"})).code, 0);
    EXPECT_EQ(metrics("file"), metrics("line"));
    EXPECT_NE(metrics("file")[0]["simulated_seconds"], metrics("last")[0]["simulated_seconds"]);
}

TEST_F(ConfigurationLists, LayersOfAListAreThoseOfTheCommandLine) {
    const std::string file = "dense = [\"conv2\", \"fc\"]\n";
    ASSERT_EQ(run_program(one_step("file", file)).code, 0);
    ASSERT_EQ(run_program(one_step("line", "", {"--dense", "conv2", "--dense", "fc"})).code, 0);
    EXPECT_EQ(recipe("file"), recipe("line"));
    const std::string sparse = "sparse = [\"conv2=2:4\", \"conv3=1:8\"]\n";
    ASSERT_EQ(run_program(one_step("sparse_file", sparse)).code, 0);
    ASSERT_EQ(
        run_program(one_step("sparse_line", "", {"--sparse", "conv2=2:4", "--sparse", "conv3=1:8"})).code, 0);
    EXPECT_EQ(recipe("sparse_file"), recipe("sparse_line"));
    EXPECT_NE(recipe("sparse_file"), recipe("file"));
    // An empty list says nothing.
    ASSERT_EQ(run_program(one_step("empty", "dense = []\n")).code, 0);
}

TEST_F(ConfigurationLists, NumbersOfACheckpointAreReadWhole) {
    ASSERT_EQ(run_program(one_step("run", "")).code, 0);
    SafetensorsFile checkpoint = load_safetensors(folder_ / "run/last.safetensors");
    const std::string model = checkpoint.metadata.at("enmesh.model");
    for (const auto& [whole, cut] : {std::pair{"\"10\"", "\"10abc\""}, std::pair{"\"0.25\"", "\"0.25x\""}}) {
        std::string wrong = model;
        const size_t at = wrong.find(whole);
        ASSERT_NE(at, std::string::npos) << model;
        wrong.replace(at, std::string(whole).size(), cut);
        checkpoint.metadata.at("enmesh.model") = wrong;
        save_safetensors(folder_ / "wrong.safetensors", checkpoint);
        expect_refused({"eval", "--init", path("wrong.safetensors"), "--data", "digits"},
                       "does not say of which model it is");
    }
}

}  // namespace
}  // namespace enmesh
