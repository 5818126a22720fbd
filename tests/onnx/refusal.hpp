#pragma once

#include <gtest/gtest.h>

#include <string>

#include "enmesh/base/error.hpp"
#include "enmesh/onnx/import.hpp"
#include "onnx/model_maker.hpp"

namespace enmesh::testing {

/// The model as it is read from a file of its own.
inline onnx::Model import(const ModelMaker& maker, const onnx::ImportOptions& options = {}) {
    const Folder folder;
    return onnx::import(folder.put("m.onnx", maker.text()), options);
}

/// The message with which the file is refused; "" if it is not, or if it is no request error of one line.
inline std::string refusal(const std::string& text, const onnx::ImportOptions& options = {}) {
    const Folder folder;
    const auto path = folder.put("m.onnx", text);
    try {
        (void)onnx::import(path, options);
    } catch (const Error& error) {
        const std::string message = error.what();
        const bool one_line = message.find('\n') == std::string::npos && message.find(path.string()) == 0;
        return error.kind() == ErrorKind::request && one_line ? message : "";
    }
    return "";
}

}  // namespace enmesh::testing

#define EXPECT_REFUSED(maker, words)                                                     \
    EXPECT_NE(::enmesh::testing::refusal((maker).text()).find(words), std::string::npos) \
        << "said: " << ::enmesh::testing::refusal((maker).text())
