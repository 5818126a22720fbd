#include "enmesh/accel/sat/schedule.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "accel/refusal.hpp"
#include "accel/small_network.hpp"
#include "enmesh/accel/sat/simulate.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel::sat {
namespace {

TEST(Schedule, CacheKnowsWhatASearchDependsOn) {
    ScheduleCache cache;
    Workload w = small_network();
    make_sparse(w, {2, 8});
    const SatConfig base;
    const Schedule first = find_schedule(base, w, cache);
    const auto same_as_alone = [&](const auto& change) {
        SatConfig config = base;
        change(config);
        const Schedule shared = find_schedule(config, w, cache), alone = find_schedule(config, w);
        for (size_t i = 0; i < w.products.size(); ++i)
            EXPECT_EQ(shared.products[i].mappings, alone.products[i].mappings) << i;
    };
    same_as_alone([](SatConfig& c) { c.stce.rows = 4; });
    same_as_alone([](SatConfig& c) { c.stce.latches = 16, c.stce.row_link_values = 4; });
    same_as_alone([](SatConfig& c) { c.stce.clock_hz *= 4; });
    same_as_alone([](SatConfig& c) { c.memory_peak_bytes_per_second /= 16; });
    same_as_alone([](SatConfig& c) { c.output_buffer_bytes = 8 << 10; });
    same_as_alone([](SatConfig& c) { c.double_buffering = false; });
    same_as_alone([](SatConfig& c) { c.interleaving = false; });
    same_as_alone([](SatConfig& c) { c.pregeneration = false; });
    same_as_alone([](SatConfig& c) { c.sore.groups_per_cycle = 1, c.pregeneration = false; });
    same_as_alone([](SatConfig& c) { c.dataflow = "ws"; });
    make_sparse(w, {1, 4});
    same_as_alone([](SatConfig&) {});
}

/// A schedule that was found carries its costs: they must not outlive the machine, the product or the mapping
/// that they are of.
TEST(Schedule, CostsOfTheSearchAreTakenOnlyWhereTheyHold) {
    const SatConfig config;
    Workload w = small_network();
    make_sparse(w, {2, 8});
    const Schedule found = find_schedule(config, w);
    const auto expect_as_read = [&](const SatConfig& machine, const Workload& step,
                                    const Schedule& schedule) {
        Schedule bare = schedule;
        for (ProductSchedule& product : bare.products) product.costs.clear();
        const Report quick = simulate(machine, step, schedule), slow = simulate(machine, step, bare);
        EXPECT_EQ(to_json(quick), to_json(slow));
        return quick.total_cycles;
    };
    ASSERT_FALSE(found.products[0].costs.empty());
    const int64_t cycles = expect_as_read(config, w, found);
    SatConfig slower = config;
    slower.memory_peak_bytes_per_second /= 64;
    EXPECT_GT(expect_as_read(slower, w, found), cycles);
    Workload twice = w;
    for (Product& product : twice.products) product.batch = 2;
    EXPECT_GT(expect_as_read(config, twice, found), cycles);
    Schedule edited = found;
    for (ProductSchedule& product : edited.products)
        for (Mapping& mapping : product.mappings) mapping.engine.interleave = 1;
    EXPECT_GT(expect_as_read(config, w, edited), cycles);
}

TEST(Schedule, APhaseTooManyOrTooFewIsRefused) {
    const SatConfig config;
    const Workload w = small_network();
    Schedule schedule = find_schedule(config, w);
    schedule.products[0].mappings.push_back(schedule.products[0].mappings[0]);
    EXPECT_NE(refusal([&] { simulate(config, w, schedule); }).find("conv1 FF: the schedule has 2 phases"),
              std::string::npos);
    schedule.products[0].mappings.clear();
    EXPECT_NE(
        refusal([&] { simulate(config, w, schedule); }).find("the schedule has 0 phases, the product 1"),
        std::string::npos);
}

TEST(Schedule, FileReplaysExactly) {
    const SatConfig config;
    Workload w = small_network();
    make_sparse(w, {2, 8});
    const Schedule schedule = find_schedule(config, w);
    const std::string text = to_toml(config, w, schedule);
    const Schedule back = parse_schedule(text, "s.toml", config, w);
    ASSERT_EQ(back.products.size(), schedule.products.size());
    for (size_t i = 0; i < back.products.size(); ++i)
        EXPECT_EQ(back.products[i].mappings, schedule.products[i].mappings);
    EXPECT_EQ(to_toml(config, w, back), text);
    EXPECT_EQ(simulate(config, w, back).total_cycles, simulate(config, w, schedule).total_cycles);
}

TEST(Schedule, RefusesWhatDoesNotFit) {
    const SatConfig config;
    const Workload w = small_network();
    const std::string text = to_toml(config, w, find_schedule(config, w));
    Workload other = w;
    other.products[1].layer = "conv9";
    EXPECT_NE(refusal([&] {
                  parse_schedule(text, "s.toml", config, other);
              }).find("the layer is conv1 there and conv9 here"),
              std::string::npos);
    other = w;
    other.products.pop_back();
    EXPECT_NE(refusal([&] {
                  parse_schedule(text, "s.toml", config, other);
              }).find("for another network: it has 8 products"),
              std::string::npos);
    SatConfig tiny = config;
    tiny.input_buffer_bytes = 64;
    EXPECT_NE(
        refusal([&] { parse_schedule(text, "s.toml", tiny, w); }).find("bytes of input buffer, which has 64"),
        std::string::npos);
    std::string broken = text;
    broken.replace(broken.find("interleave ="), 10, "interleafe");
    EXPECT_NE(refusal([&] {
                  parse_schedule(broken, "s.toml", config, w);
              }).find("unknown key 'interleafe' (did you mean 'interleave'?)"),
              std::string::npos);
    broken = text;
    broken.replace(broken.find("order = \"") + 9, 3, "mmk");
    EXPECT_NE(
        refusal([&] { parse_schedule(broken, "s.toml", config, w); }).find("must name m, n and k once each"),
        std::string::npos);
    EXPECT_NE(
        refusal([&] { parse_schedule("version = 1", "s.toml", config, w); }).find("key 'product' is missing"),
        std::string::npos);
    EXPECT_NE(refusal([&] { parse_schedule("not toml", "s.toml", config, w); }).find("s.toml:1"),
              std::string::npos);
}

/// The line of a text on which `what` begins, from 1.
int64_t line_of(const std::string& text, size_t at) {
    return 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n');
}

TEST(Schedule, NamesTheLineOfAMisfit) {
    const SatConfig config;
    const Workload w = small_network();
    const std::string text = to_toml(config, w, find_schedule(config, w));
    const auto place = [&](size_t at) { return fmt::format("s.toml:{}: ", line_of(text, at)); };

    const size_t second = text.find("[[product]]", text.find("[[product]]") + 1);
    Workload other = w;
    other.products[1].layer = "conv9";
    std::string message = refusal([&] { parse_schedule(text, "s.toml", config, other); });
    EXPECT_TRUE(message.starts_with(place(second))) << message;

    other = w;
    other.products.pop_back();
    message = refusal([&] { parse_schedule(text, "s.toml", config, other); });
    EXPECT_TRUE(message.starts_with(place(text.rfind("[[product]]")))) << message;
    other = w;
    other.products.push_back(w.products.back());
    message = refusal([&] { parse_schedule(text, "s.toml", config, other); });
    EXPECT_TRUE(message.starts_with(place(text.rfind("[[product]]")))) << message;

    const size_t phase = text.find("{ dataflow");
    SatConfig tiny = config;
    tiny.input_buffer_bytes = 1;
    message = refusal([&] { parse_schedule(text, "s.toml", tiny, w); });
    EXPECT_TRUE(message.starts_with(place(phase))) << message;
    EXPECT_NE(message.find("phase 1: does not fit this step on this machine"), std::string::npos) << message;

    std::string broken = text;
    broken.replace(broken.find("order = \"", phase) + 9, 3, "mmk");
    message = refusal([&] { parse_schedule(broken, "s.toml", config, w); });
    EXPECT_TRUE(message.starts_with(place(phase))) << message;
}

TEST(Schedule, SaysThatOneSidePregeneratesAndTheOtherDoesNot) {
    const SatConfig config;
    Workload w = small_network();
    make_sparse(w, {2, 8});
    Workload on_demand = w;
    for (Product& p : on_demand.products)
        if (p.is_sparse()) p.b_is_parameter = false;
    const std::string pregenerated = to_toml(config, w, find_schedule(config, w)),
                      needed = to_toml(config, on_demand, find_schedule(config, on_demand));
    EXPECT_NE(refusal([&] {
                  parse_schedule(pregenerated, "s.toml", config, on_demand);
              }).find("this one is packed when it is needed (a gradient, or a step with --on-demand)"),
              std::string::npos);
    EXPECT_NE(refusal([&] {
                  parse_schedule(needed, "s.toml", config, w);
              }).find("it packs weights when they are needed (as --on-demand"),
              std::string::npos);
    SatConfig off = config;
    off.pregeneration = false;
    EXPECT_NE(refusal([&] {
                  parse_schedule(pregenerated, "s.toml", off, w);
              }).find("features.pregeneration is off"),
              std::string::npos);
}

TEST(Schedule, SaysWhichBufferIsTooSmall) {
    SatConfig config;
    config.output_buffer_bytes = 4;
    const std::string message = refusal([&] { find_schedule(config, small_network()); });
    EXPECT_NE(message.find("layer conv1 FF: buffers are too small for any tiling: output buffer of 4 bytes "
                           "needs at least 8 (4 missing)"),
              std::string::npos)
        << message;
}

TEST(Schedule, RefusesAnMThatTheArrayLacks) {
    SatConfig config;
    config.stce.max_group = 4;
    Workload w = small_network();
    make_sparse(w, {2, 8});
    EXPECT_NE(refusal([&] {
                  find_schedule(config, w);
              }).find("groups of 8 values: the array supports 1..4 (max_group)"),
              std::string::npos);
}

TEST(Simulate, CyclesAreUsefulWorkPlusStalls) {
    SatConfig config;
    config.stce.rows = config.stce.cols = 8;
    Workload w = small_network();
    make_sparse(w, {2, 8});
    for (const bool buffered : {true, false}) {
        for (const bool pregenerated : {true, false}) {
            config.double_buffering = buffered;
            config.pregeneration = pregenerated;
            const Report report = simulate(config, w, find_schedule(config, w));
            int64_t total = 0;
            for (const ProductResult& r : report.products) {
                const double ideal = static_cast<double>(r.multiply_adds) / 64;
                EXPECT_TRUE(std::abs(ideal + r.stalls.total() - static_cast<double>(r.cycles)) <=
                            1e-6 * static_cast<double>(r.cycles));
                EXPECT_GT(r.utilization, 0);
                EXPECT_LE(r.utilization, 1);
                total += r.cycles;
            }
            for (const VectorResult& r : report.vector_work) total += r.cycles;
            EXPECT_EQ(report.total_cycles, total);
            EXPECT_GT(report.energy.total(), 0);
        }
    }
}

TEST(Schedule, ChunksHoldWholeGroups) {
    SatConfig config;
    Product p;
    p.layer = "l";
    p.m = p.n = p.k = 64;
    const Piece piece = pieces(p, Operand::b).front();
    Mapping mapping;
    mapping.engine.dataflow = Dataflow::os;
    mapping.engine.group = 4;
    mapping.engine.interleave = 1;
    mapping.streaming = true;
    mapping.tile_m = mapping.tile_n = 64;
    mapping.tile_k = 6;
    EXPECT_EQ(why_illegal(config, piece, mapping), "its chunk of 6 along k cuts groups of 4");
    mapping.tile_k = 8;
    EXPECT_EQ(why_illegal(config, piece, mapping), "");
}

}  // namespace
}  // namespace enmesh::accel::sat
