#include "enmesh/report/progress_bar.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>

namespace enmesh::report {
namespace {

/// What a bar writes, with a clock of our own.
class Bar : public ::testing::Test {
  protected:
    ProgressOptions options(bool terminal) {
        return {.epochs = 4,
                .steps_per_epoch = 100,
                .images_per_step = 32,
                .first_step = 0,
                .stream = stream_.get(),
                .terminal = terminal,
                .columns = 100,
                .redraw_seconds = 0.1,
                .plain_seconds = 30,
                .clock = [this] { return now; }};
    }
    std::string written() {
        std::rewind(stream_.get());
        std::string text(100000, '\0');
        text.resize(std::fread(text.data(), 1, text.size(), stream_.get()));
        return text;
    }
    double now = 1000;

  private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    std::unique_ptr<std::FILE, Close> stream_{std::tmpfile()};
};

TEST_F(Bar, RewritesOneLineOnATerminal) {
    {
        ProgressBar bar(options(true));
        now += 5;
        bar.update(50, 1.25);
        now += 0.05;
        bar.update(51, 1.2);  // too soon
        now += 4.95;
        bar.update(100, 0.5);
    }
    EXPECT_EQ(written(),
              "\repoch 1/4 [==========>         ] 50/100  loss 1.2500  320 images/s  ETA 0:35\x1b[K"
              "\repoch 1/4 [====================] 100/100  loss 0.5000  320 images/s  ETA 0:30\x1b[K"
              "\r\x1b[K");
}

TEST_F(Bar, IsCutToTheTerminal) {
    ProgressOptions narrow = options(true);
    narrow.columns = 20;
    ProgressBar bar(narrow);
    now += 1;
    bar.update(101, 1);
    EXPECT_EQ(written(), "\repoch 2/4 [>       \x1b[K");
}

TEST_F(Bar, WritesPlainLinesElsewhere) {
    {
        ProgressBar bar(options(false));
        for (int step = 1; step <= 140; ++step) {
            now += 0.5;
            bar.update(step, 2.0 / step);
        }
        bar.message("epoch 1: accuracy 0.9");
    }
    EXPECT_EQ(written(),
              "epoch 1/4 60/100  loss 0.0333  64 images/s  ETA 2:50\n"
              "epoch 2/4 20/100  loss 0.0167  64 images/s  ETA 2:20\n"
              "epoch 1: accuracy 0.9\n");
}

TEST_F(Bar, AMessageStandsAboveTheBar) {
    ProgressBar bar(options(true));
    now += 1;
    bar.update(1, 1);
    bar.message("saved");
    now += 1;
    bar.update(2, 1);
    const std::string text = written();
    EXPECT_NE(text.find("\x1b[K\r\x1b[Ksaved\n\repoch 1/4"), std::string::npos) << text;
}

TEST_F(Bar, AResumedRunMeasuresItsOwnSpeed) {
    ProgressOptions resumed = options(false);
    resumed.first_step = 200;
    resumed.plain_seconds = 1;
    ProgressBar bar(resumed);
    now += 10;
    bar.update(210, std::numeric_limits<double>::quiet_NaN());
    EXPECT_EQ(written(), "epoch 3/4 10/100  loss nan  32 images/s  ETA 3:10\n");
}

TEST(Duration, Texts) {
    EXPECT_EQ(format_duration(0), "0:00");
    EXPECT_EQ(format_duration(59.6), "1:00");
    EXPECT_EQ(format_duration(3723), "1:02:03");
    EXPECT_EQ(format_duration(2 * 86400 + 3 * 3600 + 4 * 60 + 5), "2d 03:04:05");
    EXPECT_EQ(format_duration(-1), "?");
    EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "?");
    EXPECT_EQ(format_duration(std::nan("")), "?");
}

TEST(Terminal, AFileIsNone) {
    std::FILE* file = std::tmpfile();
    EXPECT_FALSE(is_terminal(file));
    std::fclose(file);
}

}  // namespace
}  // namespace enmesh::report
