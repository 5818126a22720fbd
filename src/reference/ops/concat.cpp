#include "reference/run.hpp"

namespace enmesh::reference {

template <>
void run(const Concat& op, const Frame& frame) {
    const Shape& dst = frame.out().type.shape;
    const auto axis = static_cast<int>(op.axis);
    int64_t inner = 1, begin = 0;
    for (int i = axis + 1; i < dst.rank(); ++i) inner *= dst[i];
    for (const Array* const input : frame.inputs) {
        const int64_t run = input->type.shape[axis] * inner;
        for (int64_t i = 0; i < input->elements(); ++i)
            frame.out()[i / run * dst[axis] * inner + begin + i % run] = (*input)[i];
        begin += run;
    }
}

}  // namespace enmesh::reference
