#include "accel/sat/stce/stce_kernels.hpp"
#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/base/arithmetic.hpp"
#include "enmesh/base/buffer.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::accel::sat {
namespace {

/// Less work than this is not worth a second thread.
constexpr int64_t parallel_values = 1 << 15;

}  // namespace

void software_product(std::span<const Half> streamed, const IndexedOperand& indexed, std::span<float> out,
                      std::span<const float> start) {
    const int64_t k = indexed.k, n = indexed.n;
    if (k < 1 || n < 1 || streamed.size() % static_cast<size_t>(k) != 0)
        refuse("streamed operand has {} values: not a multiple of the reduction length {}", streamed.size(),
               k);
    const int64_t m = static_cast<int64_t>(streamed.size()) / k;
    if (out.size() != static_cast<size_t>(m * n))
        refuse("product output has {} values: {} x {} takes {}", out.size(), m, n, m * n);
    if (!start.empty() && start.size() != out.size())
        refuse("{} start sums for {} outputs: there must be one each", start.size(), out.size());

    const int64_t entries = indexed.groups * indexed.values;
    std::vector<float> values(static_cast<size_t>(n * entries));
    std::vector<int32_t> positions(values.size());
    const int64_t column_grain = ceil_div(parallel_values, entries);
    parallel_for(n, column_grain, [&](int64_t begin, int64_t end) {
        for (int64_t column = begin; column < end; ++column)
            for (int64_t g = 0, at = column * entries; g < indexed.groups; ++g)
                for (int e = 0; e < indexed.values; ++e, ++at) {
                    values[at] = to_float(indexed.entries[at]);
                    positions[at] = static_cast<int32_t>(indexed.base(g) + indexed.indices[at]);
                }
    });

    ProductBlock shape;
    shape.k = k;
    shape.group = indexed.group;
    shape.group_entries = indexed.values;
    shape.groups = indexed.groups;
    shape.whole_groups = k / indexed.group;
    shape.columns = n;
    shape.entries = entries;
    shape.values = values.data();
    shape.positions = positions.data();
    shape.dense = indexed.values == indexed.group;
    const StceKernels& kernels = stce_kernels();
    const int64_t block_grain = ceil_div(parallel_values, n * entries);
    parallel_for(ceil_div(m, product_rows), block_grain, [&](int64_t begin, int64_t end) {
        Buffer panel(product_panel * product_rows * sizeof(float));
        Buffer sums(static_cast<size_t>(n) * product_rows * sizeof(float));
        for (int64_t b = begin; b < end; ++b) {
            ProductBlock block = shape;
            block.streamed = streamed.data() + b * product_rows * k;
            block.rows = static_cast<int>(std::min<int64_t>(product_rows, m - b * product_rows));
            block.panel = panel.as<float>().data();
            block.sums = sums.as<float>().data();
            block.out = out.data() + b * product_rows * n;
            block.resume = !start.empty();
            for (int64_t i = 0; block.resume && i < block.rows * n; ++i)
                block.sums[i % n * product_rows + i / n] =
                    start[static_cast<size_t>(b * product_rows * n + i)];
            kernels.product_block(block);
        }
    });
}

}  // namespace enmesh::accel::sat
