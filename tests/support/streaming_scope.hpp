#pragma once

#include "enmesh/base/streaming.hpp"

namespace enmesh::testing {

/// What is planned while it lives streams its results always, or never.
class StreamingScope {
  public:
    explicit StreamingScope(Streaming streaming) : before_(enmesh::streaming()) { set_streaming(streaming); }
    ~StreamingScope() { set_streaming(before_); }
    StreamingScope(const StreamingScope&) = delete;
    StreamingScope& operator=(const StreamingScope&) = delete;

  private:
    Streaming before_;
};

}  // namespace enmesh::testing
