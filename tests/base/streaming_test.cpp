#include "enmesh/base/streaming.hpp"

#include <gtest/gtest.h>

#include "support/folder.hpp"
#include "support/streaming_scope.hpp"

namespace enmesh {
namespace {

using testing::save;
using testing::StreamingScope;
using testing::TemporaryFolder;

void save_cache(const TemporaryFolder& folder, const std::string& name, const std::string& level,
                const std::string& type, const std::string& size) {
    save(folder / name / "level", level + "\n");
    save(folder / name / "type", type + "\n");
    save(folder / name / "size", size + "\n");
}

TEST(Streaming, TheLastLevelIsTheLargestNumber) {
    const TemporaryFolder folder;
    save_cache(folder, "index0", "3", "Unified", "307200K");
    save_cache(folder, "index1", "1", "Data", "48K");
    save_cache(folder, "index2", "2", "Unified", "2048K");
    save_cache(folder, "index3", "4", "Instruction", "1024M");
    save(folder / "uevent", "");
    EXPECT_EQ(last_level_cache_bytes(folder.path()), int64_t{307200} << 10);
    save_cache(folder, "index4", "4", "Unified", "64M");
    EXPECT_EQ(last_level_cache_bytes(folder.path()), int64_t{64} << 20);
    save_cache(folder, "index4", "4", "Unified", "65536");
    EXPECT_EQ(last_level_cache_bytes(folder.path()), 65536);
}

TEST(Streaming, SizesThatMeanNothingAreNotTaken) {
    const TemporaryFolder folder;
    EXPECT_EQ(last_level_cache_bytes(folder / "missing"), 0);
    EXPECT_EQ(last_level_cache_bytes(folder.path()), 0);
    for (const char* const size : {"", "K", "-1K", "48KB", "lots", "0K", "99999999999999999999K"}) {
        save_cache(folder, "index0", "1", "Data", size);
        EXPECT_EQ(last_level_cache_bytes(folder.path()), 0) << size;
    }
    for (const char* const level : {"", "0", "x", "12"}) {
        save_cache(folder, "index0", level, "Data", "48K");
        EXPECT_EQ(last_level_cache_bytes(folder.path()), 0) << level;
    }
}

TEST(Streaming, HalfTheCacheAndAtMostSixteenMebibytes) {
    constexpr int64_t mebibyte = int64_t{1} << 20;
    EXPECT_EQ(streaming_bytes(8 * mebibyte), 4 * mebibyte);
    EXPECT_EQ(streaming_bytes(32 * mebibyte), 16 * mebibyte);
    EXPECT_EQ(streaming_bytes(300 * mebibyte), 16 * mebibyte);
}

TEST(Streaming, LargeMapsStreamUnlessTold) {
    ASSERT_GT(last_level_cache_bytes(), 0);
    const int64_t least = streaming_bytes(last_level_cache_bytes());
    {
        const StreamingScope scope(Streaming::by_size);
        EXPECT_FALSE(streams(0));
        EXPECT_FALSE(streams(least - 1));
        EXPECT_TRUE(streams(least));
        EXPECT_TRUE(streams(4 * least));
    }
    {
        const StreamingScope scope(Streaming::always);
        EXPECT_TRUE(streams(0));
    }
    const StreamingScope scope(Streaming::never);
    EXPECT_FALSE(streams(4 * least));
}

TEST(Streaming, LinesAreSixtyFourBytes) {
    alignas(64) const std::byte line[128] = {};
    EXPECT_TRUE(line_aligned(line));
    EXPECT_TRUE(line_aligned(line + 64));
    for (const int at : {1, 4, 32, 63}) EXPECT_FALSE(line_aligned(line + at)) << at;
}

}  // namespace
}  // namespace enmesh
