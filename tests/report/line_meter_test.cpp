#include "enmesh/report/line_meter.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace enmesh::report {
namespace {

struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, Close>;

std::string written(const File& file) {
    std::rewind(file.get());
    std::string text(1000, '\0');
    text.resize(std::fread(text.data(), 1, text.size(), file.get()));
    return text;
}

TEST(LineMeter, ATerminalsLineIsRewrittenAndRemoved) {
    const File file(std::tmpfile());
    {
        LineMeter meter(file.get(), true);
        meter.show("1 of 2");
        meter.show("2 of 2");
    }
    EXPECT_EQ(written(file), "\r\033[K1 of 2\r\033[K2 of 2\r\033[K");
}

TEST(LineMeter, ElsewhereLinesAreRareAndPlain) {
    const File file(std::tmpfile());
    {
        LineMeter seldom(file.get(), false, 1e9);
        EXPECT_FALSE(seldom.due());
        seldom.show("never");
        LineMeter always(file.get(), false, 0);
        EXPECT_TRUE(always.due());
        always.show("1 of 2");
        always.show("2 of 2");
    }
    EXPECT_EQ(written(file), "1 of 2\n2 of 2\n");
}

}  // namespace
}  // namespace enmesh::report
