#include "cli/options/bench_options.hpp"

#include <CLI/CLI.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/options/json_text.hpp"
#include "cli/options/run_options.hpp"
#include "cli/options/team.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/isa.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::cli {

void add_bench_options(CLI::App& command, BenchOptions& options, const std::string& what) {
    command.add_option("--threads", options.threads, "threads (all cores)");
    command.add_option("--rounds", options.rounds, what)->capture_default_str();
    command.add_option("--json", options.json, "write the rows to FILE (- for standard output)")
        ->type_name("FILE");
}

void begin_bench(const BenchOptions& options) {
    if (options.rounds < 1) refuse("--rounds is {}, at least 1 is expected", options.rounds);
    require_writable_target(options.json);
    use_threads(options.threads);
}

std::string threads_text() { return threads() == 1 ? "1 thread" : fmt::format("{} threads", threads()); }

void answer_requests(const std::function<double()>& run) {
    std::cout << "ready" << std::endl;
    for (std::string line; std::getline(std::cin, line);) std::cout << run() << std::endl;
}

void write_rows(const BenchOptions& options, nlohmann::ordered_json rows) {
    for (auto& row : rows) row["cpu"] = cpu_description();
    write_result(options.json, json_document(rows, 2));
}

}  // namespace enmesh::cli
