#include "onnx/model_file.hpp"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <charconv>
#include <climits>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/writable.hpp"
#include "enmesh/onnx/export.hpp"
#include "onnx/import/constant.hpp"

namespace enmesh::onnx {
namespace {

namespace fs = std::filesystem;

constexpr size_t largest_message = INT_MAX;  // protobuf counts in int
constexpr size_t smallest_external = 1024, external_alignment = 4096;

uint64_t number(const std::string& text, std::string_view tensor, std::string_view key) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value > uint64_t{INT64_MAX})
        refuse("tensor '{}': its external data's {} is '{}', a number expected", tensor, key, text);
    return value;
}

/// The folder that external data of this name lie in: the model's, or that of the file that its name links
/// to.
fs::path data_folder(const fs::path& model, const fs::path& name) {
    const auto folder_of = [](const fs::path& file) {
        return file.has_parent_path() ? file.parent_path() : fs::path(".");
    };
    const fs::path folder = folder_of(model);
    std::error_code ignored;
    return fs::exists(folder / name, ignored) ? folder : folder_of(behind_links(model));
}

bool is_below(const fs::path& file, const fs::path& folder) {
    return std::mismatch(folder.begin(), folder.end(), file.begin(), file.end()).first == folder.end();
}

/// Reads tensors' bytes from files beside the model. Each file is opened once; what tensors take together is
/// bounded by what the files hold.
class ExternalData {
  public:
    explicit ExternalData(fs::path model) : model_(std::move(model)) {}

    void bring_in(proto::TensorProto& tensor) {
        if (tensor.data_location() != proto::TensorProto_DataLocation_EXTERNAL) return;
        std::string location;
        uint64_t offset = 0, length = 0;
        bool has_length = false;
        for (const proto::StringStringEntryProto& entry : tensor.external_data()) {
            if (entry.key() == "location") location = entry.value();
            if (entry.key() == "offset") offset = number(entry.value(), tensor.name(), "offset");
            if (entry.key() == "length") {
                length = number(entry.value(), tensor.name(), "length");
                has_length = true;
            }
        }
        File& file = open(location, tensor.name());
        const uint64_t expected = tensor_bytes(tensor);
        if (!has_length) length = expected;
        if (length != expected) {
            refuse("tensor '{}': {} bytes of external data, its shape takes {}", tensor.name(), length,
                   expected);
        }
        if (offset > file.bytes || length > file.bytes - offset) {
            refuse("tensor '{}': bytes {} to {} of '{}', which has {}", tensor.name(), offset,
                   offset + length, location, file.bytes);
        }
        taken_ += length;
        if (taken_ > 2 * bytes_) refuse("'{}': tensors take its bytes more than twice", location);
        std::string data(length, '\0');
        file.stream.seekg(static_cast<std::streamoff>(offset));
        if (length > 0 && !file.stream.read(data.data(), static_cast<std::streamsize>(length)))
            fail("'{}' cannot be read", location);
        tensor.set_raw_data(std::move(data));
        tensor.clear_external_data();
        tensor.clear_data_location();
    }

    std::vector<fs::path> files() const {
        std::vector<fs::path> paths;
        for (const auto& [location, file] : files_) paths.push_back(file.path);
        return paths;
    }
    uint64_t bytes() const { return bytes_; }

  private:
    struct File {
        fs::path path;
        std::ifstream stream;
        uint64_t bytes = 0;
    };

    File& open(const std::string& location, const std::string& tensor) {
        if (const auto known = files_.find(location); known != files_.end()) return known->second;
        const fs::path relative(location);
        bool escapes = location.empty() || relative.is_absolute() || location.find('\0') != std::string::npos;
        for (const fs::path& part : relative) escapes = escapes || part == "..";
        std::error_code error;
        const fs::path folder = data_folder(model_, relative);
        const fs::path target = fs::weakly_canonical(folder / relative, error);
        // A cache keeps the model and its data as links into one folder of blobs: what the model itself leads
        // to counts too.
        const bool near = is_below(target, fs::weakly_canonical(folder, error)) ||
                          is_below(target, fs::weakly_canonical(model_, error).parent_path());
        if (escapes || error || !near)
            refuse("tensor '{}': external data at '{}' lie outside the model's folder", tensor, location);
        File file;
        file.path = target;
        if (!fs::is_regular_file(target, error))
            refuse("tensor '{}': its external data '{}' are not beside the model", tensor, location);
        file.bytes = fs::file_size(target, error);
        file.stream.open(target, std::ios::binary);
        if (error || !file.stream)
            refuse("tensor '{}': its external data '{}' cannot be read", tensor, location);
        bytes_ += file.bytes;
        return files_.emplace(location, std::move(file)).first->second;
    }

    fs::path model_;
    std::map<std::string, File> files_;
    uint64_t bytes_ = 0, taken_ = 0;
};

void check_versions(const proto::ModelProto& model) {
    if (!model.has_graph() || model.graph().output_size() == 0)
        refuse("not an ONNX model: it has no graph with an output");
    const int64_t opset = opset_of(model);
    if (opset < oldest_opset || opset > newest_opset) {
        refuse("operator set {}: {} to {} are understood; export with opset_version=17 or 18", opset,
               oldest_opset, newest_opset);
    }
}

/// use( tensor ) for every tensor that may have external data.
template <typename Use>
void each_tensor(proto::ModelProto& model, const Use& use) {
    for (proto::TensorProto& tensor : *model.mutable_graph()->mutable_initializer()) use(tensor);
    for (proto::NodeProto& node : *model.mutable_graph()->mutable_node()) {
        for (proto::AttributeProto& attribute : *node.mutable_attribute()) {
            if (attribute.has_t()) use(*attribute.mutable_t());
        }
    }
}

/// False where it is no such message.
bool parse(const std::string& text, proto::ModelProto& model) {
    google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t*>(text.data()),
                                                  static_cast<int>(text.size()));
    return !text.empty() && model.ParseFromCodedStream(&stream) && stream.ConsumedEntireMessage();
}

/// Data that a link would take out of the model's folder would not be found there.
void require_same_folder(const fs::path& data, const fs::path& model) {
    const auto folder = [](const fs::path& file) {
        std::error_code ignored;
        return fs::weakly_canonical(fs::absolute(behind_links(file), ignored).parent_path(), ignored);
    };
    if (folder(data) != folder(model))
        refuse("{}: is a link out of the folder of {}, which its data must lie in", data.string(),
               behind_links(model).string());
}

/// The tensors' bytes one after the other in `file`, called `name`, aligned so that they can be mapped.
void write_external(AtomicFile& file, const std::string& name, proto::ModelProto& model) {
    size_t at = 0;
    for (proto::TensorProto& tensor : *model.mutable_graph()->mutable_initializer()) {
        if (tensor.raw_data().size() < smallest_external) continue;
        const std::string gap((external_alignment - at % external_alignment) % external_alignment, '\0');
        file.write(gap);
        at += gap.size();
        const size_t length = tensor.raw_data().size();
        file.write(tensor.raw_data().data(), length);
        const auto add = [&](const char* key, const std::string& value) {
            proto::StringStringEntryProto* const entry = tensor.add_external_data();
            entry->set_key(key);
            entry->set_value(value);
        };
        add("location", name);
        add("offset", std::to_string(at));
        add("length", std::to_string(length));
        tensor.set_data_location(proto::TensorProto_DataLocation_EXTERNAL);
        tensor.clear_raw_data();
        at += length;
    }
}

}  // namespace

int64_t opset_of(const proto::ModelProto& model) {
    for (const proto::OperatorSetIdProto& set : model.opset_import()) {
        if (set.domain().empty() || set.domain() == "ai.onnx") return set.version();
    }
    refuse("not an ONNX model: it names no operator set");
}

ModelFile read_model(const fs::path& path) {
    ModelFile file;
    file.path = path;
    const std::string text = read_file(path, largest_message);
    if (!parse(text, file.model)) refuse("not an ONNX file, or a truncated one");
    check_versions(file.model);
    ExternalData data(path);
    each_tensor(file.model, [&](proto::TensorProto& tensor) { data.bring_in(tensor); });
    file.external = data.files();
    file.bytes = text.size() + data.bytes();
    return file;
}

std::vector<fs::path> external_files(const fs::path& path) {
    proto::ModelProto model;
    try {
        if (!parse(read_file(path, largest_message), model)) return {};
    } catch (const Error&) {
        return {};
    }
    std::set<fs::path> files;
    each_tensor(model, [&](const proto::TensorProto& tensor) {
        if (tensor.data_location() != proto::TensorProto_DataLocation_EXTERNAL) return;
        for (const proto::StringStringEntryProto& entry : tensor.external_data()) {
            std::error_code error;
            if (entry.key() != "location") continue;
            const fs::path file =
                fs::weakly_canonical(data_folder(path, entry.value()) / entry.value(), error);
            if (!error) files.insert(file);
        }
    });
    return {files.begin(), files.end()};
}

fs::path written_data(const fs::path& model) { return behind_links(model) += ".data"; }

void require_apart(const fs::path& path, const ModelFile& from) {
    for (const fs::path& written : {path, written_data(path)}) {
        for (const fs::path& read : from.external) {
            std::error_code ignored;
            if (fs::equivalent(written, read, ignored))
                refuse("{}: would overwrite the external data of {}", written.string(), from.path.string());
        }
    }
}

void write_model(const fs::path& path, proto::ModelProto model, bool external) {
    constexpr size_t headroom = size_t{1} << 20;
    require_writable_file(path);
    std::optional<AtomicFile> data;
    if (external || model.ByteSizeLong() > largest_message - headroom) {
        const fs::path name = written_data(path);
        require_writable_file(name);
        require_same_folder(name, path);
        write_external(data.emplace(name), name.filename().string(), model);
    }
    std::string text;
    {
        google::protobuf::io::StringOutputStream raw(&text);
        google::protobuf::io::CodedOutputStream stream(&raw);
        stream.SetSerializationDeterministic(true);
        if (!model.SerializeToCodedStream(&stream)) fail("{}: the model cannot be written", path.string());
    }
    AtomicFile file(path);
    file.write(text);
    if (data.has_value()) data->commit();
    file.commit();
}

}  // namespace enmesh::onnx
