#include <algorithm>

#include "accel/common/toml_reader.hpp"
#include "accel/sat/product_pieces.hpp"
#include "accel/sat/schedule_table.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::accel::sat {
namespace {

std::string order_text(const Mapping& mapping) {
    std::string text;
    for (const Loop loop : mapping.order) text += "mnk"[static_cast<size_t>(loop)];
    return text;
}

std::string pattern_text(const Product& p) { return p.is_sparse() ? to_string(p.pattern) : "dense"; }

std::string phase_line(const Mapping& m) {
    return fmt::format(
        "  {{ dataflow = \"{}\", indexed = \"{}\", group = {}, interleave = {}, pixels = {}, tile = [{}, {}, "
        "{}], order = \"{}\", "
        "streaming = {}, pack = \"{}\" }},\n",
        to_string(m.engine.dataflow), m.indexed == Operand::a ? "a" : "b", m.engine.group,
        m.engine.interleave, m.engine.interleave_pixels, m.tile_m, m.tile_n, m.tile_k, order_text(m),
        m.streaming, to_string(m.pack));
}

std::array<Loop, 3> read_order(const TomlReader& reader) {
    std::string order = reader.text("order");
    std::string sorted = order;
    std::sort(sorted.begin(), sorted.end());
    if (sorted != "kmn") refuse("{}: order = '{}' must name m, n and k once each", reader.where(), order);
    std::array<Loop, 3> loops{};
    for (size_t i = 0; i < 3; ++i) loops[i] = order[i] == 'm' ? Loop::m : order[i] == 'n' ? Loop::n : Loop::k;
    return loops;
}

Mapping read_mapping(const toml::node& node, const std::string& where) {
    const toml::table* table = node.as_table();
    if (table == nullptr) refuse("{}: a phase must be a table", where);
    const TomlReader reader(
        *table, where,
        {"dataflow", "indexed", "group", "interleave", "pixels", "tile", "order", "streaming", "pack"});
    Mapping mapping;
    mapping.engine.dataflow = reader.choice("dataflow", {"ws", "os"}) == 0 ? Dataflow::ws : Dataflow::os;
    mapping.indexed = reader.choice("indexed", {"a", "b"}) == 0 ? Operand::a : Operand::b;
    mapping.engine.group = reader.small("group");
    mapping.engine.interleave = reader.small("interleave");
    mapping.engine.interleave_pixels = reader.flag("pixels");
    const toml::array& tile = reader.array("tile");
    std::array<int64_t*, 3> fields = {&mapping.tile_m, &mapping.tile_n, &mapping.tile_k};
    if (tile.size() != 3) refuse("{}: tile must be [m, n, k]", where);
    for (size_t i = 0; i < 3; ++i) {
        const auto value = tile[i].value_exact<int64_t>();
        if (!value) refuse("{}: tile must be three whole numbers", where);
        *fields[i] = *value;
    }
    mapping.order = read_order(reader);
    mapping.streaming = reader.flag("streaming");
    mapping.pack = static_cast<Pack>(reader.choice("pack", {"none", "pregenerated", "on_load", "ahead"}));
    return mapping;
}

void expect(const std::string& where, const std::string& another, const char* what, const std::string& got,
            const std::string& want) {
    if (got != want)
        refuse("{}: the schedule is for {}: {} is {} there and {} here", where, another, what, got, want);
}

std::string place(const std::string& file, const toml::node& node, const Product& product) {
    return fmt::format("{}:{}: {} {}", file, node.source().begin.line, product.layer,
                       to_string(product.stage));
}

/// Refuses mappings that do not fit; phase i is called where[i], the product itself where.back().
void check_product(const SatConfig& config, const Product& product, const std::vector<Mapping>& mappings,
                   std::span<const std::string> where) {
    const size_t expected = phases(product).size();
    if (mappings.size() != expected)
        refuse("{}: has {} phases, the product has {}", where.back(), mappings.size(), expected);
    detail::ProductPieces pieces(product);
    for (size_t phase = 0; phase < mappings.size(); ++phase) {
        if (product.is_sparse() && mappings[phase].indexed != product.sparse)
            refuse("{}: the indexed operand must be the N:M one", where[phase]);
        const Piece& piece = pieces.at(phase, mappings[phase].indexed);
        const std::string why = why_illegal(config, piece, mappings[phase]);
        if (!why.empty()) refuse("{}: does not fit this step on this machine: {}", where[phase], why);
    }
}

ProductSchedule read_product(const toml::node& node, const Product& product, const ScheduleSource& source,
                             const SatConfig& config) {
    const toml::table* table = node.as_table();
    const std::string where = place(source.file, node, product);
    if (table == nullptr) refuse("{}: must be a table", where);
    const TomlReader reader(*table, where, {"layer", "stage", "m", "n", "k", "batch", "pattern", "phases"});
    const auto expect_same = [&](const char* what, const std::string& got, const std::string& want) {
        expect(where, source.another, what, got, want);
    };
    expect_same("the layer", reader.text("layer"), product.layer);
    expect_same("the stage", reader.text("stage"), std::string(to_string(product.stage)));
    expect_same("m", std::to_string(reader.whole("m")), std::to_string(product.m));
    expect_same("n", std::to_string(reader.whole("n")), std::to_string(product.n));
    expect_same("k", std::to_string(reader.whole("k")), std::to_string(product.k));
    expect_same("batch", std::to_string(reader.whole("batch")), std::to_string(product.batch));
    expect_same("the pattern", reader.text("pattern"), pattern_text(product));
    ProductSchedule schedule;
    std::vector<std::string> places;
    for (const toml::node& phase : reader.array("phases")) {
        places.push_back(
            fmt::format("{} phase {}", place(source.file, phase, product), schedule.mappings.size() + 1));
        schedule.mappings.push_back(read_mapping(phase, places.back()));
    }
    places.push_back(where);
    check_product(config, product, schedule.mappings, places);
    return schedule;
}

[[noreturn]] void refuse_count(const std::string& where, const std::string& another, size_t there,
                               const Workload& workload) {
    refuse("{}: the schedule is for {}: it has {} products, {} has {}", where, another, there, workload.name,
           workload.products.size());
}

}  // namespace

void check(const SatConfig& config, const Workload& workload, const Schedule& schedule,
           const std::string& file) {
    if (schedule.products.size() != workload.products.size())
        refuse_count(file, "another network", schedule.products.size(), workload);
    for (size_t i = 0; i < workload.products.size(); ++i) {
        const Product& product = workload.products[i];
        const std::vector<Mapping>& mappings = schedule.products[i].mappings;
        const std::string where = fmt::format("{}: {} {}", file, product.layer, to_string(product.stage));
        std::vector<std::string> places;
        for (size_t phase = 0; phase < mappings.size(); ++phase)
            places.push_back(fmt::format("{} phase {}", where, phase + 1));
        places.push_back(where);
        check_product(config, product, mappings, places);
    }
}

std::string detail::to_toml(const SatConfig& config, const Workload& workload, const Schedule& schedule,
                            const std::string& table) {
    std::string text = fmt::format(
        "# SAT schedule (docs/schedule.md). network {}, {} images; found for {} x {} elements, buffers {} / "
        "{} / {} bytes, {:g} GB/s x {:g}\n",
        workload.name, workload.images, config.stce.rows, config.stce.cols, config.input_buffer_bytes,
        config.weight_buffer_bytes, config.output_buffer_bytes, config.memory_peak_bytes_per_second * 1e-9,
        config.memory_efficiency);
    if (!table.empty()) text += fmt::format("[{}]\n", table);
    text += "version = 1\n";
    const std::string inside = table.empty() ? "" : table + ".";
    for (size_t i = 0; i < workload.products.size(); ++i) {
        const Product& p = workload.products[i];
        text += fmt::format(
            "\n[[{}product]]\nlayer = {}\nstage = \"{}\"\nm = {}\nn = {}\nk = {}\nbatch = {}\npattern = "
            "\"{}\"\nphases = [\n",
            inside, toml_string(p.layer), to_string(p.stage), p.m, p.n, p.k, p.batch, pattern_text(p));
        for (const Mapping& mapping : schedule.products[i].mappings) text += phase_line(mapping);
        text += "]\n";
    }
    return text;
}

std::string to_toml(const SatConfig& config, const Workload& workload, const Schedule& schedule) {
    return detail::to_toml(config, workload, schedule, "");
}

Schedule detail::parse_schedule(const ScheduleSource& source, const SatConfig& config,
                                const Workload& workload) {
    const TomlReader reader(source.table, source.where, {"version", "product"});
    if (reader.whole("version") != 1)
        refuse("{}: version {} is unknown; this program reads version 1", source.where,
               reader.whole("version"));
    const toml::array& products = reader.array("product");
    if (products.empty()) refuse_count(source.where, source.another, 0, workload);
    Schedule schedule;
    const size_t both = std::min(products.size(), workload.products.size());
    for (size_t i = 0; i < both; ++i)
        schedule.products.push_back(read_product(products[i], workload.products[i], source, config));
    if (products.size() != workload.products.size()) {
        // The first product that is too much, or the last before those that are missing.
        const toml::node& node = products[std::min(both, products.size() - 1)];
        refuse_count(fmt::format("{}:{}", source.file, node.source().begin.line), source.another,
                     products.size(), workload);
    }
    return schedule;
}

Schedule parse_schedule(std::string_view text, const std::string& file, const SatConfig& config,
                        const Workload& workload) {
    const toml::table root = parse_toml(text, file);
    return detail::parse_schedule({root, file, file}, config, workload);
}

Schedule read_schedule(const std::filesystem::path& file, const SatConfig& config, const Workload& workload) {
    return parse_schedule(read_file(file, size_t{256} << 20), file.string(), config, workload);
}

}  // namespace enmesh::accel::sat
