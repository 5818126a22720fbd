#pragma once

#include <gtest/gtest.h>

#include <string>

#include "enmesh/base/error.hpp"

namespace enmesh::accel {

/// The message with which a request is refused; "(accepted)" if it is not.
inline std::string refusal(const auto& action) {
    try {
        action();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::request);
        return error.what();
    }
    return "(accepted)";
}

}  // namespace enmesh::accel
