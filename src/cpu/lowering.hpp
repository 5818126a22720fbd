#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cpu/simd/simd.hpp"
#include "enmesh/base/buffer.hpp"
#include "enmesh/cpu/executor.hpp"
#include "enmesh/products/packed.hpp"
#include "enmesh/products/problem.hpp"
#include "enmesh/step/step.hpp"

namespace enmesh::cpu {

/// How a value lies in memory. images with block 1 is plain row-major, which every value may have.
struct Layout {
    enum class Lanes : uint8_t { images, channels };
    /// Numbers as they are, or, in copies that only products read: rounded to bfloat16 yet stored as float32,
    /// or bfloat16.
    enum class Element : uint8_t { f32, rounded, bf16 };
    Lanes lanes = Lanes::images;
    int block = 1;
    Element element = Element::f32;
    friend auto operator<=>(const Layout&, const Layout&) = default;
    bool plain() const { return lanes == Lanes::images && block == 1; }
    Layout of(Element wanted) const { return {lanes, block, wanted}; }
};
constexpr Layout plain_layout{};

/// A feature map seen as groups of runs: a group is one channel (images) or one block of channels (channels);
/// each of its `runs` runs is `run` contiguous elements, `group_stride` and `run_stride` apart. Any rank >= 2
/// with channels on axis 1.
struct MapRuns {
    int64_t groups = 0, runs = 0, run = 0, group_stride = 0, run_stride = 0;
    int64_t pixels = 0;  ///< H * W
    int64_t channels = 0;
    int channels_per_group = 1;  ///< block for channels, 1 for images
};
MapRuns map_runs(const Shape& shape, Layout layout);

/// Where a value lives. Results are placed in the arena; everything else owns its memory.
struct Slot {
    Layout layout;
    ValueType type;
    int alias = -1;    ///< the slot whose memory this one shares
    int copy_of = -1;  ///< the slot that this one was converted or rounded from
    bool resident = false;
    int64_t offset = -1;  ///< in the arena
    Buffer own;
    std::unique_ptr<products::Packed> packed;  ///< for N:M values
};

/// One fused piece of work. `run` may use every pointer and the workspace, and allocates nothing of ours
/// (oneDNN allocates a little for each of its calls).
struct Command {
    Stage stage = Stage::FF;
    Kind kind = Kind::other;
    std::string layer, operation, kernel;
    std::vector<int> reads, writes;  ///< slots
    std::function<void(const RunContext&)> run;
    /// Rebuilds the kernel's own form of the weights; runs after every update (or right before `run` if the
    /// weights are themselves produced inside the step).
    std::function<void()> prepare;
    bool prepare_each_run = false;
    int node = -1;           ///< the last node it covers
    bool filled_in = false;  ///< see CommandReport
    double seconds = 0, prepare_seconds = 0;
};

/// A batch norm with what follows it: forward norm, add of a residual, relu (add and relu may be missing).
struct NormGroup {
    int norm = -1, add = -1, relu = -1;
    ValueId residual;
    int last() const { return relu >= 0 ? relu : add >= 0 ? add : norm; }
};
/// Backward: a sum of two gradients, relu_backward, batch_norm_backward (add and relu may be missing).
struct NormBackwardGroup {
    int add = -1, relu = -1, norm = -1;
};

/// A product or a sum whose one user is a relu, which runs along with it.
struct ReluGroup {
    int source = -1, relu = -1;
};

/// Everything a lowered step owns; operations' lower() functions fill it.
class Machine {
  public:
    Machine(TrainingStep step, const Options& options);
    /// Commands hold its address.
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    const TrainingStep& step() const { return step_; }
    const Graph& graph() const { return step_.graph; }
    Layout map_layout() const { return map_layout_; }
    /// What convolutions and linear layers read: f32 unless the products' dtype is bfloat16.
    Layout::Element element() const { return element_; }
    /// What products without a bfloat16 kernel of their own read.
    Layout::Element float_element() const {
        return element_ == Layout::Element::f32 ? Layout::Element::f32 : Layout::Element::rounded;
    }
    const Options& options() const { return options_; }
    /// The kernels that products are chosen from.
    const products::KernelList& kernels() const;
    /// The kernel chosen for each product; filled in as products are lowered.
    KernelPlan& plan() { return plan_; }
    const KernelPlan& plan() const { return plan_; }
    /// Read when a choice first asks for it: the default choices never do.
    KernelCache& cache();
    /// The relu that runs along with a convolution, or null.
    const Node* relu_after(const Node& node) const;

    // Building. `slot_of` is where a graph value lives.
    int slot_of(ValueId value) const { return value.index; }
    const Slot& slot(int index) const { return slots_[static_cast<size_t>(index)]; }
    Slot& slot(int index) { return slots_[static_cast<size_t>(index)]; }
    /// The slot of `value` in the given layout: its own, or that of a conversion inserted here (and shared by
    /// later users).
    int in(ValueId value, Layout layout) { return in_layout(slot_of(value), layout); }
    int in_layout(int index, Layout layout);
    int in_plain(ValueId value) { return in(value, plain_layout); }
    /// Weights as float_element() has them: themselves, or rounded into memory that the next call reuses.
    /// reserve_rounding() books that memory (in floats) while the machine is built: for products that need
    /// rounded() or rounding_memory().
    void reserve_rounding(int64_t floats);
    std::span<const float> rounded(std::span<const float> weights);
    products::PackedView rounded(const products::PackedView& weights);
    /// The same memory for other work on weights between steps.
    std::span<float> rounding_memory() { return rounding_.as<float>(); }
    /// Declares the layout of a result about to be written.
    int out(ValueId value, Layout layout = plain_layout);
    /// A buffer that lives while the command being built runs. Offsets are handed out from the shared
    /// workspace.
    size_t book(size_t bytes);
    /// Memory that lives as long as the machine (prepared weights, small tables).
    std::span<std::byte> keep(size_t bytes);
    /// Appends a command for `node`; its stage, layer and operation are filled in.
    void add(const Node& node, Kind kind, std::vector<int> reads, std::vector<int> writes,
             std::function<void(const RunContext&)> run, std::string kernel = {});
    Command& last_command() { return commands_.back(); }

    // Running.
    float* f32(int slot_index) { return static_cast<float*>(data(slot_index)); }
    uint16_t* bf16(int slot_index) { return static_cast<uint16_t*>(data(slot_index)); }
    void* data(int slot_index);
    products::Packed& packed(int slot_index);
    std::byte* workspace(size_t offset) { return static_cast<std::byte*>(workspace_.data()) + offset; }
    int root(int slot_index) const;

    std::vector<Command>& commands() { return commands_; }
    MemoryReport memory() const;
    void write(ValueId value, const Tensor& tensor);
    Tensor read(ValueId value);
    bool readable(ValueId value) const;

  private:
    void place_values();
    void find_groups();
    void find_norm(int node, const std::function<int(ValueId)>& only_consumer);
    void find_norm_backward(int node, const std::vector<std::vector<int>>& consumers,
                            const std::set<int>& wanted_outside);
    void find_relu(int node, const std::function<int(ValueId)>& only_consumer);
    void lower_nodes();
    void plan_arena();
    int add_conversion(int from, Layout layout);
    int add_rounding(int from, Layout layout);
    int add_copy(int from, Layout layout, DType dtype);

    TrainingStep step_;
    Options options_;
    KernelPlan plan_;
    std::optional<KernelCache> cache_;
    Layout map_layout_;
    Layout::Element element_ = Layout::Element::f32;
    std::vector<Slot> slots_;
    std::map<std::pair<int, Layout>, int> conversions_;  ///< (slot, layout) -> converted slot
    std::vector<Command> commands_;
    std::vector<Buffer> kept_;
    Buffer arena_, workspace_, rounding_;
    size_t workspace_bytes_ = 0, booked_ = 0;
    std::map<int, NormGroup> norm_groups_;                   ///< by last node
    std::map<int, NormBackwardGroup> norm_backward_groups_;  ///< by last node
    std::map<int, int> product_relus_;                       ///< result of a convolution -> its relu
    std::map<int, ReluGroup> sum_relus_;                     ///< by relu
    std::vector<bool> covered_;                              ///< nodes that a group's last node stands for
    int node_ = -1;                                          ///< being lowered
    MemoryReport report_;
};

// Fused norms: ops/batch_norm.cpp.
void lower(Machine& machine, const NormGroup& group);
void lower(Machine& machine, const NormBackwardGroup& group);
// A sum with its relu: ops/add.cpp.
void lower(Machine& machine, const ReluGroup& group);

/// Turns one node into commands. Specialised for each operation in ops/NAME.cpp: Machine calls it for every
/// alternative of AnyOperation, and a missing specialisation fails to link.
template <typename Op>
requires is_listed<Op, AnyOperation>
void lower(Machine& machine, const Node& node, const Op& op);

}  // namespace enmesh::cpu
