#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "enmesh/accel/workload/workload.hpp"

namespace enmesh::accel {

/// Reads a SCALE-Sim topology: the conv form (Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter
/// Width, Channels, Num Filter, Strides[, Sparsity][, Batch Size]) or the GEMM form (Layer, M, N, K[,
/// Sparsity][, Batch Size]); the header says which and columns may come in any order. A row becomes one FF
/// product, in the file's order; images of a Batch Size multiply its rows m. As in SCALE-Sim a convolution
/// has no padding and its output is ceil((I − F + S) / S); a name that contains "DP" is depthwise: one equal
/// product per channel.
///
/// Tolerated: a byte-order mark, CRLF, tabs instead of commas, a missing or extra trailing comma, blank rows
/// and cells, rows that hold only a section title, "#" comments, unknown columns and those of the other form
/// (one note on standard error), N:M of 1:1 (dense), a final row without newline. Refused, naming file, line
/// and column: missing columns, a column that is not in the header but for a letter or two, cells that are
/// not positive integers, a row whose fields are not separated as the header's, a filter larger than its
/// input, N > M, a file without rows.
Workload read_topology(const std::filesystem::path& path);

/// The same from text; `name` stands for the file in messages.
Workload parse_topology(std::string_view text, const std::string& name);

}  // namespace enmesh::accel
