#include "cli/bench/bench.hpp"

#include <CLI/CLI.hpp>

#include "cli/commands.hpp"

namespace enmesh::cli {

void add_bench(CLI::App& app) {
    CLI::App* const bench =
        app.add_subcommand("bench", "Measure steps and kernels on this machine, interleaved, medians");
    bench->require_subcommand(1);
    add_bench_infer(*bench);
    add_bench_kernels(*bench);
    add_bench_simulate(*bench);
    add_bench_step(*bench);
}

}  // namespace enmesh::cli
