#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "layout.hpp"
#include "support/folder.hpp"

// measure.sh without a GPU, and the folder that it built where nvcc is.

namespace enmesh::cuda {
namespace {

namespace fs = std::filesystem;
const fs::path sources = ENMESH_SOURCE_DIR "/bench/cuda";
const fs::path folder = ENMESH_STC_FOLDER;

struct Ran {
    int code = -1;
    std::string text;  ///< of both streams
};

Ran run(const std::string& command) {
    Ran ran;
    FILE* const pipe = popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) return ran;
    std::array<char, 4096> buffer{};
    size_t count = 0;
    while ((count = fread(buffer.data(), 1, buffer.size(), pipe)) > 0) ran.text.append(buffer.data(), count);
    const int status = pclose(pipe);
    ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    return ran;
}

std::string quoted(const fs::path& path) { return "'" + path.string() + "'"; }

bool gpu_is_here() {
    for (const char* const file : {"/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"})
        if (fs::exists(file)) return true;
    return false;
}

#define SKIP_WITHOUT_FOLDER()                                           \
    if (!fs::exists(folder / "measure_stc")) {                          \
        GTEST_SKIP() << "no nvcc here: measure.sh has built no folder"; \
    }

void expect_one_skipping_line(const Ran& ran) {
    EXPECT_EQ(ran.code, 77) << ran.text;
    EXPECT_TRUE(ran.text.starts_with("skipped: no GPU")) << ran.text;
    EXPECT_EQ(std::count(ran.text.begin(), ran.text.end(), '\n'), 1) << ran.text;
}

TEST(StcMeasure, SaysInOneLineThatThereIsNoGpu) {
    if (gpu_is_here()) GTEST_SKIP() << "there is a GPU here";
    const testing::TemporaryFolder out;
    expect_one_skipping_line(run(quoted(sources / "measure.sh") + " --out " + quoted(out / "results")));
    expect_one_skipping_line(run(quoted(sources / "measure.sh") + " --check"));
    EXPECT_FALSE(fs::exists(out / "results"));
}

TEST(StcMeasure, RefusesBadRequests) {
    const testing::TemporaryFolder other;
    testing::save(other / "mine.txt", "mine");
    const std::string measure = quoted(sources / "measure.sh");
    for (const std::string& options :
         {std::string(" --no-such"), std::string(" extra"), std::string(" --seconds"),
          std::string(" --seconds ten"), std::string(" --seconds 0"), std::string(" --seconds 9999999"),
          std::string(" --plan /no/such/plan.json"), std::string(" --libraries some --build x"),
          std::string(" --libraries none"), std::string(" --cusparselt none"),
          std::string(" --fetch-cusparselt"), std::string(" --build x --seconds 5"),
          std::string(" --build x --check"), std::string(" --check --out results"),
          std::string(" --seconds 5 --check"), std::string(" --build x --libraries none --fetch-cusparselt"),
          std::string(" --build x --fetch-cusparselt --cusparselt none"), std::string(" --build mine.txt"),
          " --build " + quoted(other.path())}) {
        const Ran ran = run("cd " + quoted(other.path()) + " && " + measure + options);
        EXPECT_EQ(ran.code, 2) << options << ": " << ran.text;
        EXPECT_TRUE(ran.text.starts_with("measure.sh: error: ")) << options << ran.text;
        EXPECT_EQ(std::count(ran.text.begin(), ran.text.end(), '\n'), 1) << ran.text;
    }
    EXPECT_EQ(testing::slurp(other / "mine.txt"), "mine");
    EXPECT_FALSE(fs::exists(other / "x"));
    const Ran help = run(measure + " --help");
    EXPECT_EQ(help.code, 0);
    for (const char* const word : {"--build", "--seconds", "--plan", "77"})
        EXPECT_NE(help.text.find(word), std::string::npos) << word;
}

/// CUDA's layout with programs that write their output file and nothing in it that runs on a GPU: what
/// measure.sh does with folders needs no compiler.
class FakeCuda {
  public:
    FakeCuda() {
        const std::string write_output =
            "#!/bin/sh\nwhile [ $# -gt 1 ]; do\n  if [ \"$1\" = -o ]; then\n"
            "    printf '#!/bin/sh\\necho measured by \"$0\"\\n' >\"$2\"\n    chmod +x \"$2\"\n  fi\n  "
            "shift\ndone\n";
        script("cuda/bin/nvcc",
               "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'release 13.0, V13.0.1'; exit 0; fi\n" +
                   write_output.substr(write_output.find('\n') + 1));
        script("bin/compiler", write_output);
        testing::save(root_ / "cuda/lib/libcublasLt.so.13", "a library");
        for (const char* const name : {"measure.sh", "stc_plan.json"})
            copy(sources / name, root_ / ("tree/bench/cuda/" + std::string(name)));
        testing::save(root_ / "tree/bench/cuda/measure_stc.cpp", "// a source");
        testing::save(root_ / "tree/include/enmesh/base/half.hpp", "// a header");
    }
    fs::path operator/(const std::string& name) const { return root_ / name; }

    static void copy(const fs::path& from, const fs::path& to) {
        fs::create_directories(to.parent_path());
        fs::copy_file(from, to, fs::copy_options::overwrite_existing);
    }
    void script(const std::string& name, const std::string& text) const {
        testing::save(root_ / name, text);
        fs::permissions(root_ / name, fs::perms::owner_all);
    }
    /// The copied measure.sh; CXX is of two words.
    std::string measure(const std::string& environment = "") const {
        return "unset CUDA_PATH; CUDA_HOME=" + quoted(root_ / "cuda") + " CXX=\"env " +
               (root_ / "bin/compiler").string() + "\" CCACHE_DISABLE=1 " + environment + " " +
               quoted(root_ / "tree/bench/cuda/measure.sh");
    }
    Ran build(const std::string& where) const {
        return run(measure() + " --cusparselt none --build " + quoted(root_ / where));
    }

  private:
    testing::TemporaryFolder root_;
};

void expect_one_line(const Ran& ran, int code, const std::string& part) {
    EXPECT_EQ(ran.code, code) << ran.text;
    EXPECT_TRUE(ran.text.starts_with("measure.sh: error: ")) << ran.text;
    EXPECT_NE(ran.text.find(part), std::string::npos) << ran.text;
    EXPECT_EQ(std::count(ran.text.begin(), ran.text.end(), '\n'), 1) << ran.text;
}

std::set<std::string> names_in(const fs::path& path) {
    std::set<std::string> names;
    for (const fs::directory_entry& entry : fs::directory_iterator(path))
        names.insert(entry.path().filename());
    return names;
}

TEST(StcMeasure, ReplacesAFolderThatItBuiltAndNoOther) {
    const FakeCuda cuda;
    const std::set<std::string> built = {"libcublasLt.so.13", "measure.sh", "measure_stc", "plan.json",
                                         "ptxas.log"};
    for (int round = 0; round < 2; ++round) {
        const Ran ran = cuda.build("out/stc");
        EXPECT_EQ(ran.code, 0) << ran.text;
        EXPECT_EQ(names_in(cuda / "out/stc"), built);
        EXPECT_EQ(names_in(cuda / "out"), std::set<std::string>{"stc"});
    }
    testing::save(cuda / "out/stc/stc-results/stc.json", "mine");
    expect_one_line(cuda.build("out/stc"), 2, "'stc-results'");
    EXPECT_EQ(testing::slurp(cuda / "out/stc/stc-results/stc.json"), "mine");
    testing::save(cuda / "other/plan.json", "mine");
    expect_one_line(cuda.build("other"), 2, "'plan.json'");
    EXPECT_EQ(testing::slurp(cuda / "other/plan.json"), "mine");
    testing::save(cuda / "file", "mine");
    expect_one_line(cuda.build("file"), 2, "is no folder");
    expect_one_line(cuda.build("file/stc"), 2, "cannot be made");
}

TEST(StcMeasure, AFailedBuildLeavesTheOldFolder) {
    const FakeCuda cuda;
    ASSERT_EQ(cuda.build("out/stc").code, 0);
    const std::set<std::string> built = names_in(cuda / "out/stc");
    cuda.script("bin/compiler", "#!/bin/sh\nexit 1\n");
    EXPECT_EQ(cuda.build("out/stc").code, 1);
    EXPECT_EQ(names_in(cuda / "out/stc"), built);
    EXPECT_EQ(names_in(cuda / "out"), std::set<std::string>{"stc"});
}

TEST(StcMeasure, SaysInOneLineWhatItCannotBuildWith) {
    const FakeCuda cuda;
    expect_one_line(run(cuda.measure("CXX=no-such-compiler") + " --build " + quoted(cuda / "out")), 1,
                    "no-such-compiler");
    cuda.script("bin/python3", "#!/bin/sh\necho first >&2\necho 'the last line' >&2\nexit 1\n");
    expect_one_line(run(cuda.measure("PATH=" + quoted(cuda / "bin") + ":$PATH") +
                        " --fetch-cusparselt --build " + quoted(cuda / "out")),
                    1, "the last line");
    fs::remove(cuda / "cuda/lib/libcublasLt.so.13");
    expect_one_line(cuda.build("out"), 1, "no libcublasLt");
    cuda.script("cuda/bin/nvcc", "#!/bin/sh\necho 'a wrapper'\n");
    expect_one_line(cuda.build("out"), 1, "cannot be read");
    EXPECT_FALSE(fs::exists(cuda / "out"));
}

TEST(StcMeasure, BuildsAStaleFolderAgainAndIsFoundThroughLinks) {
    const FakeCuda cuda;
    // Where no GPU is, any device file has to do.
    const fs::path script = cuda / "tree/bench/cuda/measure.sh";
    std::string text = testing::slurp(script);
    const size_t at = text.find("/dev/nvidiactl");
    ASSERT_NE(at, std::string::npos);
    testing::save(script, text.replace(at, 14, "/dev/null"));
    fs::create_symlink(script, cuda / "bin/measure");
    fs::create_directories(cuda / "elsewhere/bin");
    const std::string measure = "cd " + quoted(cuda.operator/("")) +
                                " && export CDPATH=" + quoted(cuda / "elsewhere") + " && " +
                                cuda.measure().substr(0, cuda.measure().rfind(" '")) + " bin/measure --check";
    const auto ran = [&] { return run(measure).text; };
    const std::string first = ran();
    EXPECT_TRUE(first.starts_with("built ")) << first;
    EXPECT_NE(first.find("measured by"), std::string::npos) << first;
    EXPECT_TRUE(fs::exists(cuda / "tree/build/stc/measure_stc"));
    // Of the build before: nothing is newer.
    for (const char* const name : {"tree/bench/cuda/measure_stc.cpp", "tree/include/enmesh/base/half.hpp"}) {
        EXPECT_TRUE(ran().starts_with("measured by")) << name;
        fs::last_write_time(cuda / name, fs::last_write_time(cuda / "tree/build/stc/measure_stc") +
                                             std::chrono::milliseconds(1));
        EXPECT_TRUE(ran().starts_with("built ")) << name;
    }
}

TEST(StcFolder, RunsFromAnywhereAndSaysThatThereIsNoGpu) {
    SKIP_WITHOUT_FOLDER();
    if (gpu_is_here()) GTEST_SKIP() << "there is a GPU here";
    const testing::TemporaryFolder elsewhere;
    expect_one_skipping_line(run("cd " + quoted(elsewhere.path()) + " && " + quoted(folder / "measure.sh")));
    // The program itself, as on a machine with device files and no driver.
    expect_one_skipping_line(run(quoted(folder / "measure_stc") + " --plan " + quoted(folder / "plan.json") +
                                 " --out " + quoted(elsewhere / "results")));
    EXPECT_FALSE(fs::exists(elsewhere / "results"));
    EXPECT_EQ(testing::slurp(folder / "plan.json"), testing::slurp(sources / "stc_plan.json"));
}

TEST(StcFolder, TheProgramRefusesBadRequests) {
    SKIP_WITHOUT_FOLDER();
    const testing::TemporaryFolder out;
    testing::save(out / "bad.json", "{\"format\": 1}");
    const std::string with_out = " --out " + quoted(out / "results") + " --plan ";
    for (const std::string& options :
         {std::string(""), std::string(" --no-such"), std::string(" --plan"), with_out + "/no/such/file",
          with_out + quoted(out / "bad.json"), with_out + quoted(folder / "plan.json") + " --rounds 1",
          with_out + quoted(folder / "plan.json") + " --seconds nan"}) {
        const Ran ran = run(quoted(folder / "measure_stc") + options);
        EXPECT_EQ(ran.code, 2) << options << ": " << ran.text;
        EXPECT_TRUE(ran.text.starts_with("measure_stc: error: ")) << ran.text;
        EXPECT_EQ(std::count(ran.text.begin(), ran.text.end(), '\n'), 1) << ran.text;
    }
}

/// What `readelf -d` says of a tag.
std::set<std::string> tagged(const std::string& dynamic, const std::string& tag) {
    std::set<std::string> found;
    std::istringstream lines(dynamic);
    const std::regex value("\\(" + tag + "\\).*\\[(.*)\\]");
    for (std::string line; std::getline(lines, line);) {
        std::smatch match;
        if (std::regex_search(line, match, value)) found.insert(match[1]);
    }
    return found;
}

TEST(StcFolder, NeedsNothingButTheCLibraryAndItself) {
    SKIP_WITHOUT_FOLDER();
    if (run("readelf --version").code != 0) GTEST_SKIP() << "no readelf here";
    const std::set<std::string> system = {"libc.so.6",           "libm.so.6",     "libdl.so.2",
                                          "librt.so.1",          "libgcc_s.so.1", "libpthread.so.0",
                                          "ld-linux-x86-64.so.2"};
    std::vector<std::string> files = {"measure_stc"};
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
        EXPECT_FALSE(entry.is_symlink()) << entry.path();
        if (entry.path().filename().string().find(".so") != std::string::npos)
            files.push_back(entry.path().filename());
    }
    EXPECT_GE(files.size(), 2U);  // cuBLASLt at least
    for (const std::string& file : files) {
        const Ran dynamic = run("readelf -d " + quoted(folder / file));
        ASSERT_EQ(dynamic.code, 0) << dynamic.text;
        bool beside = false;
        for (const std::string& needed : tagged(dynamic.text, "NEEDED")) {
            if (system.contains(needed)) continue;
            EXPECT_TRUE(fs::exists(folder / needed)) << file << " needs " << needed;
            beside = true;
        }
        const std::set<std::string> path = tagged(dynamic.text, "RUNPATH");
        EXPECT_TRUE(!beside || path == std::set<std::string>{"$ORIGIN"}) << file;
    }
}

/// One kernel for one architecture, as the compiler reports it.
struct Kernel {
    std::string name, architecture;
    int registers = 0, shared = 0, spilled = -1;
};

std::vector<Kernel> kernels() {
    std::vector<Kernel> found;
    std::istringstream lines(testing::slurp(folder / "ptxas.log"));
    const std::regex entry("Compiling entry function '(.*)' for '(.*)'"),
        spill("(\\d+) bytes spill stores, (\\d+) bytes spill loads"), used("Used (\\d+) registers"),
        shared("(\\d+) bytes smem");
    for (std::string line; std::getline(lines, line);) {
        std::smatch match;
        if (std::regex_search(line, match, entry)) found.push_back({match[1], match[2]});
        if (found.empty()) continue;
        if (std::regex_search(line, match, spill))
            found.back().spilled = std::stoi(match[1]) + std::stoi(match[2]);
        if (std::regex_search(line, match, used)) found.back().registers = std::stoi(match[1]);
        if (std::regex_search(line, match, shared)) found.back().shared = std::stoi(match[1]);
    }
    return found;
}

/// Blocks that one multiprocessor holds, by CUDA's occupancy rules: registers go to warps in units of 256,
/// each block costs 1 KB of shared memory more.
int blocks_on_a_multiprocessor(const Kernel& kernel, int threads_of_block, int dynamic_shared) {
    const int shared_of_all = kernel.architecture == "sm_80" ? 164 * 1024 : 228 * 1024;
    const int warps = threads_of_block / 32;
    const int registers_of_warp = (kernel.registers * 32 + 255) / 256 * 256;
    const int by_registers = 65536 / registers_of_warp / 4 * 4 / warps;
    const int by_shared = shared_of_all / (kernel.shared + dynamic_shared + 1024);
    return std::min({by_registers, by_shared, 2048 / threads_of_block});
}

TEST(StcFolder, KernelsSpillNothingAndFillTheMultiprocessors) {
    SKIP_WITHOUT_FOLDER();
    std::map<std::string, int> seen;
    for (const Kernel& kernel : kernels()) {
        EXPECT_EQ(kernel.spilled, 0) << kernel.name << " for " << kernel.architecture;
        EXPECT_GT(kernel.registers, 0) << kernel.name;
        ++seen[kernel.architecture];
        if (kernel.name.find("mma_sp_kernel") != std::string::npos) {
            const bool wide = kernel.name.find("BlockILi128E") != std::string::npos;
            ASSERT_TRUE(wide || kernel.name.find("BlockILi64E") != std::string::npos) << kernel.name;
            const int blocks = blocks_on_a_multiprocessor(
                kernel, threads, wide ? WideBlock::shared_bytes : NarrowBlock::shared_bytes);
            // The narrow block's buffers fill more than half of sm_80's shared memory.
            EXPECT_GE(blocks, wide || kernel.architecture == "sm_90" ? 2 : 1)
                << kernel.name << " for " << kernel.architecture << ": " << kernel.registers << " registers";
            ++seen["mma_sp " + kernel.architecture];
        } else if (kernel.name.find("select_kernel") != std::string::npos) {
            EXPECT_GE(blocks_on_a_multiprocessor(kernel, select_threads, 0) * select_threads, 1024);
            ++seen["select " + kernel.architecture];
        }
    }
    // Two types, two blocks; code for both architectures.
    for (const std::string architecture : {"sm_80", "sm_90"}) {
        EXPECT_EQ(seen["mma_sp " + architecture], 4);
        EXPECT_EQ(seen["select " + architecture], 2);
    }
    EXPECT_EQ(seen["sm_80"], seen["sm_90"]);
}

}  // namespace
}  // namespace enmesh::cuda
