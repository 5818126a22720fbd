#pragma once

/// The version of the headers, which is that of the library and of the program: the build reads it here.
/// Until 1.0 the interface may change with the second number.
#define ENMESH_VERSION_MAJOR 0
#define ENMESH_VERSION_MINOR 1
#define ENMESH_VERSION_PATCH 0

#define ENMESH_VERSION_TEXT_OF(a, b, c) #a "." #b "." #c
#define ENMESH_VERSION_TEXT(a, b, c) ENMESH_VERSION_TEXT_OF(a, b, c)

namespace enmesh {

/// "0.1.0"
inline constexpr const char* version =
    ENMESH_VERSION_TEXT(ENMESH_VERSION_MAJOR, ENMESH_VERSION_MINOR, ENMESH_VERSION_PATCH);

}  // namespace enmesh
