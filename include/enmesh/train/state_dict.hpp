#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/tensor/safetensors.hpp"

namespace enmesh {

/// A file of weights as frameworks save them: a checkpoint of ours, or a state_dict with names that wrappers
/// have made longer ("module.conv1.weight" of DataParallel, "_orig_mod." of torch.compile, "model." of
/// Lightning) and with tensors that no network needs (counters of batch norms, sizes that profilers note).
class StateDict {
  public:
    /// A safetensors file, an index of parts, or a folder, as SafetensorsReader takes them.
    explicit StateDict(const std::filesystem::path& path);

    const SafetensorsReader& file() const { return file_; }
    /// The position in file().tensors() of the tensor that a network calls `name`: of that name, or of it
    /// behind prefix().
    std::optional<size_t> find(std::string_view name) const;
    /// Its name as networks have it.
    std::string name_of(size_t index) const;
    /// Whether a network needs the tensor.
    bool needed(size_t index) const;
    /// What every name begins with and no network calls so; "" for most files.
    const std::string& prefix() const { return prefix_; }
    /// What was passed over, a line each, for the user: "20 tensors that only training in PyTorch needs are
    /// left out (num_batches_tracked)".
    std::vector<std::string> notes() const;

  private:
    SafetensorsReader file_;
    std::string prefix_;
    std::map<std::string, size_t, std::less<>> indices_;  ///< by the name as networks have it
};

}  // namespace enmesh
