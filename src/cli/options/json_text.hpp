#pragma once

#include <string>

namespace enmesh::cli {

/// A document as text with a line end. Names may come from paths, which are bytes: those that are not UTF-8
/// become U+FFFD, because JSON cannot hold them.
template <typename Json>
std::string json_document(const Json& json, int indent = 2) {
    return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace enmesh::cli
