#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/accel/report/energy.hpp"
#include "enmesh/accel/sat/config.hpp"
#include "enmesh/accel/sat/stce/stce.hpp"
#include "enmesh/accel/workload/workload.hpp"

/// The offline scheduler: how each product of a step runs on SAT, found by exact search with the cost model
/// of this page (docs/schedule.md).
namespace enmesh::accel::sat {

/// Where an N:M operand gets its packed form.
enum class Pack : uint8_t {
    none,          ///< the product is dense
    pregenerated,  ///< the weight update wrote it
    on_load,       ///< SORE reduces the dense operand on its way into the buffer, at every load
    ahead,         ///< one pass of SORE over the whole operand before the product, packed form to DRAM
};
std::string_view to_string(Pack pack);

/// A buffer tile's loops in the engine's roles: m streamed rows, n indexed rows, k reduction.
enum class Loop : uint8_t { m, n, k };

/// How one phase of a product runs. Tiles are what the on-chip buffers hold; the engine mapping says how the
/// array works within a tile.
struct Mapping {
    EngineMapping engine;
    Operand indexed = Operand::b;  ///< the operand that is packed and held (or sent down the columns); the
                                   ///< other one streams
    int64_t tile_m = 0, tile_n = 0, tile_k = 0;
    std::array<Loop, 3> order = {Loop::n, Loop::m, Loop::k};  ///< outermost first
    bool streaming = false;  ///< output-stationary only: operands pass through the buffers in chunks of
                             ///< tile_k, again for each array tile
    Pack pack = Pack::none;

    friend bool operator==(const Mapping&, const Mapping&) = default;
};

/// A tile of an axis that is cut into tiles of equal size from its start; the last one may be shorter.
struct Span {
    int64_t size = 0;
    bool shorter = false;  ///< the last one, which is

    friend bool operator==(const Span&, const Span&) = default;
};

/// One phase of a product in the engine's roles, for one choice of the indexed operand.
struct Piece {
    EngineProduct engine;
    int64_t repeat = 1;  ///< equal pieces: phases of the same shape × batch

    /// An operand seen as rows × k; a convolution's im2col operand is stored without its duplicates.
    struct Source {
        bool im2col = false;
        bool rows_are_pixels =
            true;  ///< FF and BP: rows are output pixels, k runs over taps; WG the other way round
        int64_t images = 1, out_rows = 1, out_cols = 1;
        int64_t in_rows = 1, in_cols = 1;
        int64_t taps_height = 1, taps_width = 1, channels = 1;
        int64_t stride_height = 1, stride_width = 1, dilation_height = 1, dilation_width = 1;
        int bytes = 2;

        /// Values that a tile of `rows` × `depth` holds. Of a convolution's operand the distinct ones: as
        /// many as the largest tile of that size has, wherever it lies, each of its boxes of pixels for
        /// itself (docs/schedule.md, "The cost of a tile").
        int64_t values(Span rows, Span depth) const;
        /// The same of the whole operand, or of its start.
        int64_t values(int64_t rows, int64_t depth) const { return values(Span{rows}, Span{depth}); }
        /// Whether the loader can cut the pixels so: whole images, rows of an image, or a part of a row.
        bool cuts_pixels(int64_t tile) const;
        friend bool operator==(const Source&, const Source&) = default;
    };
    Source streamed, indexed;
    bool indexed_is_parameter = false;
    /// Of the whole indexed operand, dense and packed; only on the first phase of a sparse product.
    int64_t values_to_pack = 0, groups_to_pack = 0;
    int bytes_per_output = 2;
};

/// The pieces of a product if `indexed` is the indexed operand.
std::vector<Piece> pieces(const Product& product, Operand indexed);

/// What a piece costs, `repeat` included. cycles = engine_cycles + bandwidth_cycles + packing_cycles.
struct PieceCost {
    int64_t cycles = 0;
    int64_t engine_cycles = 0;
    int64_t bandwidth_cycles = 0;  ///< the engine waits for DRAM
    int64_t packing_cycles = 0;    ///< the engine waits for SORE
    EngineCycles engine;           ///< attribution in element-cycles, summed over tiles
    Activity activity;
    int64_t tiles = 0;

    PieceCost& operator+=(const PieceCost& other);
};

/// Why the mapping cannot run here (engine, buffers, switches), in one line; "" if it can.
std::string why_illegal(const SatConfig& config, const Piece& piece, const Mapping& mapping);

/// Changes when the same mapping may cost otherwise than before: results that are kept name it.
inline constexpr int cost_model_version = 2;

/// The cost model. Every buffer tile takes max(engine, DRAM, SORE) cycles with double buffering and their sum
/// without; the first tile's loads and the last one's stores are exposed. DRAM moves a tile's own operands
/// only when its loops change them, and partial sums only when the reduction is not the innermost loop. The
/// mapping must be legal.
PieceCost cost(const SatConfig& config, const Piece& piece, const Mapping& mapping);

/// Bytes of each buffer that the mapping needs, both halves if double-buffered.
struct BufferNeeds {
    int64_t input = 0, weight = 0, output = 0;
};
BufferNeeds buffer_needs(const SatConfig& config, const Piece& piece, const Mapping& mapping);

/// The mappings of one product, one per phase.
struct ProductSchedule {
    std::vector<Mapping> mappings;

    /// What a mapping costs on the machine and for the product of `key`. The search knows it, and simulate()
    /// takes it from here as long as mapping and key are the same.
    struct Known {
        Mapping mapping;
        PieceCost cost;
    };
    std::vector<Known> costs = {};  ///< one per phase, or none
    std::string key = {};
};

/// The mappings of a workload's products, in their order.
struct Schedule {
    std::vector<ProductSchedule> products;
};

/// The fastest legal mapping of every phase (ties: the one visited first), by exhaustive search over the
/// tilings that docs/schedule.md lists, pruned by lower bounds only. Equal products are searched once.
/// Refuses a product that no mapping fits, saying which buffer lacks how much.
Schedule find_schedule(const SatConfig& config, const Workload& workload);
ProductSchedule find_mappings(const SatConfig& config, const Product& product);

/// Mappings found so far, by everything that they depend on: the product, and of the machine what the cost of
/// such a product knows (not its clock, vector engine or energy). Design points that share these share the
/// search; threads may share a cache.
class ScheduleCache {
  public:
    ProductSchedule find(const SatConfig& config, const Product& product);

  private:
    std::mutex mutex_;
    std::map<std::string, ProductSchedule> known_;
};
/// find_schedule() that asks the cache first.
Schedule find_schedule(const SatConfig& config, const Workload& workload, ScheduleCache& cache);

/// Refuses a schedule that does not fit the workload or the machine, naming `file`, the product and what does
/// not fit.
void check(const SatConfig& config, const Workload& workload, const Schedule& schedule,
           const std::string& file);

/// A schedule as TOML: one [[product]] per product with its shape and one line per phase; equal inputs give
/// equal files.
std::string to_toml(const SatConfig& config, const Workload& workload, const Schedule& schedule);
/// Reads it back and checks it against workload and machine.
Schedule read_schedule(const std::filesystem::path& file, const SatConfig& config, const Workload& workload);
Schedule parse_schedule(std::string_view toml, const std::string& file, const SatConfig& config,
                        const Workload& workload);

}  // namespace enmesh::accel::sat
