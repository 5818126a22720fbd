// Weights as other programs save them: what train, eval and prune make of them.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/run_program.hpp"
#include "enmesh/tensor/safetensors.hpp"
#include "support/folder.hpp"

namespace enmesh::testing {
namespace {

namespace fs = std::filesystem;

class StateDicts : public ::testing::Test {
  protected:
    /// Weights of resnet9 at a small width, as `train` leaves them, under PyTorch's tensors alone.
    static void SetUpTestSuite() {
        shared = new TemporaryFolder;
        const auto run = run_program(command((*shared / "r").string(), {}));
        ASSERT_EQ(run.code, 0) << run.err;
        SafetensorsFile file = load_safetensors(*shared / "r/last.safetensors");
        SafetensorsFile kept;
        for (NamedTensor& tensor : file.tensors)
            if (!tensor.name.ends_with(".velocity")) kept.tensors.push_back(std::move(tensor));
        save_safetensors(*shared / "plain.safetensors", kept);
        const auto reference = eval((*shared / "plain.safetensors").string());
        ASSERT_EQ(reference.code, 0) << reference.err;
        expected = nlohmann::json::parse(reference.out);
    }
    static void TearDownTestSuite() { delete shared; }

    static std::vector<std::string> network() {
        return {"--model", "resnet9", "--width", "0.0625", "--data", "digits", "--threads", "1"};
    }
    static std::vector<std::string> command(const std::string& out, const std::vector<std::string>& more) {
        std::vector<std::string> words{"train", "--epochs", "1", "--batch", "256", "--out", out};
        for (const auto& list : {network(), more}) words.insert(words.end(), list.begin(), list.end());
        return words;
    }
    static ProgramResult eval(const std::string& init) {
        std::vector<std::string> words{"eval", "--init", init, "--json", "-"};
        const auto more = network();
        words.insert(words.end(), more.begin(), more.end());
        return run_program(words);
    }
    static SafetensorsFile plain() { return load_safetensors(*shared / "plain.safetensors"); }
    static void expect_same(const std::string& init, const std::string& note = "") {
        const auto run = eval(init);
        ASSERT_EQ(run.code, 0) << run.err;
        EXPECT_EQ(nlohmann::json::parse(run.out)["loss"], expected["loss"]) << init;
        EXPECT_NE(run.err.find(note), std::string::npos) << run.err;
    }
    static void expect_refused(const ProgramResult& run, const std::string& part) {
        EXPECT_EQ(run.code, 2) << run.err;
        EXPECT_TRUE(is_one_error_line(run.err)) << run.err;
        EXPECT_NE(run.err.find(part), std::string::npos) << run.err;
    }

    static inline TemporaryFolder* shared = nullptr;
    static inline nlohmann::json expected;
    TemporaryFolder folder;
};

NamedTensor scalar(const std::string& name) {
    NamedTensor tensor{{name, "I64", Shape{}}, Buffer(8)};
    std::fill_n(tensor.data.as<char>().data(), 8, '\0');
    return tensor;
}

TEST_F(StateDicts, CountersOfNormsAreLeftOutWithANote) {
    SafetensorsFile file = plain();
    std::vector<std::string> names;
    for (const NamedTensor& tensor : file.tensors)
        if (tensor.name.ends_with(".running_mean"))
            names.push_back(tensor.name.substr(0, tensor.name.rfind('.')));
    ASSERT_FALSE(names.empty());
    for (const std::string& name : names) file.tensors.push_back(scalar(name + ".num_batches_tracked"));
    save_safetensors(folder / "a.safetensors", file);
    expect_same((folder / "a.safetensors").string(),
                fmt::format("{} tensors that no network here needs are left out (num_batches_tracked)",
                            names.size()));
    const auto trained =
        run_program(command((folder / "r").string(), {"--init", (folder / "a.safetensors").string()}));
    EXPECT_EQ(trained.code, 0) << trained.err;
    EXPECT_NE(trained.out.find("left out (num_batches_tracked)"), std::string::npos) << trained.out;
}

TEST_F(StateDicts, PrefixesOfWrappersAreTakenOff) {
    for (const std::string prefix :
         {"module.", "_orig_mod.", "model.", "module._orig_mod.", "state_dict.model.net."}) {
        SafetensorsFile file = plain();
        for (NamedTensor& tensor : file.tensors) tensor.name = prefix + tensor.name;
        save_safetensors(folder / "a.safetensors", file);
        expect_same((folder / "a.safetensors").string());
    }
    SafetensorsFile file = plain();  // torch.compile of a part
    for (NamedTensor& tensor : file.tensors)
        if (const size_t dot = tensor.name.find('.'); dot < tensor.name.size())
            tensor.name.insert(dot + 1, "_orig_mod.");
    save_safetensors(folder / "a.safetensors", file);
    expect_same((folder / "a.safetensors").string());
}

TEST_F(StateDicts, DoublesAreRoundedToFloat) {
    SafetensorsFile file = plain();
    for (NamedTensor& tensor : file.tensors) {
        if (tensor.dtype != "F32") continue;
        NamedTensor wide{{tensor.name, "F64", tensor.shape}, Buffer(2 * tensor.data.bytes())};
        const auto from = tensor.data.as<float>();
        std::copy(from.begin(), from.end(), wide.data.as<double>().begin());
        tensor = std::move(wide);
    }
    save_safetensors(folder / "a.safetensors", file);
    expect_same((folder / "a.safetensors").string());
    file.tensors[0].data.as<double>()[0] = 1e300;
    save_safetensors(folder / "b.safetensors", file);
    expect_refused(eval((folder / "b.safetensors").string()), file.tensors[0].name);
}

TEST_F(StateDicts, PartsWithAnIndexAndFoldersAreRead) {
    SafetensorsFile whole = plain();
    SafetensorsFile first, second;
    nlohmann::json map;
    const std::string some_name = whole.tensors[0].name;
    for (size_t i = 0; i < whole.tensors.size(); ++i) {
        map[whole.tensors[i].name] = i % 2 == 0 ? "model-1.safetensors" : "model-2.safetensors";
        (i % 2 == 0 ? first : second).tensors.push_back(std::move(whole.tensors[i]));
    }
    const fs::path blobs = folder / "blobs", snapshot = folder / "snapshots/1";
    fs::create_directories(blobs);
    fs::create_directories(snapshot);
    save_safetensors(blobs / "aa", first);
    save_safetensors(blobs / "bb", second);
    save(blobs / "cc", nlohmann::json{{"metadata", {{"total_size", 1}}}, {"weight_map", map}}.dump());
    fs::create_symlink("../../blobs/aa", snapshot / "model-1.safetensors");
    fs::create_symlink("../../blobs/bb", snapshot / "model-2.safetensors");
    fs::create_symlink("../../blobs/cc", snapshot / "model.safetensors.index.json");
    expect_same((snapshot / "model.safetensors.index.json").string());
    expect_same(snapshot.string());
    fs::remove(snapshot / "model-2.safetensors");
    expect_refused(eval(snapshot.string()), "its part model-2.safetensors is not beside it");
    fs::create_symlink("../../blobs/aa", snapshot / "model-2.safetensors");
    expect_refused(eval(snapshot.string()), "is in two of its parts");
    map[some_name] = "../../../etc/passwd";
    fs::remove(snapshot / "model.safetensors.index.json");
    save(snapshot / "model.safetensors.index.json", nlohmann::json{{"weight_map", map}}.dump());
    expect_refused(eval(snapshot.string()), "is not the name of a file beside it");
    save(snapshot / "model.safetensors.index.json", "{}");
    expect_refused(eval((snapshot / "model.safetensors.index.json").string()), "not an index");
    fs::create_directories(folder / "empty");
    expect_refused(eval((folder / "empty").string()), "a folder without a .safetensors file");
}

TEST_F(StateDicts, OtherFilesAreToldApartByTheirFirstBytes) {
    const std::string tail(64, 'x');
    const std::vector<std::pair<std::string, std::string>> files = {
        {std::string("PK\x03\x04") + tail, "a PyTorch pickle"},
        {std::string("\x80\x02}q") + tail, "a PyTorch pickle"},
        {"\x89HDF\r\n\x1a\n" + tail, "an HDF5 file"},
        {"{\"architectures\": [\"ResNet\"]}", "a JSON text"},
        {"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"},
        {"<!DOCTYPE html>" + tail, "an HTML page"},
        {std::string("\x93NUMPY\x01\x00", 8) + tail, "a NumPy array"},
        {"{}", "a JSON text"}};
    for (const auto& [bytes, part] : files) {
        save(folder / "weights.pth", bytes);
        expect_refused(eval((folder / "weights.pth").string()), part);
    }
    save(folder / "noise", std::string(64, '\xfe'));
    const auto run = eval((folder / "noise").string());
    EXPECT_EQ(run.code, 2);
    EXPECT_EQ(run.err.find("18374"), std::string::npos) << run.err;  // not as a number of bytes
}

TEST_F(StateDicts, AClassifierMayStartAfresh) {
    SafetensorsFile file = plain();
    std::string layer;
    for (NamedTensor& tensor : file.tensors) {
        if (tensor.shape.rank() != 2) continue;
        layer = tensor.name.substr(0, tensor.name.rfind('.'));
        NamedTensor other{{tensor.name, "F32", Shape{7, tensor.shape[1]}},
                          Buffer(static_cast<size_t>(28 * tensor.shape[1]))};
        std::fill_n(other.data.as<float>().data(), other.data.bytes() / 4, 0.5F);
        tensor = std::move(other);
    }
    ASSERT_FALSE(layer.empty());
    save_safetensors(folder / "a.safetensors", file);
    const std::string init = (folder / "a.safetensors").string(), out = (folder / "r").string();
    const auto refused = run_program(command(out, {"--init", init}));
    expect_refused(refused, "'" + layer + ".weight' is F32 7x");
    EXPECT_NE(refused.err.find("--fresh LAYERS"), std::string::npos) << refused.err;
    expect_refused(run_program(command(out, {"--init", init, "--fresh", "nosuch"})),
                   "no layer with weights is called 'nosuch'");
    expect_refused(run_program(command(out, {"--fresh", layer})), "--fresh goes with --init");
    EXPECT_FALSE(fs::exists(folder / "r/last.safetensors"));
    const auto run = run_program(command(out, {"--init", init, "--fresh", layer}));
    EXPECT_EQ(run.code, 0) << run.err;
    EXPECT_NE(run.out.find("they start afresh: " + layer), std::string::npos) << run.out;
}

}  // namespace
}  // namespace enmesh::testing
