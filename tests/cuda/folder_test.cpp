#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
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
          std::string(" --build x --check"), " --build " + quoted(other.path())}) {
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
