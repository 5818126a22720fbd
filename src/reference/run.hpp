#pragma once

#include "enmesh/graph/operations.hpp"
#include "reference/frame.hpp"

namespace enmesh::reference {

// One overload per operation, in ops/ under the same file name as in src/graph/ops. A missing one fails to
// link; there is no default.
void run(const Accumulate&, const Frame&);
void run(const AdamWUpdate&, const Frame&);
void run(const Add&, const Frame&);
void run(const ApplyMask&, const Frame&);
void run(const AveragePool2d&, const Frame&);
void run(const AveragePool2dBackward&, const Frame&);
void run(const BatchNorm&, const Frame&);
void run(const BatchNormBackward&, const Frame&);
void run(const Concat&, const Frame&);
void run(const Conv2d&, const Frame&);
void run(const Conv2dBackwardData&, const Frame&);
void run(const Conv2dBackwardWeights&, const Frame&);
void run(const CrossEntropy&, const Frame&);
void run(const CrossEntropyBackward&, const Frame&);
void run(const Divide&, const Frame&);
void run(const Dropout&, const Frame&);
void run(const Embedding&, const Frame&);
void run(const EmbeddingBackward&, const Frame&);
void run(const Expand&, const Frame&);
void run(const ExponentialAverage&, const Frame&);
void run(const Gelu&, const Frame&);
void run(const GeluBackward&, const Frame&);
void run(const GlobalAveragePool&, const Frame&);
void run(const GlobalAveragePoolBackward&, const Frame&);
void run(const GradientNorm&, const Frame&);
void run(const LayerNorm&, const Frame&);
void run(const LayerNormBackward&, const Frame&);
void run(const Linear&, const Frame&);
void run(const LinearBackwardData&, const Frame&);
void run(const LinearBackwardWeights&, const Frame&);
void run(const MatMul&, const Frame&);
void run(const MaxPool2d&, const Frame&);
void run(const MaxPool2dBackward&, const Frame&);
void run(const Multiply&, const Frame&);
void run(const PackNm&, const Frame&);
void run(const Pad&, const Frame&);
void run(const Reduce&, const Frame&);
void run(const Relu&, const Frame&);
void run(const ReluBackward&, const Frame&);
void run(const Reshape&, const Frame&);
void run(const Scale&, const Frame&);
void run(const SelectMask&, const Frame&);
void run(const SgdUpdate&, const Frame&);
void run(const Slice&, const Frame&);
void run(const SliceBackward&, const Frame&);
void run(const Softmax&, const Frame&);
void run(const SoftmaxBackward&, const Frame&);
void run(const SrDecay&, const Frame&);
void run(const Subtract&, const Frame&);
void run(const SumExcept&, const Frame&);
void run(const SumTo&, const Frame&);
void run(const Transpose&, const Frame&);
void run(const Unary&, const Frame&);
void run(const UnaryBackward&, const Frame&);
void run(const UnpackNm&, const Frame&);

}  // namespace enmesh::reference
