#include <onnx.pb.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>

#include "enmesh/base/error.hpp"
#include "enmesh/onnx/import.hpp"
#include "fuzz/known_operators.hpp"
#include "fuzz/mutate_graph.hpp"
#include "fuzz/mutate_message.hpp"
#include "fuzz/seed_graphs.hpp"

// Any bytes: the importer reads them, or refuses them in one line. What crashes it, takes more memory than
// the run allows, or throws anything else is a find.

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t most);

namespace {

/// A file of this process, in memory where the system has such a folder.
const std::filesystem::path& scratch() {
    static const std::filesystem::path path = [] {
        const std::filesystem::path memory = "/dev/shm";
        const auto folder =
            std::filesystem::is_directory(memory) ? memory : std::filesystem::temp_directory_path();
        return folder / ("enmesh_fuzz_" + std::to_string(getpid()) + ".onnx");
    }();
    return path;
}

void give_up(const char* what, const std::string& message) {
    std::fprintf(stderr, "%s: %s\n", what, message.c_str());
    std::abort();
}

enmesh::onnx::Model read(const void* data, size_t size) {
    std::ofstream(scratch(), std::ios::binary | std::ios::trunc)
        .write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
    return enmesh::onnx::import(scratch());
}

/// `--seeds=FOLDER` writes a seed for each operator there, and ends. libFuzzer ignores options of two dashes.
void write_seeds_if_asked(int count, char** arguments) {
    constexpr std::string_view option = "--seeds=";
    for (int i = 1; i < count; ++i) {
        const std::string_view argument = arguments[i];
        if (!argument.starts_with(option)) continue;
        try {
            enmesh::testing::write_seed_graphs(std::string(argument.substr(option.size())));
        } catch (const std::exception& error) {
            std::fprintf(stderr, "%s\n", error.what());
            std::exit(1);
        }
        std::exit(0);
    }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
    std::atexit([] {
        std::error_code ignored;
        std::filesystem::remove(scratch(), ignored);
    });
    write_seeds_if_asked(*count, *arguments);
    // What the importer asks of every operator is known before the first mutation.
    enmesh::testing::learn_attributes();
    for (const enmesh::testing::SeedGraph& seed : enmesh::testing::seed_graphs()) {
        const std::string text = seed.model.SerializeAsString();
        try {
            (void)read(text.data(), text.size());
        } catch (const enmesh::Error& error) {
            give_up("a seed is refused", error.what());
        }
    }
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    try {
        const enmesh::onnx::Model model = read(data, size);
        if (model.graph.outputs.empty()) give_up("imported", "a graph without an output");
    } catch (const enmesh::Error& error) {
        const std::string message = error.what();
        if (message.find('\n') != std::string::npos) give_up("more than one line", message);
        if (error.kind() != enmesh::ErrorKind::request) give_up("not the file's fault", message);
    }
    return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t most, unsigned seed) {
    std::minstd_rand random(seed);
    onnx::ModelProto model;
    if (random() % 8 == 0 || !model.ParseFromArray(data, static_cast<int>(size)))
        return LLVMFuzzerMutate(data, size, most);
    for (unsigned i = 1 + random() % 3; i > 0; --i) {
        if (random() % 2 == 0) {
            enmesh::testing::mutate_message(model, random);
        } else {
            enmesh::testing::mutate_graph(model, random);
        }
    }
    const std::string text = model.SerializePartialAsString();
    if (text.size() > most) return LLVMFuzzerMutate(data, size, most);
    text.copy(reinterpret_cast<char*>(data), text.size());
    return text.size();
}
