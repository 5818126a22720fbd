#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "cli/commands.hpp"
#include "cli/named_files.hpp"
#include "enmesh/sparsity/codec.hpp"
#include "enmesh/tensor/safetensors.hpp"

namespace enmesh::cli {

void add_unpack(CLI::App& app) {
    struct Arguments {
        std::string input, out;
    };
    CLI::App* command = app.add_subcommand("unpack", "Restore what enmesh pack stored, bit for bit");
    const auto arguments = std::make_shared<Arguments>();
    command->add_option("IN", arguments->input, "A packed safetensors file")->required();
    command->add_option("--out", arguments->out, "The dense safetensors file")->required();
    command->footer(
        "Example:\n"
        "  enmesh unpack packed.safetensors --out model24.safetensors");
    command->callback([arguments] {
        require_apart({{"--out", arguments->out}}, {{"IN", arguments->input}});
        save_safetensors(arguments->out, unpack_file(arguments->input));
    });
}

}  // namespace enmesh::cli
