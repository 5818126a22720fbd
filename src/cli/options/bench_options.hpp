#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace CLI {
class App;
}

namespace enmesh::cli {

/// What measuring subcommands share: --threads, --rounds, --json.
struct BenchOptions {
    int threads = 0, rounds = 0;
    std::string json;

    bool rows_only() const { return json == "-"; }
};

/// `what`: "timed steps of each", with the default that options.rounds holds.
void add_bench_options(CLI::App& command, BenchOptions& options, const std::string& what);
/// Before anything is measured: refuses impossible rounds and targets, sets the threads.
void begin_bench(const BenchOptions& options);
/// "1 thread", "2 threads".
std::string threads_text();
/// --on-request: runs once for every line on standard input and answers with the seconds, so that another
/// program can interleave several of us.
void answer_requests(const std::function<double()>& run);
/// The rows, each with the processor's name, to where --json says.
void write_rows(const BenchOptions& options, nlohmann::ordered_json rows);

}  // namespace enmesh::cli
