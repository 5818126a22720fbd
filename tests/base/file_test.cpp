#include "enmesh/base/file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/writable.hpp"

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

    // As behind /dev/stdout: a link that leads nowhere as text.
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe(ends.data()), 0);
    const std::string link = fmt::format("/proc/self/fd/{}", ends[1]);
    require_writable_file(link);
    write_file(link, "through");
    std::array<char, 7> text{};
    EXPECT_EQ(::read(ends[0], text.data(), text.size()), 7);
    EXPECT_EQ(std::string(text.begin(), text.end()), "through");
    ::close(ends[0]);
    ::close(ends[1]);
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

/// Acts as a user without rights for a while, where this one has all of them.
class WithoutRights {
  public:
    WithoutRights() : taken_(::geteuid() == 0 && ::seteuid(65534) == 0) {}
    ~WithoutRights() {
        if (taken_ && ::seteuid(0) != 0) std::abort();
    }
    bool holds() const { return ::geteuid() != 0; }

  private:
    bool taken_;
};

TEST_F(Files, ImpossiblePlacesAreWrongRequests) {
    const auto refused = [](const auto& check, const fs::path& path) {
        try {
            check(path);
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::request) << error.what();
            return std::string(error.what());
        }
        ADD_FAILURE() << path << " is taken";
        return std::string();
    };
    write_file(folder_ / "file", "x");
    fs::create_symlink(folder_ / "missing", folder_ / "dangling");
    fs::create_directory(folder_ / "closed");
    fs::permissions(folder_ / "closed", fs::perms(0555));
    const WithoutRights rights;
    for (const auto& check : {require_writable_directory, make_writable_directory}) {
        EXPECT_NE(refused(check, folder_ / "file").find("is not a directory"), std::string::npos);
        EXPECT_NE(refused(check, folder_ / "file/below").find("is not a directory"), std::string::npos);
        EXPECT_NE(refused(check, folder_ / "dangling").find("is a link to what"), std::string::npos);
        EXPECT_NE(refused(check, folder_ / "dangling/a").find("is a link to what"), std::string::npos);
        refused(check, "/proc/enmesh-none");
        if (!rights.holds()) continue;
        EXPECT_NE(refused(check, folder_ / "closed").find("Permission denied"), std::string::npos);
        EXPECT_NE(refused(check, folder_ / "closed/a/b").find("Permission denied"), std::string::npos);
    }
    EXPECT_NE(refused(require_writable_file, folder_).find("is a folder"), std::string::npos);
    EXPECT_NE(refused(require_writable_file, folder_ / "none/a").find("is no folder"), std::string::npos);
    refused(require_writable_file, "/proc/enmesh-none");
    if (rights.holds()) refused(require_writable_file, folder_ / "closed/a");
}

TEST_F(Files, CheckingAPlaceLeavesNothingBehind) {
    fs::create_symlink(folder_ / "missing", folder_ / "dangling");
    require_writable_directory(folder_ / "a/b/c");
    require_writable_directory(folder_);
    require_writable_file(folder_ / "file");
    require_writable_file(folder_ / "dangling");
    require_writable_file("/dev/null");
    EXPECT_EQ(entries(), 1U);
    make_writable_directory(folder_ / "a/b/c");
    EXPECT_TRUE(fs::is_directory(folder_ / "a/b/c"));
}

TEST_F(Files, ThreadsThatWriteTheSameFileEachWriteAWholeOne) {
    const std::string target = folder_ / "a";
    constexpr int writers = 4, rounds = 25;
    std::atomic<int> failures{0};
    std::vector<std::thread> threads;
    for (int writer = 0; writer < writers; ++writer) {
        threads.emplace_back([&, writer] {
            const std::string text(100000, static_cast<char>('a' + writer));
            for (int round = 0; round < rounds; ++round) {
                try {
                    AtomicFile file(target);
                    for (size_t at = 0; at < text.size(); at += 1000) file.write(text.data() + at, 1000);
                    file.commit();
                } catch (const Error&) {
                    ++failures;
                }
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(failures, 0);
    const std::string text = read_file(target);
    EXPECT_EQ(text, std::string(100000, text[0]));
    EXPECT_EQ(entries(), 1U);
}

mode_t mode_of(const fs::path& file) {
    struct stat status {};
    EXPECT_EQ(::stat(file.c_str(), &status), 0);
    return status.st_mode & 07777;
}

TEST_F(Files, ANewFileHasTheModeOfTheUmask) {
    const mode_t before = ::umask(002);
    write_file(folder_ / "group", "x");
    ::umask(077);
    write_file(folder_ / "own", "x");
    ::umask(before);
    EXPECT_EQ(mode_of(folder_ / "group"), 0664U);
    EXPECT_EQ(mode_of(folder_ / "own"), 0600U);
}

TEST_F(Files, AReplacedFileKeepsItsMode) {
    write_file(folder_ / "a", "secret");
    for (const mode_t mode : {0600U, 0640U, 0664U}) {
        ASSERT_EQ(::chmod((folder_ / "a").c_str(), mode), 0);
        write_file(folder_ / "a", "more secret");
        EXPECT_EQ(mode_of(folder_ / "a"), mode);
    }
}

TEST_F(Files, TheLongestNameThatAFileCanHaveIsWritten) {
    const std::string longest(255, 'n');
    write_file(folder_ / longest, "x");
    EXPECT_EQ(read_file(folder_ / longest), "x");
    EXPECT_EQ(entries(), 1U);
}

}  // namespace
}  // namespace enmesh
