#include "enmesh/report/event_file.hpp"

#include <google/protobuf/unknown_field_set.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "enmesh/base/error.hpp"
#include "support/folder.hpp"

namespace enmesh::report {
namespace {

using testing::save;
using testing::slurp;
using testing::TemporaryFolder;

TEST(Crc32c, KnownAnswers) {
    // RFC 3720, appendix B.4, and the check value of the CRC catalogue.
    std::string rising, falling;
    for (int i = 0; i < 32; ++i) {
        rising += static_cast<char>(i);
        falling += static_cast<char>(31 - i);
    }
    EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
    EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
    EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
    EXPECT_EQ(crc32c(rising), 0x46dd794eU);
    EXPECT_EQ(crc32c(falling), 0x113fdb5cU);
    EXPECT_EQ(crc32c(""), 0U);
    EXPECT_EQ(masked_crc32c(""), 0xa282ead8U);
    // ((crc >> 15) | (crc << 17)) + 0xa282ead8 by hand.
    EXPECT_EQ(masked_crc32c("123456789"), 0xc78ab0e5U);
}

/// The records of a TFRecord file, by its description: length, checksum, data, checksum.
std::vector<std::string> records_of(const std::string& bytes) {
    std::vector<std::string> records;
    for (size_t at = 0; at < bytes.size();) {
        uint64_t length = 0;
        uint32_t length_sum = 0, data_sum = 0;
        std::memcpy(&length, &bytes[at], 8);
        std::memcpy(&length_sum, &bytes[at + 8], 4);
        EXPECT_EQ(length_sum, masked_crc32c(bytes.substr(at, 8)));
        records.push_back(bytes.substr(at + 12, length));
        std::memcpy(&data_sum, &bytes[at + 12 + length], 4);
        EXPECT_EQ(data_sum, masked_crc32c(records.back()));
        at += 16 + length;
    }
    return records;
}

std::unique_ptr<google::protobuf::UnknownFieldSet> fields_of(const std::string& bytes) {
    auto fields = std::make_unique<google::protobuf::UnknownFieldSet>();
    EXPECT_TRUE(fields->ParseFromString(bytes));
    return fields;
}

TEST(EventFile, ProtobufReadsItBack) {
    TemporaryFolder folder;
    EventFile(folder.path()).scalar("train/loss", 300, 1.5F, 1700000000.25);
    const auto records = records_of(slurp(folder / EventFile::name));
    ASSERT_EQ(records.size(), 2U);
    const auto version = fields_of(records[0]);
    ASSERT_EQ(version->field_count(), 3);
    EXPECT_EQ(version->field(2).number(), 3);
    EXPECT_EQ(version->field(2).length_delimited(), "brain.Event:2");

    const auto event = fields_of(records[1]);
    ASSERT_EQ(event->field_count(), 3);
    EXPECT_EQ(event->field(0).number(), 1);
    EXPECT_EQ(std::bit_cast<double>(event->field(0).fixed64()), 1700000000.25);
    EXPECT_EQ(event->field(1).number(), 2);
    EXPECT_EQ(event->field(1).varint(), 300U);
    EXPECT_EQ(event->field(2).number(), 5);
    const auto summary = fields_of(event->field(2).length_delimited());
    ASSERT_EQ(summary->field_count(), 1);
    EXPECT_EQ(summary->field(0).number(), 1);
    const auto value = fields_of(summary->field(0).length_delimited());
    ASSERT_EQ(value->field_count(), 2);
    EXPECT_EQ(value->field(0).number(), 1);
    EXPECT_EQ(value->field(0).length_delimited(), "train/loss");
    EXPECT_EQ(value->field(1).number(), 2);
    EXPECT_EQ(std::bit_cast<float>(value->field(1).fixed32()), 1.5F);
}

TEST(EventFile, WeReadItBack) {
    TemporaryFolder folder;
    EventFile file(folder.path());
    const std::string long_tag(300, 't');
    file.scalar("loss", 0, -0.0F, 1.5);
    file.scalar(long_tag, int64_t{1} << 40, std::numeric_limits<float>::quiet_NaN(), 2.5);
    file.scalar("accuracy", 7, 0.25F);
    const std::vector<Scalar> points = read_event_file(folder / EventFile::name);
    ASSERT_EQ(points.size(), 3U);
    EXPECT_EQ(points[0].tag, "loss");
    EXPECT_TRUE(std::signbit(points[0].value));
    EXPECT_EQ(points[0].wall_time, 1.5);
    EXPECT_EQ(points[1].tag, long_tag);
    EXPECT_EQ(points[1].step, int64_t{1} << 40);
    EXPECT_TRUE(std::isnan(points[1].value));
    EXPECT_EQ(points[2].value, 0.25F);
    EXPECT_GT(points[2].wall_time, 1.6e9);
}

TEST(EventFile, ResumesAtAStep) {
    TemporaryFolder folder;
    const auto path = folder / EventFile::name;
    {
        EventFile file(folder.path());
        for (int64_t step = 1; step <= 6; ++step) file.scalar("loss", step, static_cast<float>(step), 1.0);
    }
    const std::string whole = slurp(path);
    save(path, whole.substr(0, whole.size() - 3));  // killed while writing step 6
    EXPECT_EQ(read_event_file(path).size(), 5U);
    EventFile(folder.path(), 4).scalar("loss", 5, 50.0F, 1.0);
    const std::vector<Scalar> points = read_event_file(path);
    ASSERT_EQ(points.size(), 5U);
    EXPECT_EQ(points[3].value, 4.0F);
    EXPECT_EQ(points[4].value, 50.0F);
    EventFile(folder.path(), 0);
    EXPECT_EQ(read_event_file(path).size(), 0U);
    EXPECT_EQ(records_of(slurp(path)).size(), 1U);
    EventFile{folder.path()};
    EXPECT_EQ(records_of(slurp(path)).size(), 1U);
    save(path, "");
    EventFile(folder.path(), 3);
    EXPECT_EQ(records_of(slurp(path)).size(), 1U);
}

TEST(EventFile, DamageIsRefused) {
    TemporaryFolder folder;
    const auto path = folder / EventFile::name;
    EventFile(folder.path()).scalar("loss", 1, 1.0F, 1.0);
    const std::string good = slurp(path);
    for (size_t at = 0; at < good.size(); ++at) {
        std::string bad = good;
        bad[at] = static_cast<char>(bad[at] ^ 0x10);
        save(path, bad);
        EXPECT_THROW(read_event_file(path), Error) << at;
    }
    EXPECT_THROW(EventFile(folder / "missing"), Error);
}

}  // namespace
}  // namespace enmesh::report
