#pragma once

namespace CLI {
class App;
}

namespace enmesh::cli {

// One line per measurement, defined in bench_NAME.cpp.
void add_bench_infer(CLI::App& bench);
void add_bench_kernels(CLI::App& bench);
void add_bench_simulate(CLI::App& bench);
void add_bench_step(CLI::App& bench);

}  // namespace enmesh::cli
