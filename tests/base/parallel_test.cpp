#include "enmesh/base/parallel.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <stdexcept>
#include <string>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

/// The number of threads for the length of a test.
class Threads {
  public:
    explicit Threads(int count) : before_(threads()) { set_threads(count); }
    ~Threads() { set_threads(before_); }
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

  private:
    int before_;
};

TEST(Parallel, AnExceptionReachesTheCallerAndTheOthersFinish) {
    const Threads four(4);
    for (const int thrower : {0, 3}) {
        std::atomic<int> finished{0};
        try {
            parallel_team([&](int thread, int) {
                if (thread == thrower) refuse("thread {} cannot", thread);
                ++finished;
            });
            ADD_FAILURE() << "nothing was thrown";
        } catch (const Error& error) {
            EXPECT_EQ(std::string(error.what()), "thread " + std::to_string(thrower) + " cannot");
            EXPECT_EQ(error.kind(), ErrorKind::request);
        }
        EXPECT_EQ(finished, 3);
    }
}

TEST(Parallel, OfSeveralExceptionsTheFirstThreadsGoesOn) {
    const Threads four(4);
    for (int round = 0; round < 50; ++round) {
        try {
            parallel_team([](int thread, int) {
                if (thread > 0) throw std::runtime_error(std::to_string(thread));
            });
            ADD_FAILURE() << "nothing was thrown";
        } catch (const std::runtime_error& error) {
            EXPECT_STREQ(error.what(), "1");
        }
    }
}

TEST(Parallel, SharesThrowToo) {
    for (const int count : {1, 4}) {
        const Threads some(count);
        const auto body = [](int64_t begin, int64_t end) {
            if (begin <= 70 && 70 < end) throw std::bad_alloc();
        };
        EXPECT_THROW(parallel_for(100, 1, body), std::bad_alloc);
        // And the next region runs as if nothing had been.
        std::array<int, 100> seen{};
        parallel_for(100, 1, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        for (const int times : seen) EXPECT_EQ(times, 1);
    }
}

}  // namespace
}  // namespace enmesh
