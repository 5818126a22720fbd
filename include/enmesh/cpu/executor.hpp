#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "enmesh/cpu/kernel_plan.hpp"
#include "enmesh/products/kernel.hpp"
#include "enmesh/step/executor.hpp"
#include "enmesh/step/product_provider.hpp"

namespace enmesh::cpu {

/// How feature maps lie in memory; one choice for the whole network, so that no layer converts for the next.
enum class MapLayout {
    automatic,  ///< the faster of the two for a whole step where KernelChoice measures it; else channels
                ///< where the step can have them and oneDNN has Winograd (bfloat16: the processor has it),
                ///< else images
    channels,   ///< blocks of channels in the vector lanes: oneDNN's products
    images,     ///< blocks of images in the vector lanes: our products, dense and N:M
};

/// "auto", "channels", "images": as plans and the command line name them.
std::string to_string(MapLayout layout);
/// The layout of that name; nothing for others.
std::optional<MapLayout> map_layout_named(std::string_view name);

struct Options {
    MapLayout layout = MapLayout::automatic;
    KernelPlan plan;  ///< what it names is used as named; the rest is chosen by `choice`
    KernelChoice choice = KernelChoice::defaults;
    /// What products multiply: f32, or bf16: their operands (weights, maps, gradients; not biases) rounded to
    /// bfloat16, ties to even, their sums and all else float32. Where the processor has bfloat16
    /// instructions and all gradients are dense, kernels multiply bfloat16; elsewhere rounded operands are
    /// multiplied as float32, which is no faster. arithmetic() tells which.
    DType dtype = DType::f32;
    /// Computes every matrix product in place of our kernels and oneDNN's, on maps in plain NCHW.
    std::shared_ptr<const ProductProvider> products{};
    /// What products are chosen from; product_kernels() (kernels.hpp) if null.
    std::shared_ptr<const products::KernelList> kernels{};
    bool keep_everything = false;  ///< no buffer is reused, so that any value can be read after a run (tests)
};

/// What a command spends its time on; `bench step` sums by it.
enum class Kind { FF, BP, WG, update, pack, norm, other };
std::string to_string(Kind kind);

/// A command of the lowered step: what ran, for whom, how long in the last run.
struct CommandReport {
    std::string layer, operation, kernel;
    Stage stage = Stage::FF;
    Kind kind = Kind::other;
    double seconds = 0;
    bool filled_in = false;  ///< a dense kernel serves N:M weights with their zeros filled in
};

struct MemoryReport {
    int64_t arena_bytes = 0;     ///< results, reused as the plan allows
    int64_t resident_bytes = 0;  ///< parameters, states, inputs, constants
    int64_t prepared_bytes = 0;  ///< weights in the kernels' own form
    int64_t workspace_bytes = 0;
    int64_t conversion_bytes = 0;  ///< written per run by layout conversions
    int conversions = 0;
};

/// Executors share nothing that changes: threads may each make and run their own. One executor is one
/// thread's at a time; it starts its own team of threads, as many as threads() says when it is made, and
/// refuses to run where it cannot have them: after another set_threads(), or inside of a parallel region.
///
/// An Executor with fused, planned CPU commands: dense products from oneDNN or ours, N:M products ours, one
/// arena; nothing of ours is allocated while it runs. read() gives any resident value, any step output, and
/// (with keep_everything) any result.
class CpuExecutor : public Executor {
  public:
    using Executor::read;
    using Executor::write;
    /// Times each command of the next runs (a clock read per command).
    virtual void profile(bool on) = 0;
    virtual std::vector<CommandReport> commands() const = 0;
    virtual MemoryReport memory() const = 0;
    /// "float32", "bfloat16", or "bfloat16 operands multiplied as float32".
    virtual std::string arithmetic() const = 0;
    /// Layout and kernels as chosen: with it, another executor of the same step computes the same bits.
    virtual KernelPlan plan() const = 0;
};

/// "FF conv2", "BP conv2": the products with an N:M operand that a dense kernel serves, its zeros filled in.
std::vector<std::string> filled_in_products(const CpuExecutor& executor);

std::unique_ptr<CpuExecutor> make_executor(TrainingStep step, const Options& options = {});

}  // namespace enmesh::cpu
