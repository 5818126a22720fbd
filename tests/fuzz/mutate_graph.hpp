#pragma once

#include <onnx.pb.h>

#include <random>

namespace enmesh::testing {

/// Changes several fields of a model together, as a change of one field alone seldom leaves a file that is
/// read further: a tensor's type, dims and elements; the constants of one node all to one type; a node's
/// operator, inputs and attributes; a new node in an edge of the graph. Now and then they disagree on
/// purpose.
void mutate_graph(::onnx::ModelProto& model, std::minstd_rand& random);

}  // namespace enmesh::testing
