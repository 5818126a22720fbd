#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "cli/run_program.hpp"
#include "enmesh/base/file.hpp"
#include "onnx/model_maker.hpp"

// What the commands that read and write ONNX files may overwrite, and what they say.

namespace enmesh {
namespace {

namespace fs = std::filesystem;
using testing::ModelMaker;
using testing::ProgramResult;
using testing::run_program;

/// images (1 x 8 x 8) -> two convolutions, pool, Gemm -> 10 scores. A batch of -1 is open.
ModelMaker digits_network(int64_t batch = -1) {
    ModelMaker maker;
    maker.input("pixels", {batch, 1, 8, 8});
    maker.weights("a.weight", {8, 1, 3, 3});
    maker.weights("b.weight", {16, 8, 3, 3});
    maker.weights("fc.weight", {16, 10});
    const std::vector<int64_t> pads{1, 1, 1, 1};
    ModelMaker::set(maker.node("Conv", {"pixels", "a.weight"}, {"a"}), "pads", pads);
    maker.node("Relu", {"a"}, {"ra"});
    ModelMaker::set(maker.node("Conv", {"ra", "b.weight"}, {"b"}), "pads", pads);
    maker.node("Relu", {"b"}, {"rb"});
    maker.node("GlobalAveragePool", {"rb"}, {"pool"});
    maker.node("Flatten", {"pool"}, {"flat"});
    maker.node("Gemm", {"flat", "fc.weight"}, {"scores"});
    maker.output("scores");
    return maker;
}

/// A class token before the positions, in a file whose batch is fixed: at another batch it would have to
/// grow.
ModelMaker token_network(int64_t batch = 1) {
    ModelMaker maker;
    maker.input("pixels", {batch, 1, 8, 8});
    maker.weights("patch.weight", {16, 1, 2, 2});
    maker.weights("token", {batch, 1, 16});
    maker.weights("mix.weight", {16, 16});
    maker.weights("fc.weight", {16, 10});
    maker.integers("rows", {batch, 16, 16});
    ModelMaker::set(maker.node("Conv", {"pixels", "patch.weight"}, {"maps"}), "strides",
                    std::vector<int64_t>{2, 2});
    maker.node("Reshape", {"maps", "rows"}, {"columns"});
    ModelMaker::set(maker.node("Transpose", {"columns"}, {"positions"}), "perm",
                    std::vector<int64_t>{0, 2, 1});
    ModelMaker::set(maker.node("Concat", {"token", "positions"}, {"tokens"}), "axis", int64_t{1});
    maker.node("MatMul", {"tokens", "mix.weight"}, {"mixed"});
    ::onnx::NodeProto& mean = maker.node("ReduceMean", {"mixed"}, {"mean"});
    ModelMaker::set(mean, "axes", std::vector<int64_t>{1});
    ModelMaker::set(mean, "keepdims", int64_t{0});
    maker.node("Gemm", {"mean", "fc.weight"}, {"scores"});
    maker.output("scores");
    return maker;
}

class OnnxFiles : public ::testing::Test {
  protected:
    ProgramResult run(std::vector<std::string> arguments) const {
        return run_program(arguments, {"OMP_WAIT_POLICY=passive"}, (folder_ / "").string());
    }
    void expect_done(const std::vector<std::string>& arguments) const {
        const ProgramResult ran = run(arguments);
        EXPECT_EQ(ran.code, 0) << arguments[0] << "\n" << ran.err;
    }
    void expect_refused(const std::vector<std::string>& arguments, const std::string& words) const {
        const ProgramResult ran = run(arguments);
        EXPECT_EQ(ran.code, 2) << words;
        EXPECT_TRUE(testing::is_one_error_line(ran.err)) << ran.err;
        EXPECT_NE(ran.err.find(words), std::string::npos) << words << "\nsaid: " << ran.err;
        EXPECT_EQ(ran.out, "");
    }
    void put(const std::string& name, const ModelMaker& maker) const { folder_.put(name, maker.text()); }
    std::string text(const std::string& name) const { return read_file(folder_ / name); }
    bool exists(const std::string& name) const { return fs::exists(folder_ / name); }

    testing::Folder folder_;
};

/// The arguments of a short training on the digits.
std::vector<std::string> train(const std::string& model, const std::string& out) {
    return {"train", "--data", "digits",  "--image",   "1x8x8", "--batch", "1437", "--epochs", "1", "--lr",
            "1e-6",  "--plan", "default", "--threads", "1",     "--model", model,  "--out",    out};
}

TEST_F(OnnxFiles, external_data_of_an_input_are_not_overwritten) {
    put("net.onnx", digits_network());
    expect_done({"export", "net.onnx", "--external-data", "--out", "freed.onnx"});
    fs::rename(folder_ / "freed.onnx", folder_ / "dense.onnx");
    const std::string data = text("freed.onnx.data");
    const std::string of_in = "would overwrite the external data of IN";
    expect_refused({"prune", "dense.onnx", "--pattern", "2:4", "--out", "freed.onnx"}, of_in);
    expect_refused({"prune", "dense.onnx", "--pattern", "2:4", "--out", "./freed.onnx"}, of_in);
    expect_refused({"export", "dense.onnx", "--out", "freed.onnx"}, of_in);
    expect_refused({"pack", "dense.onnx", "--layout", "nm", "--out", "freed.onnx.data"}, of_in);
    expect_refused(
        {"prune", "dense.onnx", "--pattern", "2:4", "--out", "q.onnx", "--json", "freed.onnx.data"}, of_in);
    expect_refused({"prune", "dense.onnx", "--pattern", "2:4", "--out", "q.onnx", "--json", "q.onnx.data"},
                   "would overwrite the external data of --out");
    const std::string of_model = "would overwrite the external data of --model";
    expect_refused({"inspect", "--model", "dense.onnx", "--image", "1x8x8", "--json", "freed.onnx.data"},
                   of_model);
    expect_refused(
        {"bench", "infer", "--model", "dense.onnx", "--image", "1x8x8", "--json", "freed.onnx.data"},
        of_model);
    EXPECT_EQ(text("freed.onnx.data"), data);
    EXPECT_FALSE(exists("freed.onnx") || exists("q.onnx"));
    expect_done({"prune", "dense.onnx", "--pattern", "2:4", "--out", "pruned.onnx"});
    EXPECT_EQ(text("pruned.onnx.data").size(), data.size());
    EXPECT_EQ(text("freed.onnx.data"), data);
}

TEST_F(OnnxFiles, a_link_takes_the_model_and_its_data_to_the_same_folder) {
    put("net.onnx", digits_network());
    expect_done({"export", "net.onnx", "--external-data", "--out", "ext.onnx"});
    fs::create_directories(folder_ / "links" / "real");
    fs::create_symlink("real/r.onnx", folder_ / "links" / "link.onnx");
    expect_done({"prune", "ext.onnx", "--pattern", "2:4", "--out", "links/link.onnx"});
    EXPECT_TRUE(exists("links/real/r.onnx") && exists("links/real/r.onnx.data"));
    EXPECT_FALSE(exists("links/link.onnx.data"));
    // By either name it is read with its data.
    expect_done({"export", "links/real/r.onnx", "--out", "one.onnx"});
    expect_done({"export", "links/link.onnx", "--out", "other.onnx"});
    EXPECT_TRUE(text("one.onnx.data") == text("other.onnx.data"));
    // A link that leads to where the input's data would be overwritten.
    const std::string data = text("ext.onnx.data");
    fs::rename(folder_ / "ext.onnx", folder_ / "dense.onnx");
    fs::create_symlink("../ext.onnx", folder_ / "links" / "back.onnx");
    expect_refused({"prune", "dense.onnx", "--pattern", "2:4", "--out", "links/back.onnx"},
                   "would overwrite the external data of IN");
    EXPECT_EQ(text("ext.onnx.data"), data);
    fs::create_symlink("links/away.data", folder_ / "far.onnx.data");
    expect_refused({"export", "net.onnx", "--external-data", "--out", "far.onnx"},
                   "a link out of the folder");
    EXPECT_FALSE(exists("far.onnx") || exists("links/away.data"));
}

TEST_F(OnnxFiles, no_file_of_a_run_replaces_the_model_s_external_data) {
    for (const std::string name : {"summary.json", "events.out.tfevents.enmesh", "metrics.jsonl"}) {
        ModelMaker maker = digits_network();
        ::onnx::TensorProto& tensor = *maker.graph().mutable_initializer(1);
        const std::string bytes = tensor.raw_data();
        folder_.put(name, bytes);
        tensor.clear_raw_data();
        tensor.set_data_location(::onnx::TensorProto_DataLocation_EXTERNAL);
        ::onnx::StringStringEntryProto& entry = *tensor.add_external_data();
        entry.set_key("location");
        entry.set_value(name);
        put("dense.onnx", maker);
        std::vector<std::string> arguments = train("dense.onnx", ".");
        arguments.emplace_back("--overwrite");
        expect_refused(arguments, "would overwrite the external data of --model");
        EXPECT_EQ(text(name), bytes);
        fs::remove(folder_ / name);
    }
    put("net.onnx", digits_network());
    // The summary may be asked for where it is written anyhow.
    fs::create_directory(folder_ / "run");
    std::vector<std::string> arguments = train("net.onnx", "run");
    arguments.insert(arguments.end(), {"--json", "run/summary.json"});
    expect_done(arguments);
}

TEST_F(OnnxFiles, what_is_taken_for_weights_is_called_an_onnx_file) {
    put("net.onnx", digits_network());
    put("net.ONNX", digits_network());
    put("net.bin", digits_network());
    const std::string taken = "net.onnx: is an ONNX file; --model takes it";
    expect_refused({"eval", "--init", "net.onnx"}, taken);
    expect_refused({"train", "--init", "net.onnx", "--out", "run"}, taken);
    expect_refused({"bench", "infer", "--model", "digits_cnn", "--init", "net.onnx"}, taken);
    expect_refused({"unpack", "net.onnx", "--check"},
                   "net.onnx: is an ONNX file; unpack takes what pack wrote");
    expect_refused(
        {"prune", "net.bin", "--pattern", "2:4", "--dry-run"},
        "net.bin: not a safetensors file: it looks like an ONNX file, whose name has to end in .onnx");
    expect_done({"prune", "net.ONNX", "--pattern", "2:4", "--out", "pruned.ONNX"});
    expect_done({"eval", "--model", "pruned.ONNX"});
    expect_refused({"pack", "pruned.ONNX", "--layout", "nm", "--out", "packed.onnx"},
                   "--out packed.onnx: weights without a graph are written as safetensors");
    expect_done({"pack", "pruned.ONNX", "--layout", "nm", "--out", "packed.safetensors"});
    expect_refused({"unpack", "packed.safetensors", "--out", "again.onnx"},
                   "--out again.onnx: weights without a graph are written as safetensors");
    // The layers hold 2:4: that b does is told before the channels of a, the first.
    expect_refused({"pack", "pruned.ONNX", "--layout", "nm", "--pattern", "1:4", "--out", "x.safetensors"},
                   "'b.weight': not 1:4: 2 values in a group");
}

TEST_F(OnnxFiles, a_batch_is_no_larger_than_the_test_set_where_it_is_free) {
    put("open.onnx", digits_network());
    put("fixed.onnx", digits_network(500));
    put("tokens.onnx", token_network(500));
    const auto eval = [&](const std::string& model, const std::string& batch) {
        const ProgramResult ran = run({"eval", "--model", model, "--batch", batch, "--threads", "1", "--plan",
                                       "default", "--json", "-"});
        EXPECT_EQ(ran.code, 0) << ran.err;
        return ran.out;
    };
    const std::string all = eval("open.onnx", "360");
    EXPECT_NE(all.find("\"batch\": 360"), std::string::npos) << all;
    EXPECT_EQ(eval("open.onnx", "5000"), all);
    EXPECT_EQ(eval("fixed.onnx", "500"), all);
    const std::string tokens = eval("tokens.onnx", "500");
    EXPECT_NE(tokens.find("\"batch\": 500"), std::string::npos) << tokens;
    EXPECT_NE(tokens.find("\"images\": 360"), std::string::npos) << tokens;
    expect_refused({"eval", "--model", "tokens.onnx", "--batch", "400"},
                   "the file fixes the batch at 500: export it with a dynamic batch or use --batch 500");
}

TEST_F(OnnxFiles, a_run_keeps_its_network_apart_from_the_model_it_starts_from) {
    put("net.onnx", digits_network());
    fs::create_directory(folder_ / "tv");
    expect_done({"export", "net.onnx", "--external-data", "--out", "tv/model.onnx"});
    const std::string data = text("tv/model.onnx.data");
    fs::rename(folder_ / "tv/model.onnx", folder_ / "tv/dense.onnx");
    expect_refused(train("tv/dense.onnx", "tv"), "would overwrite the external data of --model");
    EXPECT_EQ(text("tv/model.onnx.data"), data);
    // A model that lies where the run would put it stays there.
    fs::rename(folder_ / "tv/dense.onnx", folder_ / "tv/model.onnx");
    const std::string model = text("tv/model.onnx");
    expect_done(train("tv/model.onnx", "tv"));
    EXPECT_EQ(text("tv/model.onnx"), model);
    EXPECT_EQ(text("tv/model.onnx.data"), data);
    expect_done({"export", "tv/best.safetensors", "--out", "trained.onnx"});
}

TEST_F(OnnxFiles, the_network_of_a_checkpoint_is_not_overwritten) {
    put("mm.onnx", digits_network());
    expect_done(train("mm.onnx", "ra"));
    const std::string model = text("mm.onnx"), beside = text("ra/model.onnx");
    const std::string best = "ra/best.safetensors";
    const std::vector<std::vector<std::string>> commands = {
        {"export", best}, {"prune", best, "--pattern", "2:8"}, {"pack", best, "--layout", "nm"}};
    for (const std::vector<std::string>& command : commands) {
        const auto with = [&](std::vector<std::string> more) {
            more.insert(more.begin(), command.begin(), command.end());
            return more;
        };
        expect_refused(with({"--model", "mm.onnx", "--out", "mm.onnx"}),
                       "would overwrite the file of --model");
        expect_refused(with({"--out", "ra/model.onnx"}), "would overwrite the ONNX network of IN");
        expect_refused(with({"--model", "mm.onnx", "--out", "ra/model.onnx"}),
                       "would overwrite the ONNX network of IN");
    }
    expect_refused({"eval", "--init", best, "--data", "digits", "--json", "ra/model.onnx"},
                   "would overwrite the ONNX network of --init");
    EXPECT_EQ(text("mm.onnx"), model);
    EXPECT_EQ(text("ra/model.onnx"), beside);
}

TEST_F(OnnxFiles, nothing_is_left_where_an_output_cannot_be_written) {
    put("net.onnx", digits_network());
    fs::create_directory(folder_ / "taken.onnx");
    fs::create_directory(folder_ / "half.onnx.data");
    expect_refused({"export", "net.onnx", "--external-data", "--out", "taken.onnx"}, "taken.onnx");
    EXPECT_FALSE(exists("taken.onnx.data"));
    expect_refused({"export", "net.onnx", "--external-data", "--out", "half.onnx"}, "half.onnx.data");
    EXPECT_FALSE(exists("half.onnx"));
    expect_refused({"export", "net.onnx", "--out", "missing/out.onnx"}, "missing/out.onnx");
    expect_refused({"unpack", "absent.safetensors", "--out", "taken.onnx"}, "taken.onnx");
}

TEST_F(OnnxFiles, notes_are_for_requests_that_turn_out_right) {
    put("fixed.onnx", digits_network(1));
    expect_refused({"prune", "fixed.onnx", "--pattern", "2:4", "--skip", "none*", "--out", "out.onnx"},
                   "matches no layer");
    expect_refused({"inspect", "--model", "fixed.onnx", "--image", "1x8x8", "--method", "bdwp", "--pattern",
                    "2:8", "--dense", "none*"},
                   "none*");
    const ProgramResult ran = run({"prune", "fixed.onnx", "--pattern", "2:4", "--out", "out.onnx"});
    EXPECT_EQ(ran.code, 0) << ran.err;
    EXPECT_NE(ran.err.find("note: fixed.onnx: the file fixes the batch at 1"), std::string::npos) << ran.err;
}

TEST_F(OnnxFiles, a_batch_that_is_fixed_is_kept_or_explained) {
    put("tokens.onnx", token_network());
    expect_done({"inspect", "--model", "tokens.onnx", "--image", "1x8x8", "--batch", "1"});
    expect_refused({"inspect", "--model", "tokens.onnx", "--image", "1x8x8", "--batch", "2"},
                   "the file fixes the batch at 1: export it with a dynamic batch or use --batch 1");
    // Where no images pass through, any batch will do.
    expect_done({"prune", "tokens.onnx", "--pattern", "2:4", "--out", "pruned.onnx"});
    expect_done({"export", "tokens.onnx", "--out", "same.onnx"});
    expect_done({"pack", "pruned.onnx", "--layout", "nm", "--out", "packed.safetensors"});
}

}  // namespace
}  // namespace enmesh
