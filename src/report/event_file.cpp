#include "enmesh/report/event_file.hpp"

#include <array>
#include <bit>
#include <chrono>
#include <cstring>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::report {
namespace {

constexpr std::array<uint32_t, 256> crc_table = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0U);
        table[byte] = crc;
    }
    return table;
}();

template <typename T>
std::string little_endian(T value) {
    static_assert(std::endian::native == std::endian::little);
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    return bytes;
}

template <typename T>
T from_little_endian(std::string_view bytes) {
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
}

// Protocol-buffer wire types.
enum class Wire : uint64_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

std::string varint(uint64_t value) {
    std::string bytes;
    for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(0x80 | (value & 0x7f));
    return bytes + static_cast<char>(value);
}

std::string key(uint64_t field, Wire wire) { return varint(field << 3 | static_cast<uint64_t>(wire)); }

std::string message(uint64_t field, std::string_view contents) {
    return key(field, Wire::bytes) + varint(contents.size()) + std::string(contents);
}

// Field numbers of Event, Summary and Summary.Value in event.proto and summary.proto.
constexpr uint64_t event_wall_time = 1, event_step = 2, event_file_version = 3, event_summary = 5;
constexpr uint64_t summary_value = 1;
constexpr uint64_t value_tag = 1, value_simple = 2;

std::string event(double wall_time, int64_t step, const std::string& what) {
    return key(event_wall_time, Wire::fixed64) + little_endian(wall_time) + key(event_step, Wire::varint) +
           varint(static_cast<uint64_t>(step)) + what;
}

// A frame: length (8 bytes), its masked checksum, the data, its masked checksum.
constexpr size_t frame_head = 12, frame_tail = 4;

std::string frame(const std::string& data) {
    const std::string length = little_endian(uint64_t{data.size()});
    return length + little_endian(masked_crc32c(length)) + data + little_endian(masked_crc32c(data));
}

double seconds_now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

[[noreturn]] void refuse_damage(const std::string& name) {
    refuse("{}: damaged TensorBoard event file", name);
}

/// Goes through the fields of a message.
class FieldReader {
  public:
    FieldReader(std::string_view bytes, const std::string& name) : bytes_(bytes), name_(name) {}

    /// Moves to the next field; false at the end.
    bool next() {
        if (bytes_.empty()) return false;
        const uint64_t tag = take_varint();
        field = tag >> 3;
        wire = static_cast<Wire>(tag & 7);
        switch (wire) {
            case Wire::varint:
                number = take_varint();
                return true;
            case Wire::fixed64:
                contents = take(8);
                return true;
            case Wire::fixed32:
                contents = take(4);
                return true;
            case Wire::bytes:
                contents = take(take_varint());
                return true;
        }
        refuse_damage(name_);
    }
    bool is(uint64_t wanted_field, Wire wanted_wire) const {
        return field == wanted_field && wire == wanted_wire;
    }

    uint64_t field = 0;
    Wire wire = Wire::varint;
    uint64_t number = 0;
    std::string_view contents;

  private:
    std::string_view take(uint64_t count) {
        if (count > bytes_.size()) refuse_damage(name_);
        const std::string_view taken = bytes_.substr(0, static_cast<size_t>(count));
        bytes_.remove_prefix(static_cast<size_t>(count));
        return taken;
    }
    uint64_t take_varint() {
        uint64_t value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            const auto byte = static_cast<uint8_t>(take(1)[0]);
            value |= static_cast<uint64_t>(byte & 0x7f) << shift;
            if (byte < 0x80) return value;
        }
        refuse_damage(name_);
    }

    std::string_view bytes_;
    const std::string& name_;
};

struct Event {
    double wall_time = 0;
    int64_t step = 0;
    std::vector<Scalar> scalars;
};

Scalar parse_value(std::string_view bytes, const std::string& name) {
    Scalar scalar;
    for (FieldReader value(bytes, name); value.next();) {
        if (value.is(value_tag, Wire::bytes)) scalar.tag = value.contents;
        if (value.is(value_simple, Wire::fixed32)) scalar.value = from_little_endian<float>(value.contents);
    }
    return scalar;
}

Event parse_event(std::string_view bytes, const std::string& name) {
    Event result;
    for (FieldReader event(bytes, name); event.next();) {
        if (event.is(event_wall_time, Wire::fixed64))
            result.wall_time = from_little_endian<double>(event.contents);
        if (event.is(event_step, Wire::varint)) result.step = static_cast<int64_t>(event.number);
        if (!event.is(event_summary, Wire::bytes)) continue;
        for (FieldReader summary(event.contents, name); summary.next();) {
            if (summary.is(summary_value, Wire::bytes))
                result.scalars.push_back(parse_value(summary.contents, name));
        }
    }
    for (Scalar& scalar : result.scalars) {
        scalar.step = result.step;
        scalar.wall_time = result.wall_time;
    }
    return result;
}

/// Takes the first record off `bytes`; false when there is none or only a part of one.
bool take_record(std::string_view& bytes, std::string_view& data, const std::string& name) {
    if (bytes.size() < frame_head + frame_tail) return false;
    const std::string_view length = bytes.substr(0, 8);
    if (from_little_endian<uint32_t>(bytes.substr(8, 4)) != masked_crc32c(length)) refuse_damage(name);
    const auto count = from_little_endian<uint64_t>(length);
    if (count > bytes.size() - frame_head - frame_tail) return false;
    data = bytes.substr(frame_head, static_cast<size_t>(count));
    bytes.remove_prefix(frame_head + static_cast<size_t>(count));
    if (from_little_endian<uint32_t>(bytes.substr(0, 4)) != masked_crc32c(data)) refuse_damage(name);
    bytes.remove_prefix(frame_tail);
    return true;
}

/// The bytes of the leading records whose step is at most `last_step`. Damage (what a power loss leaves
/// behind a file's last synced byte) ends them.
uint64_t bytes_up_to(const std::filesystem::path& path, std::optional<int64_t> last_step) {
    std::error_code code;
    if (!last_step || !std::filesystem::exists(path, code)) return 0;
    const std::string text = read_file(path);
    std::string_view left = text, data;
    size_t kept = 0;
    try {
        while (take_record(left, data, path.string()) && parse_event(data, path.string()).step <= *last_step)
            kept = text.size() - left.size();
    } catch (const Error&) {
    }
    return kept;
}

AppendFile open_events(const std::filesystem::path& path, std::optional<int64_t> resume_step) {
    const uint64_t kept = bytes_up_to(path, resume_step);
    AppendFile file(path, kept);
    if (kept == 0) file.append(frame(event(seconds_now(), 0, message(event_file_version, "brain.Event:2"))));
    return file;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
    uint32_t crc = ~0U;
    for (const char c : bytes) crc = (crc >> 8) ^ crc_table[(crc ^ static_cast<uint8_t>(c)) & 0xff];
    return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8U; }

EventFile::EventFile(const std::filesystem::path& directory, std::optional<int64_t> resume_step)
    : file_(open_events(directory / name, resume_step)) {}

void EventFile::scalar(std::string_view tag, int64_t step, float value, double wall_time) {
    const std::string point =
        message(value_tag, tag) + key(value_simple, Wire::fixed32) + little_endian(value);
    file_.append(frame(event(wall_time, step, message(event_summary, message(summary_value, point)))));
}

void EventFile::scalar(std::string_view tag, int64_t step, float value) {
    scalar(tag, step, value, seconds_now());
}

std::vector<Scalar> read_event_file(const std::filesystem::path& path) {
    const std::string text = read_file(path);
    std::string_view left = text, data;
    std::vector<Scalar> all;
    while (take_record(left, data, path.string())) {
        for (Scalar& scalar : parse_event(data, path.string()).scalars) all.push_back(std::move(scalar));
    }
    return all;
}

}  // namespace enmesh::report
