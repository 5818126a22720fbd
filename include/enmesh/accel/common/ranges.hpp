#pragma once

#include <string_view>

namespace enmesh::accel {

/// What an engine's parameter may be. One table an engine: its check(), the configuration's limits and
/// docs/sat.md go by it.
template <typename Engine>
struct ParameterRange {
    std::string_view name;
    int Engine::*field;
    int least, most;
};

}  // namespace enmesh::accel
