#include "reference/run.hpp"

namespace enmesh::reference {

template <>
void run(const MatMul& op, const Frame& frame) {
    const Array &a = frame.in(0), &b = frame.in(1);
    const Shape& dst = frame.out().type.shape;
    const int64_t rows = dst[-2], cols = dst[-1], inner = frame.shape(0)[op.transpose_a ? -2 : -1];
    for (int64_t batch = 0; batch < dst.elements() / (rows * cols); ++batch) {
        const int64_t a_base = batch * rows * inner, b_base = batch * inner * cols;
        for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < cols; ++j) {
                double sum = 0;
                for (int64_t l = 0; l < inner; ++l) {
                    sum += a[a_base + (op.transpose_a ? l * rows + i : i * inner + l)] *
                           b[b_base + (op.transpose_b ? j * inner + l : l * cols + j)];
                }
                frame.out()[(batch * rows + i) * cols + j] = sum;
            }
        }
    }
}

}  // namespace enmesh::reference
