#include "enmesh/base/isa.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "base/isa_features.hpp"
#include "enmesh/base/fnv.hpp"

namespace enmesh {
namespace {

#define ENMESH_NAME(feature) #feature,
const std::set<std::string> avx2{ENMESH_AVX2_FEATURES(ENMESH_NAME)};
const std::set<std::string> avx512{ENMESH_AVX512_FEATURES(ENMESH_NAME)};
#undef ENMESH_NAME

/// The -mFEATURE flags of a line of compile_commands.json, without those that name no feature.
std::set<std::string> features_of(const std::string& command) {
    std::set<std::string> features;
    std::istringstream words(command);
    for (std::string word; words >> word;) {
        if (word.starts_with("-m") && word.find('=') == std::string::npos) features.insert(word.substr(2));
    }
    return features;
}

/// What a file is compiled for must be what hardware_isa() has found before anything calls into it.
TEST(Isa, EveryFeatureThatAFileIsCompiledForIsAskedOfTheProcessor) {
    std::ifstream commands(ENMESH_COMPILE_COMMANDS);
    ASSERT_TRUE(commands) << ENMESH_COMPILE_COMMANDS;
    int files = 0;
    for (std::string line; std::getline(commands, line);) {
        if (line.find("\"command\"") == std::string::npos) continue;
        if (line.find("/src/") == std::string::npos) continue;
        std::set<std::string> features = features_of(line);
        if (features.empty()) continue;
        ++files;
        const bool wide = line.find("avx512") != std::string::npos && features.contains("avx512f");
        // This one has a check of its own, has_avx512_bf16().
        if (line.find("_bf16.cpp") != std::string::npos) features.erase("avx512bf16");
        for (const std::string& feature : features)
            EXPECT_TRUE((wide ? avx512 : avx2).contains(feature)) << feature << " in " << line;
    }
#if defined(__x86_64__)
    EXPECT_GE(files, 8);
#endif
    for (const char* const feature : {"fma", "f16c"}) EXPECT_TRUE(avx512.contains(feature));
}

TEST(Isa, HasWhatItIsMadeOf) {
#if defined(__x86_64__)
    if (hardware_isa() == Isa::portable) GTEST_SKIP() << "no AVX2 here";
    EXPECT_TRUE(__builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0);
    std::ifstream cpuinfo("/proc/cpuinfo");
    std::string line;
    while (std::getline(cpuinfo, line) && !line.starts_with("flags")) {
    }
    EXPECT_NE((line + " ").find(" f16c "), std::string::npos) << line;
#endif
}

TEST(Fnv, GivesThePublishedValues) {
    EXPECT_EQ(fnv1a(""), 0xcbf29ce484222325ULL);
    EXPECT_EQ(fnv1a("a"), 0xaf63dc4c8601ec8cULL);
    EXPECT_EQ(fnv1a("foobar"), 0x85944171f73967e8ULL);
    EXPECT_EQ(fnv1a("bar", fnv1a("foo")), fnv1a("foobar"));
}

}  // namespace
}  // namespace enmesh
