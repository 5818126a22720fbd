#include "enmesh/tensor/safetensors.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "enmesh/base/error.hpp"
#include "enmesh/base/half.hpp"
#include "tensor/safetensors_source.hpp"

namespace enmesh {
namespace {

constexpr size_t length_bytes = 8;
constexpr size_t data_alignment = 64;
/// The format's own limit on headers.
constexpr uint64_t max_header_bytes = 100'000'000;
constexpr std::string_view metadata_key = "__metadata__";

struct DTypeRow {
    std::string_view name;
    int bits;
};

constexpr std::array dtype_rows = {
    DTypeRow{"F64", 64},    DTypeRow{"F32", 32},        DTypeRow{"F16", 16},        DTypeRow{"BF16", 16},
    DTypeRow{"C64", 64},    DTypeRow{"I64", 64},        DTypeRow{"I32", 32},        DTypeRow{"I16", 16},
    DTypeRow{"I8", 8},      DTypeRow{"U64", 64},        DTypeRow{"U32", 32},        DTypeRow{"U16", 16},
    DTypeRow{"U8", 8},      DTypeRow{"BOOL", 8},        DTypeRow{"F8_E4M3", 8},     DTypeRow{"F8_E5M2", 8},
    DTypeRow{"F8_E8M0", 8}, DTypeRow{"F8_E4M3FNUZ", 8}, DTypeRow{"F8_E5M2FNUZ", 8}, DTypeRow{"F6_E2M3", 6},
    DTypeRow{"F6_E3M2", 6}, DTypeRow{"F4", 4},
};

constexpr std::array tensor_dtypes = {
    std::pair{DType::f32, std::string_view("F32")},      std::pair{DType::bf16, std::string_view("BF16")},
    std::pair{DType::f16, std::string_view("F16")},      std::pair{DType::f64, std::string_view("F64")},
    std::pair{DType::i64, std::string_view("I64")},      std::pair{DType::i32, std::string_view("I32")},
    std::pair{DType::i8, std::string_view("I8")},        std::pair{DType::u8, std::string_view("U8")},
    std::pair{DType::boolean, std::string_view("BOOL")},
};

/// A name from a file on one line, of bounded length.
std::string shown(std::string_view name) {
    constexpr size_t longest = 120;
    std::string text = nlohmann::json(std::string(name.substr(0, longest)))
                           .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    text.front() = text.back() = '\'';
    return name.size() > longest ? text + "…" : text;
}

/// elements × bits / 8; nullopt where that overflows or is not a whole number.
std::optional<uint64_t> checked_bytes(const Shape& shape, int bits) {
    uint64_t count = static_cast<uint64_t>(bits);
    for (const int64_t dim : shape) {
        if (dim < 0 || __builtin_mul_overflow(count, static_cast<uint64_t>(dim), &count)) return std::nullopt;
    }
    if (count % 8 != 0 || count / 8 > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    return count / 8;
}

struct Entry : TensorHeader {
    uint64_t begin = 0, end = 0;
};

/// Takes the header as the parser meets it, so that a hostile one costs no more memory than its own length
/// and repeated names are seen. Depth 1 is the header's object, 2 a tensor's or `__metadata__`, 3 a list of
/// numbers.
class HeaderHandler {
  public:
    using number_integer_t = int64_t;
    using number_unsigned_t = uint64_t;
    using number_float_t = double;
    using string_t = std::string;
    using binary_t = std::vector<uint8_t>;

    Metadata metadata;
    std::vector<Entry> entries;
    std::string problem;

    bool start_object(size_t) {
        if (depth_ >= 2 || in_list_) return unexpected("an object");
        ++depth_;
        if (depth_ == 2) begin_member();
        return true;
    }
    bool end_object() {
        if (depth_ == 2 && !in_metadata_ && seen_ != 7) {
            return give_up("tensor {} lacks its {}", shown(outer_), missing_field());
        }
        --depth_;
        return true;
    }
    bool start_array(size_t) {
        if (in_list_ || depth_ != 2 || in_metadata_ || field_ == Field::dtype) return unexpected("a list");
        in_list_ = true;
        offsets_seen_ = 0;
        return true;
    }
    bool end_array() {
        in_list_ = false;
        if (field_ == Field::data_offsets && offsets_seen_ != 2) {
            return give_up("tensor {}: data_offsets must be two numbers", shown(outer_));
        }
        if (field_ == Field::shape) entries.back().shape = Shape(std::exchange(dims_, {}));
        return true;
    }
    bool key(string_t& name) {
        if (depth_ == 1) {
            if (!names_.insert(name).second) return give_up("the name {} occurs twice", shown(name));
            outer_ = std::move(name);
            return true;
        }
        if (in_metadata_) {
            if (metadata.contains(name)) return give_up("the metadata key {} occurs twice", shown(name));
            inner_ = std::move(name);
            return true;
        }
        return begin_field(name);
    }
    bool string(string_t& text) {
        if (depth_ == 2 && in_metadata_) {
            metadata.emplace(std::move(inner_), std::move(text));
            return true;
        }
        if (depth_ != 2 || in_list_ || field_ != Field::dtype) return unexpected("a string");
        if (!safetensors_bits(text))
            return give_up("tensor {} is of the unknown dtype {}", shown(outer_), shown(text));
        entries.back().dtype = std::move(text);
        return true;
    }
    bool number_unsigned(uint64_t value) {
        if (!in_list_) return unexpected("a number");
        if (value > static_cast<uint64_t>(INT64_MAX)) return unexpected("a number beyond 63 bits");
        if (field_ == Field::shape) {
            dims_.push_back(static_cast<int64_t>(value));
            return true;
        }
        if (offsets_seen_ >= 2) return give_up("tensor {}: data_offsets must be two numbers", shown(outer_));
        (offsets_seen_++ == 0 ? entries.back().begin : entries.back().end) = value;
        return true;
    }
    bool number_integer(int64_t) { return unexpected("a negative number"); }
    bool number_float(double, const string_t&) { return unexpected("a number that is no 63-bit integer"); }
    bool null() { return unexpected("null"); }
    bool boolean(bool) { return unexpected("a boolean"); }
    bool binary(binary_t&) { return unexpected("binary data"); }
    bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) {
        return give_up("the header is not JSON (at its byte {})", position);
    }

  private:
    enum class Field { none = 0, dtype = 1, shape = 2, data_offsets = 4 };

    template <typename... Args>
    bool give_up(fmt::format_string<Args...> format, Args&&... args) {
        if (problem.empty()) problem = fmt::format(format, std::forward<Args>(args)...);
        return false;
    }
    bool unexpected(std::string_view what) {
        if (depth_ == 0) return give_up("the header is {}, an object was expected", what);
        if (in_metadata_)
            return give_up("the metadata of key {} is {}, a string was expected", shown(inner_), what);
        return give_up("tensor {} has {} where none belongs", shown(outer_), what);
    }
    void begin_member() {
        in_metadata_ = outer_ == metadata_key;
        seen_ = 0;
        field_ = Field::none;
        if (!in_metadata_) {
            entries.emplace_back();
            entries.back().name = outer_;
        }
    }
    bool begin_field(const std::string& name) {
        field_ = name == "dtype"          ? Field::dtype
                 : name == "shape"        ? Field::shape
                 : name == "data_offsets" ? Field::data_offsets
                                          : Field::none;
        const int bit = static_cast<int>(field_);
        if (bit == 0) return give_up("tensor {} has the unknown field {}", shown(outer_), shown(name));
        if ((seen_ & bit) != 0) return give_up("tensor {} has its {} twice", shown(outer_), name);
        seen_ |= bit;
        return true;
    }
    std::string_view missing_field() const {
        if ((seen_ & 1) == 0) return "dtype";
        return (seen_ & 2) == 0 ? "shape" : "data_offsets";
    }

    int depth_ = 0;
    bool in_list_ = false;
    bool in_metadata_ = false;
    Field field_ = Field::none;
    int seen_ = 0;
    int offsets_seen_ = 0;
    std::vector<int64_t> dims_;
    std::string outer_, inner_;
    std::set<std::string> names_;
};

/// Sizes agree with shapes, and the tensors tile the file without gap or overlap. Sorts by offset.
void check_entries(const std::string& path, std::vector<Entry>& entries, uint64_t data_bytes) {
    for (const Entry& entry : entries) {
        const auto bytes = checked_bytes(entry.shape, *safetensors_bits(entry.dtype));
        if (!bytes) {
            refuse("{}: tensor {}: shape {} of {} has no size in whole bytes below 2^63", path,
                   shown(entry.name), to_string(entry.shape), entry.dtype);
        }
        if (entry.end < entry.begin || entry.end > data_bytes) {
            refuse("{}: tensor {}: its bytes {}..{} lie outside the file's {} (truncated?)", path,
                   shown(entry.name), entry.begin, entry.end, data_bytes);
        }
        if (entry.end - entry.begin != *bytes) {
            refuse("{}: tensor {}: shape {} of {} takes {} bytes, the header gives it {}", path,
                   shown(entry.name), to_string(entry.shape), entry.dtype, *bytes, entry.end - entry.begin);
        }
    }
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
        return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    uint64_t expected = 0;
    for (const Entry& entry : entries) {
        if (entry.begin != expected) {
            refuse("{}: tensor {} begins at byte {}, {} the bytes before it, which end at {}", path,
                   shown(entry.name), entry.begin, entry.begin < expected ? "inside" : "with a gap after",
                   expected);
        }
        expected = entry.end;
    }
    if (expected != data_bytes) {
        refuse("{}: the tensors end at byte {} of the data, the file at {}", path, expected, data_bytes);
    }
}

std::vector<Entry> parse_header(const std::string& path, std::string_view text, uint64_t data_bytes,
                                Metadata& metadata) {
    if (!text.starts_with('{'))
        refuse("{}: not a safetensors file (its header does not begin with '{{')", path);
    HeaderHandler handler;
    const bool parsed = nlohmann::json::sax_parse(text.begin(), text.end(), &handler);
    if (!parsed) refuse("{}: {}", path, handler.problem);
    check_entries(path, handler.entries, data_bytes);
    metadata = std::move(handler.metadata);
    return std::move(handler.entries);
}

/// An ONNX file begins with its version, field 1, a small number, and then a field with a length: as the
/// length of a header that would be more than any file has.
bool looks_like_onnx(const std::array<uint8_t, length_bytes>& bytes) {
    return bytes[0] == 0x08 && bytes[1] > 0 && bytes[1] < 0x20 && bytes[2] < 0x80 && (bytes[2] & 7) == 2;
}

uint64_t little_endian(const std::array<uint8_t, length_bytes>& bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < length_bytes; ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
    return value;
}

std::string quoted(const std::string& path, std::string_view text) {
    try {
        return nlohmann::json(std::string(text)).dump();
    } catch (const nlohmann::json::exception&) {
        refuse("{}: {} is not valid UTF-8 and cannot be written", path, shown(text));
    }
}

/// Sorts into the stated order and refuses what the format cannot hold.
void prepare(const std::string& path, std::vector<TensorHeader>& headers) {
    for (const TensorHeader& header : headers) {
        if (header.name == metadata_key) refuse("{}: a tensor cannot be named {}", path, metadata_key);
        const auto bits = safetensors_bits(header.dtype);
        if (!bits)
            refuse("{}: tensor {} is of the unknown dtype {}", path, shown(header.name), shown(header.dtype));
        if (!checked_bytes(header.shape, *bits)) {
            refuse("{}: tensor {}: shape {} of {} has no size in whole bytes below 2^63", path,
                   shown(header.name), to_string(header.shape), header.dtype);
        }
    }
    std::sort(headers.begin(), headers.end(), [](const TensorHeader& a, const TensorHeader& b) {
        const int a_bits = *safetensors_bits(a.dtype), b_bits = *safetensors_bits(b.dtype);
        return a_bits != b_bits ? a_bits > b_bits : a.name < b.name;
    });
    std::set<std::string_view> names;
    for (const TensorHeader& header : headers) {
        if (!names.insert(header.name).second)
            refuse("{}: two tensors are named {}", path, shown(header.name));
    }
}

std::string header_text(const std::string& path, std::span<const TensorHeader> headers,
                        const Metadata& metadata) {
    std::string text = "{";
    if (!metadata.empty()) {
        text += fmt::format("\"{}\":{{", metadata_key);
        for (const auto& [key, value] : metadata) {
            if (text.back() != '{') text += ',';
            text += quoted(path, key) + ":" + quoted(path, value);
        }
        text += '}';
    }
    uint64_t offset = 0;
    for (const TensorHeader& header : headers) {
        if (text.size() > 1) text += ',';
        std::string dims;
        for (const int64_t dim : header.shape) dims += (dims.empty() ? "" : ",") + std::to_string(dim);
        const uint64_t end = offset + header.bytes();
        text += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                            quoted(path, header.name), header.dtype, dims, offset, end);
        offset = end;
    }
    text += '}';
    while ((text.size() + length_bytes) % data_alignment != 0) text += ' ';
    if (text.size() > max_header_bytes) {
        refuse("{}: a header of {} bytes, the format allows {}", path, text.size(), max_header_bytes);
    }
    return text;
}

}  // namespace

std::optional<int> safetensors_bits(std::string_view dtype) {
    for (const DTypeRow& row : dtype_rows) {
        if (row.name == dtype) return row.bits;
    }
    return std::nullopt;
}

std::string safetensors_dtype(DType dtype) {
    for (const auto& [known, name] : tensor_dtypes) {
        if (known == dtype) return std::string(name);
    }
    assertion_failed("every DType has a safetensors name", __FILE__, __LINE__);
}

std::optional<DType> tensor_dtype(std::string_view safetensors_dtype) {
    for (const auto& [dtype, name] : tensor_dtypes) {
        if (name == safetensors_dtype) return dtype;
    }
    return std::nullopt;
}

size_t TensorHeader::bytes() const {
    const auto bits = safetensors_bits(dtype);
    const auto size = bits ? checked_bytes(shape, *bits) : std::nullopt;
    ENMESH_ASSERT(size.has_value());
    return *size;
}

Tensor NamedTensor::tensor() const {
    const auto known = tensor_dtype(dtype);
    if (!known) refuse("tensor {} is {}, which cannot be computed with here", shown(name), dtype);
    Tensor copy(shape, *known);
    ENMESH_ASSERT(copy.bytes() == data.bytes());
    if (copy.bytes() > 0) std::memcpy(copy.data(), data.data(), copy.bytes());
    return copy;
}

Tensor NamedTensor::as_float32() const {
    Tensor narrow = tensor();
    const auto values_of = [&](auto from) {
        Tensor wide(shape, DType::f32);
        std::transform(from.begin(), from.end(), wide.f32().begin(),
                       [](auto value) { return to_float(value); });
        return wide;
    };
    if (narrow.dtype() == DType::f16) return values_of(narrow.as<Half>());
    if (narrow.dtype() == DType::bf16) return values_of(narrow.as<BFloat16>());
    if (narrow.dtype() != DType::f64) return narrow;
    Tensor single(shape, DType::f32);
    const std::span<const double> from = narrow.as<double>();
    for (size_t i = 0; i < from.size(); ++i) {
        single.f32()[i] = static_cast<float>(from[i]);
        if (std::isfinite(from[i]) && !std::isfinite(single.f32()[i]))
            refuse("tensor {}: {} has no float32 beside it", shown(name), from[i]);
    }
    return single;
}

TensorView::TensorView(std::string tensor_name, const Tensor& tensor)
    : TensorHeader{std::move(tensor_name), safetensors_dtype(tensor.dtype()), tensor.shape()},
      data(tensor.data()) {}

const NamedTensor* SafetensorsFile::find(std::string_view name) const {
    for (const NamedTensor& tensor : tensors) {
        if (tensor.name == name) return &tensor;
    }
    return nullptr;
}

struct SafetensorsReader::File {
    std::string path;
    int descriptor = -1;
    uint64_t bytes = 0;

    explicit File(const std::filesystem::path& from) : path(from.string()) {
        descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (descriptor < 0) refuse("{}: cannot be read ({})", path, std::strerror(errno));
        struct stat status {};
        const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
        if (!regular) {
            ::close(descriptor);
            refuse("{}: not a regular file", path);
        }
        bytes = static_cast<uint64_t>(status.st_size);
    }
    ~File() { ::close(descriptor); }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    void read(uint64_t offset, void* dst, uint64_t count) const {
        auto* to = static_cast<char*>(dst);
        while (count > 0) {
            const ssize_t got =
                ::pread(descriptor, to, std::min<uint64_t>(count, 1U << 30), static_cast<off_t>(offset));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) fail("{}: cannot be read ({})", path, std::strerror(errno));
            if (got == 0) fail("{}: became shorter while it was read", path);
            to += got;
            offset += static_cast<uint64_t>(got);
            count -= static_cast<uint64_t>(got);
        }
    }
};

SafetensorsReader::SafetensorsReader(const std::filesystem::path& path) {
    const SafetensorsSource source = safetensors_source(path);
    for (const std::filesystem::path& file : source.files) add(file);
    if (source.tensors.empty()) return;
    std::map<std::string_view, size_t> found;
    for (size_t i = 0; i < headers_.size(); ++i) {
        if (!found.emplace(headers_[i].name, places_[i].file).second)
            refuse("{}: tensor {} is in two of its parts", path.string(), shown(headers_[i].name));
    }
    for (const auto& [name, file] : source.tensors) {
        const auto there = found.find(name);
        if (there == found.end() || there->second != file)
            refuse("{}: tensor {} is not in {}", path.string(), shown(name), source.files[file].string());
    }
}

void SafetensorsReader::add(const std::filesystem::path& path) {
    const auto& file = files_.emplace_back(std::make_shared<File>(path));
    const std::string& name = file->path;
    std::array<uint8_t, length_bytes> prefix{};
    const size_t known = std::min<size_t>(file->bytes, prefix.size());
    file->read(0, prefix.data(), known);
    if (const std::string_view other = other_format({reinterpret_cast<const char*>(prefix.data()), known});
        !other.empty()) {
        const uint64_t length = little_endian(prefix);
        // A header of 123 bytes begins with '{' too.
        if (known < length_bytes || length > file->bytes - length_bytes)
            refuse("{}: not a safetensors file but {}", name, other);
    }
    if (file->bytes < length_bytes) refuse("{}: not a safetensors file ({} bytes)", name, file->bytes);
    const uint64_t header_bytes = little_endian(prefix);
    if (header_bytes > file->bytes - length_bytes) {
        if (header_bytes > max_header_bytes && looks_like_onnx(prefix))
            refuse("{}: not a safetensors file: it looks like an ONNX file{}", name,
                   path.extension() == ".onnx" ? "" : ", whose name has to end in .onnx");
        if (header_bytes > max_header_bytes) refuse("{}: not a safetensors file, or truncated", name);
        refuse("{}: not a safetensors file, or truncated (a header of {} bytes in a file of {})", name,
               header_bytes, file->bytes);
    }
    if (header_bytes > max_header_bytes) {
        refuse("{}: a header of {} bytes, the format allows {}", name, header_bytes, max_header_bytes);
    }
    std::string text(header_bytes, '\0');
    file->read(length_bytes, text.data(), header_bytes);
    const uint64_t first = length_bytes + header_bytes;
    Metadata metadata;
    for (Entry& entry : parse_header(name, text, file->bytes - first, metadata)) {
        places_.push_back({files_.size() - 1, first + entry.begin});
        headers_.push_back(std::move(static_cast<TensorHeader&>(entry)));
    }
    metadata_.merge(metadata);
}

std::optional<size_t> SafetensorsReader::find(std::string_view name) const {
    for (size_t i = 0; i < headers_.size(); ++i) {
        if (headers_[i].name == name) return i;
    }
    return std::nullopt;
}

void SafetensorsReader::read(size_t index, std::span<std::byte> dst) const {
    ENMESH_ASSERT(index < headers_.size() && dst.size() == headers_[index].bytes());
    files_[places_[index].file]->read(places_[index].offset, dst.data(), dst.size());
}

NamedTensor SafetensorsReader::read(size_t index) const {
    ENMESH_ASSERT(index < headers_.size());
    NamedTensor tensor{headers_[index], Buffer(headers_[index].bytes())};
    read(index, tensor.data.as<std::byte>());
    return tensor;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<TensorHeader> tensors,
                                     const Metadata& metadata)
    : file_(path), headers_(std::move(tensors)) {
    prepare(path.string(), headers_);
    const std::string text = header_text(path.string(), headers_, metadata);
    std::array<uint8_t, length_bytes> prefix{};
    for (size_t i = 0; i < length_bytes; ++i) prefix[i] = static_cast<uint8_t>(text.size() >> (8 * i));
    file_.write(prefix.data(), prefix.size());
    file_.write(text);
}

void SafetensorsWriter::write(const void* data) {
    ENMESH_ASSERT(next_ < headers_.size());
    file_.write(data, headers_[next_++].bytes());
}

void SafetensorsWriter::commit() {
    ENMESH_ASSERT(next_ == headers_.size());
    file_.commit();
}

SafetensorsFile load_safetensors(const std::filesystem::path& path) {
    const SafetensorsReader reader(path);
    SafetensorsFile file;
    file.metadata = reader.metadata();
    file.tensors.reserve(reader.tensors().size());
    for (size_t i = 0; i < reader.tensors().size(); ++i) file.tensors.push_back(reader.read(i));
    return file;
}

void save_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                      const Metadata& metadata) {
    std::map<std::string_view, const void*> data;
    std::vector<TensorHeader> headers;
    for (const TensorView& tensor : tensors) {
        data.emplace(tensor.name, tensor.data);
        headers.push_back(tensor);
    }
    SafetensorsWriter writer(path, std::move(headers), metadata);
    for (const TensorHeader& header : writer.tensors()) writer.write(data.at(header.name));
    writer.commit();
}

void save_safetensors(const std::filesystem::path& path, const SafetensorsFile& file) {
    const std::vector<TensorView> views(file.tensors.begin(), file.tensors.end());
    save_safetensors(path, views, file.metadata);
}

}  // namespace enmesh
