#include "enmesh/base/file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
  protected:
    Files() : folder_(fs::temp_directory_path() / fmt::format("enmesh-files-{}", ::getpid())) {
        fs::create_directories(folder_);
    }
    ~Files() override { fs::remove_all(folder_); }
    size_t entries() const { return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {})); }

    fs::path folder_;
};

TEST_F(Files, AppearWholeOrNotAtAll) {
    write_file(folder_ / "a", "old");
    {
        AtomicFile file(folder_ / "a");
        file.write("half");
    }
    EXPECT_EQ(read_file(folder_ / "a"), "old");
    EXPECT_EQ(entries(), 1U);
    write_file(folder_ / "a", "new");
    EXPECT_EQ(read_file(folder_ / "a"), "new");
    EXPECT_EQ(entries(), 1U);
}

TEST_F(Files, LinksAreFollowed) {
    write_file(folder_ / "target", "old");
    fs::create_symlink("target", folder_ / "link");
    fs::create_symlink(folder_ / "missing", folder_ / "dangling");
    write_file(folder_ / "link", "new");
    write_file(folder_ / "dangling", "made");
    EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
    EXPECT_EQ(read_file(folder_ / "target"), "new");
    EXPECT_TRUE(fs::is_symlink(folder_ / "dangling"));
    EXPECT_EQ(read_file(folder_ / "missing"), "made");
}

TEST_F(Files, PipesAreWrittenTo) {
    const fs::path pipe = folder_ / "pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    std::string got;
    std::thread reader([&] { std::getline(std::ifstream(pipe), got); });
    write_file(pipe, "through\n");
    reader.join();
    EXPECT_EQ(got, "through");
    EXPECT_TRUE(fs::is_fifo(pipe));
    EXPECT_EQ(entries(), 1U);
}

TEST_F(Files, PipesAreReadToTheirEnd) {
    const fs::path pipe = folder_ / "pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    const std::string text(200000, 'x');
    const auto sent = [&](size_t most) {
        std::thread writer([&] { std::ofstream(pipe) << text; });
        std::string got;
        try {
            got = read_file(pipe, most);
        } catch (const Error& error) {
            got = error.what();
        }
        writer.join();
        return got;
    };
    EXPECT_EQ(sent(text.size()), text);
    EXPECT_EQ(sent(text.size() - 1), pipe.string() + ": more than the 199999 bytes that can be read here");
    EXPECT_EQ(read_file("/dev/null"), "");
    EXPECT_THROW(read_file("/dev/zero", 100000), Error);
}

}  // namespace
}  // namespace enmesh
