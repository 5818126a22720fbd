#include "enmesh/report/metrics_file.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <limits>

#include "enmesh/base/error.hpp"
#include "support/folder.hpp"

namespace enmesh::report {
namespace {

using testing::save;
using testing::slurp;
using testing::TemporaryFolder;

EpochMetrics epoch(int64_t number) {
    return {.epoch = number,
            .step = number * 10,
            .train_loss = 1.0 / static_cast<double>(number),
            .test_accuracy = 0.5,
            .seconds = 2,
            .images_per_second = 640,
            .more = {}};
}

TEST(MetricsFile, LinesAreThereAtOnce) {
    TemporaryFolder folder;
    MetricsFile file(folder / "metrics.jsonl");
    file.append(epoch(1));
    EXPECT_EQ(slurp(folder / "metrics.jsonl"),
              "{\"epoch\":1,\"step\":10,\"train_loss\":1.0,\"test_accuracy\":0.5,\"seconds\":2.0,"
              "\"images_per_second\":640.0}\n");
    EpochMetrics second = epoch(2);
    second.train_loss = std::numeric_limits<double>::infinity();
    second.more = {{"learning_rate", 0.1}};
    file.append(second);
    const std::string text = slurp(folder / "metrics.jsonl");
    EXPECT_NE(text.find("\"train_loss\":null"), std::string::npos) << text;
    EXPECT_NE(text.find(",\"learning_rate\":0.1}\n"), std::string::npos) << text;
}

TEST(MetricsFile, ResumingCutsBack) {
    TemporaryFolder folder;
    const auto path = folder / "metrics.jsonl";
    std::string four;
    {
        MetricsFile file(path);
        for (int64_t number = 1; number <= 6; ++number) {
            file.append(epoch(number));
            if (number == 4) four = slurp(path);
        }
    }
    const std::string six = slurp(path);
    { MetricsFile file(path, 60); }
    EXPECT_EQ(slurp(path), six);
    {
        MetricsFile file(path, 45);
        EXPECT_EQ(slurp(path), four);
        file.append(epoch(5));
        file.append(epoch(6));
    }
    EXPECT_EQ(slurp(path), six);
    save(path, six.substr(0, six.size() - 20));  // killed while writing the last line
    {
        MetricsFile file(path, 100);
        file.append(epoch(6));
    }
    EXPECT_EQ(slurp(path), six);
    save(path, four + "not JSON\n" + six);
    { MetricsFile file(path, 100); }
    EXPECT_EQ(slurp(path), four);
    { MetricsFile file(path); }
    EXPECT_EQ(slurp(path), "");
    std::filesystem::remove(path);
    { MetricsFile file(path, 100); }
    EXPECT_EQ(slurp(path), "");
    EXPECT_THROW(MetricsFile(folder / "missing" / "metrics.jsonl"), Error);
}

TEST(AppendFile, AFullDiskTakesNothingHalf) {
    TemporaryFolder folder;
    const auto path = folder / "file";
    AppendFile file(path, 0);
    file.append("one record\n");
    // A limit on the size of files stands in for a full disk.
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const rlimit small{15, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    bool failed = false;
    try {
        file.append("another record\n");
    } catch (const Error& error) {
        failed = error.kind() == ErrorKind::failure;
    }
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, SIG_DFL);
    EXPECT_TRUE(failed);
    EXPECT_EQ(slurp(path), "one record\n");
    file.append("a third\n");
    EXPECT_EQ(slurp(path), "one record\na third\n");
}

}  // namespace
}  // namespace enmesh::report
