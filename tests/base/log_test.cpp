#include "enmesh/base/log.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace enmesh {
namespace {

TEST(Log, NobodyHearsWithoutACallback) {
    testing::internal::CaptureStderr();
    note("lost");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Log, TheCallbackGetsEachMessageOnce) {
    std::vector<std::string> heard;
    set_log_callback([&](LogLevel level, std::string_view text) {
        heard.push_back((level == LogLevel::note ? "note " : "dispatch ") + std::string(text));
    });
    note("{} of {}", 1, 2);
    log_message(LogLevel::dispatch, "a kernel");
    set_log_callback({});
    note("after it");
    EXPECT_EQ(heard, (std::vector<std::string>{"note 1 of 2", "dispatch a kernel"}));
}

TEST(Log, ThreadsComeOneAfterTheOther) {
    int64_t heard = 0;
    set_log_callback([&](LogLevel, std::string_view) { ++heard; });
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread)
        threads.emplace_back([] {
            for (int i = 0; i < 500; ++i) note("{}", i);
        });
    for (std::thread& thread : threads) thread.join();
    set_log_callback({});
    EXPECT_EQ(heard, 2000);
}

}  // namespace
}  // namespace enmesh
