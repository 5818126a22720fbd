#pragma once

#include <toml++/toml.h>

#include <string>

#include "enmesh/accel/common/accelerator.hpp"

namespace enmesh::accel {

/// The table of a schedule file that a machine reads; for .cpp files only.
struct ScheduleSource {
    const toml::table& table;
    std::string file;   ///< for messages, which add the line
    std::string where;  ///< for messages about the table itself: the file, or "file:3: table" of a part
    std::string another = "another network";  ///< for messages: what a schedule that does not fit is for
};

}  // namespace enmesh::accel
