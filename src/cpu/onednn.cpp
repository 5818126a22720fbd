#include "cpu/onednn.hpp"

#include <omp.h>

#include <dnnl.hpp>
#include <optional>
#include <vector>

#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"
#include "enmesh/products/kernel.hpp"

namespace enmesh::cpu {
namespace {

using dnnl::memory;

/// The engine; made once, after the library was told which instructions it may use.
const dnnl::engine& engine() {
    static const dnnl::engine made = [] {
        if (isa() == Isa::avx2) dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2);
        if (isa() == Isa::portable) dnnl::set_max_cpu_isa(dnnl::cpu_isa::sse41);
        return dnnl::engine(dnnl::engine::kind::cpu, 0);
    }();
    return made;
}

/// Ours is the thread count that parallel.hpp knows; the library takes OpenMP's. The runtime must not give it
/// fewer (OMP_DYNAMIC): a team smaller than planned waits for the missing threads for ever.
void use_our_threads() {
    if (omp_in_parallel()) return;
    omp_set_dynamic(0);
    omp_set_num_threads(threads());
}

using Element = Layout::Element;

memory::data_type type_of(Element element) {
    return element == Element::bf16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::desc map_desc(const memory::dims& dims, Layout layout) {
    memory::format_tag tag = memory::format_tag::nchw;
    if (layout.lanes == Layout::Lanes::channels) {
        tag = layout.block == 16 ? memory::format_tag::nChw16c : memory::format_tag::nChw8c;
    } else {
        ENMESH_ASSERT(layout.block == 1);
    }
    return {dims, type_of(layout.element), tag};
}

struct Geometry {
    memory::dims src, weights, dst, bias, strides, dilates, pad_before, pad_after;

    explicit Geometry(const products::Conv& c)
        : src{c.n, c.c, c.h, c.w},
          weights{c.k, c.c, c.r, c.s},
          dst{c.n, c.k, c.out_h(), c.out_w()},
          bias{c.k},
          strides{c.stride_h, c.stride_w},
          dilates{c.dilation_h - 1, c.dilation_w - 1},
          pad_before{c.pad_top, c.pad_left},
          pad_after{c.pad_bottom, c.pad_right} {
        if (c.groups > 1) weights = {c.groups, c.k / c.groups, c.c / c.groups, c.r, c.s};
    }
    memory::desc any_weights(memory::data_type type) const {
        return {weights, type, memory::format_tag::any};
    }
    memory::desc plain_weights() const {
        return {weights, memory::data_type::f32,
                weights.size() == 5 ? memory::format_tag::goihw : memory::format_tag::oihw};
    }
};

/// The maps on either side: in the given layouts, or as the library likes them.
struct MapPair {
    std::optional<std::pair<Layout, Layout>> layouts;
    Element src = Element::f32, dst = Element::f32;

    static MapPair in(Layout src, Layout dst) { return {std::pair{src, dst}, src.element, dst.element}; }
    memory::desc src_desc(const Geometry& geometry, Element element) const {
        if (layouts) return map_desc(geometry.src, layouts->first.of(element));
        return {geometry.src, type_of(element), memory::format_tag::any};
    }
    memory::desc dst_desc(const Geometry& geometry, Element element) const {
        if (layouts) return map_desc(geometry.dst, layouts->second.of(element));
        return {geometry.dst, type_of(element), memory::format_tag::any};
    }
};

dnnl::primitive_attr user_scratchpad() {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attributes;
}

using Forward = dnnl::convolution_forward;
using BackwardData = dnnl::convolution_backward_data;
using BackwardWeights = dnnl::convolution_backward_weights;

// oneDNN 3 makes primitive descriptors directly, 2 through an operation descriptor: these three functions are
// the whole difference for us.
#if DNNL_VERSION_MAJOR >= 3
Forward::primitive_desc forward_desc(dnnl::algorithm algorithm, const Geometry& g, const memory::desc& src,
                                     const memory::desc& weights, const memory::desc& bias,
                                     const memory::desc& dst) {
    return {engine(),    dnnl::prop_kind::forward_training,
            algorithm,   src,
            weights,     bias,
            dst,         g.strides,
            g.dilates,   g.pad_before,
            g.pad_after, user_scratchpad()};
}
BackwardData::primitive_desc backward_data_desc(dnnl::algorithm algorithm, const Geometry& g,
                                                const memory::desc& src, const memory::desc& weights,
                                                const memory::desc& dst,
                                                const Forward::primitive_desc& hint) {
    return {engine(),     algorithm,   src,  weights,          dst, g.strides, g.dilates,
            g.pad_before, g.pad_after, hint, user_scratchpad()};
}
BackwardWeights::primitive_desc backward_weights_desc(dnnl::algorithm algorithm, const Geometry& g,
                                                      const memory::desc& src, const memory::desc& weights,
                                                      const memory::desc& dst,
                                                      const Forward::primitive_desc& hint) {
    return {engine(),     algorithm,   src,  weights,          dst, g.strides, g.dilates,
            g.pad_before, g.pad_after, hint, user_scratchpad()};
}
#else
Forward::primitive_desc forward_desc(dnnl::algorithm algorithm, const Geometry& g, const memory::desc& src,
                                     const memory::desc& weights, const memory::desc& bias,
                                     const memory::desc& dst) {
    const Forward::desc operation(dnnl::prop_kind::forward_training, algorithm, src, weights, bias, dst,
                                  g.strides, g.dilates, g.pad_before, g.pad_after);
    return {operation, user_scratchpad(), engine()};
}
BackwardData::primitive_desc backward_data_desc(dnnl::algorithm algorithm, const Geometry& g,
                                                const memory::desc& src, const memory::desc& weights,
                                                const memory::desc& dst,
                                                const Forward::primitive_desc& hint) {
    const BackwardData::desc operation(algorithm, src, weights, dst, g.strides, g.dilates, g.pad_before,
                                       g.pad_after);
    return {operation, user_scratchpad(), engine(), hint};
}
BackwardWeights::primitive_desc backward_weights_desc(dnnl::algorithm algorithm, const Geometry& g,
                                                      const memory::desc& src, const memory::desc& weights,
                                                      const memory::desc& dst,
                                                      const Forward::primitive_desc& hint) {
    const BackwardWeights::desc operation(algorithm, src, weights, dst, g.strides, g.dilates, g.pad_before,
                                          g.pad_after);
    return {operation, user_scratchpad(), engine(), hint};
}
#endif

dnnl::matmul::primitive_desc matmul_desc(const memory::desc& a, const memory::desc& b,
                                         const memory::desc& bias, const memory::desc& out) {
#if DNNL_VERSION_MAJOR >= 3
    return {engine(), a, b, bias, out, user_scratchpad()};
#else
    return {dnnl::matmul::desc(a, b, bias, out), user_scratchpad(), engine()};
#endif
}

/// A primitive with its operands, put together once: a run sets their addresses and allocates nothing itself.
class Call {
  public:
    void set(dnnl::primitive primitive) { primitive_ = std::move(primitive); }
    /// Adds an operand without memory; its index is for at().
    void add(int argument, const memory::desc& desc) {
        operands_.emplace_back(desc, engine(), nullptr);
        arguments_.push_back({argument, operands_.back().get()});
    }
    void at(size_t operand, const void* data) const {
        operands_[operand].set_data_handle(const_cast<void*>(data));
    }
    void execute() const {
        dnnl::error::wrap_c_api(
            dnnl_primitive_execute(primitive_.get(), stream_.get(), static_cast<int>(arguments_.size()),
                                   arguments_.data()),
            "could not execute a primitive");
        stream_.wait();
    }

  private:
    mutable dnnl::stream stream_{engine()};  // its own: executors run in several threads at once
    dnnl::primitive primitive_;
    std::vector<memory> operands_;
    std::vector<dnnl_exec_arg_t> arguments_;
};

class Matmul final : public DnnlMatmul {
  public:
    Matmul(const MatrixShape& s, bool bias) {
        use_our_threads();
        constexpr auto bf16 = memory::data_type::bf16, f32 = memory::data_type::f32;
        using Strides = memory::dims;
        const memory::desc a({s.m, s.k}, bf16, s.transpose_a ? Strides{1, s.m} : Strides{s.k, 1});
        const memory::desc b({s.k, s.n}, bf16, s.transpose_b ? Strides{1, s.k} : Strides{s.n, 1});
        const memory::desc out({s.m, s.n}, f32, Strides{s.n, 1});
        const memory::desc offsets = bias ? memory::desc({1, s.n}, f32, Strides{s.n, 1}) : memory::desc();
        const auto desc = matmul_desc(a, b, offsets, out);
        kernel_ = std::string("oneDNN ") + desc.impl_info_str();
        scratch_bytes_ = desc.scratchpad_desc().get_size();
        call_.set(dnnl::matmul(desc));
        call_.add(DNNL_ARG_SRC, a);
        call_.add(DNNL_ARG_WEIGHTS, b);
        call_.add(DNNL_ARG_DST, out);
        call_.add(DNNL_ARG_SCRATCHPAD, desc.scratchpad_desc());
        if (bias) call_.add(DNNL_ARG_BIAS, offsets);
        bias_ = bias;
    }

    std::string kernel() const override { return kernel_; }
    size_t workspace_bytes() const override { return scratch_bytes_; }

    void run(const uint16_t* a, const uint16_t* b, const float* bias, float* out,
             std::byte* workspace) const override {
        use_our_threads();
        call_.at(0, a);
        call_.at(1, b);
        call_.at(2, out);
        call_.at(3, workspace);
        if (bias_) call_.at(4, bias);
        call_.execute();
    }

  private:
    Call call_;
    size_t scratch_bytes_ = 0;
    bool bias_ = false;
    std::string kernel_;
};

class Convolution final : public DnnlConvolution {
  public:
    Convolution(products::Stage stage, const products::Conv& conv, const MapPair& maps, bool bias,
                dnnl::algorithm algorithm)
        : stage_(stage), geometry_(conv) {
        use_our_threads();
        src_desc_ = maps.src_desc(geometry_, maps.src);
        dst_desc_ = maps.dst_desc(geometry_, maps.dst);
        const memory::desc bias_desc =
            bias ? memory::desc(geometry_.bias, memory::data_type::f32, memory::format_tag::x)
                 : memory::desc();
        const auto forward = forward_of(maps, bias_desc, algorithm);
        const Element weights = stage == products::Stage::bp ? maps.dst : Element::f32;
        const memory::desc any = geometry_.any_weights(type_of(weights));
        switch (stage) {
            case products::Stage::ff:
                adopt(forward, forward.weights_desc(), dnnl::convolution_forward(forward));
                src_desc_ = forward.src_desc();
                dst_desc_ = forward.dst_desc();
                break;
            case products::Stage::bp: {
                const auto desc =
                    backward_data_desc(algorithm, geometry_, src_desc_, any, dst_desc_, forward);
                adopt(desc, desc.weights_desc(), BackwardData(desc));
                src_desc_ = desc.diff_src_desc();
                dst_desc_ = desc.diff_dst_desc();
                break;
            }
            case products::Stage::wg: {
                const auto desc =
                    backward_weights_desc(algorithm, geometry_, src_desc_, any, dst_desc_, forward);
                adopt(desc, desc.diff_weights_desc(), BackwardWeights(desc));
                src_desc_ = desc.src_desc();
                dst_desc_ = desc.diff_dst_desc();
                break;
            }
        }
        plan_calls(bias, bias_desc);
    }

    std::string kernel() const override { return kernel_; }
    bool reference() const override { return kernel_.find("ref") != std::string::npos; }
    size_t workspace_bytes() const override {
        return weights_at_ + (stage_ == products::Stage::wg ? weights_.get_size() : 0);
    }
    size_t prepared_bytes() const override { return stage_ == products::Stage::wg ? 0 : weights_.get_size(); }
    size_t src_bytes() const override { return src_desc_.get_size(); }
    size_t dst_bytes() const override { return dst_desc_.get_size(); }

    void prepare(const float* weights, std::byte* prepared) const override {
        use_our_threads();
        reorder_.at(0, weights);
        reorder_.at(1, prepared);
        reorder_.execute();
    }

    void run(const Arguments& a) const override {
        use_our_threads();
        const bool ff = stage_ == products::Stage::ff, bp = stage_ == products::Stage::bp;
        call_.at(0, bp ? a.out : a.src);
        call_.at(1, ff ? a.out : a.diff_dst);
        call_.at(2, ff || bp ? a.prepared : a.workspace + weights_at_);
        call_.at(3, a.workspace);
        if (bias_) call_.at(4, a.bias);
        call_.execute();
        if (stage_ == products::Stage::wg) {
            reorder_.at(0, a.workspace + weights_at_);
            reorder_.at(1, a.out);
            reorder_.execute();
        }
    }

  private:
    /// FF itself, or what the backward products take as a hint: there all operands are of one type.
    Forward::primitive_desc forward_of(const MapPair& maps, const memory::desc& bias,
                                       dnnl::algorithm algorithm) const {
        const Element read = stage_ == products::Stage::ff ? maps.src : maps.dst;
        return forward_desc(algorithm, geometry_, maps.src_desc(geometry_, read),
                            geometry_.any_weights(type_of(read)), bias, dst_desc_);
    }

    template <typename Desc>
    void adopt(const Desc& desc, const memory::desc& weights, dnnl::primitive primitive) {
        weights_ = weights;
        scratch_ = desc.scratchpad_desc();
        kernel_ = std::string("oneDNN ") + desc.impl_info_str();
        call_.set(std::move(primitive));
    }

    /// The operands of the product and of the reorder between its own weights and plain ones.
    void plan_calls(bool bias, const memory::desc& bias_desc) {
        const bool ff = stage_ == products::Stage::ff, bp = stage_ == products::Stage::bp;
        call_.add(bp ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, src_desc_);
        call_.add(ff ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, dst_desc_);
        call_.add(ff || bp ? DNNL_ARG_WEIGHTS : DNNL_ARG_DIFF_WEIGHTS, weights_);
        call_.add(DNNL_ARG_SCRATCHPAD, scratch_);
        bias_ = ff && bias;
        if (bias_) call_.add(DNNL_ARG_BIAS, bias_desc);
        const memory own(weights_, engine(), nullptr), plain(geometry_.plain_weights(), engine(), nullptr);
        const bool from_own = stage_ == products::Stage::wg;
        reorder_.set(from_own ? dnnl::reorder(own, plain) : dnnl::reorder(plain, own));
        reorder_.add(DNNL_ARG_FROM, from_own ? weights_ : geometry_.plain_weights());
        reorder_.add(DNNL_ARG_TO, from_own ? geometry_.plain_weights() : weights_);
        constexpr size_t alignment = Buffer::alignment;
        weights_at_ = (scratch_.get_size() + alignment - 1) / alignment * alignment;
    }

    products::Stage stage_;
    Geometry geometry_;
    memory::desc src_desc_, dst_desc_, weights_, scratch_;
    Call call_, reorder_;
    bool bias_ = false;
    size_t weights_at_ = 0;
    std::string kernel_;
};

/// Null where the library has no Winograd for this shape, type, ISA or version.
std::unique_ptr<DnnlConvolution> plan_winograd(products::Stage stage, const products::Conv& conv, Layout src,
                                               Layout dst, bool bias) {
    const bool floats = src.element != Element::bf16 && dst.element != Element::bf16;
    const bool suits =
        conv.groups == 1 && conv.r == 3 && conv.s == 3 && conv.stride_h == 1 && conv.stride_w == 1;
    if (!floats || !suits || !products::winograd_allowed()) return nullptr;
    try {
        return std::make_unique<Convolution>(stage, conv, MapPair::in(src, dst), bias,
                                             dnnl::algorithm::convolution_winograd);
    } catch (const dnnl::error&) {
        return nullptr;
    }
}

}  // namespace

bool has_winograd(products::Stage stage, const products::Conv& conv, Layout src, Layout dst) {
    return plan_winograd(stage, conv, src, dst, false) != nullptr;
}

std::unique_ptr<DnnlConvolution> plan_convolution(products::Stage stage, const products::Conv& conv,
                                                  Layout src, Layout dst, bool bias,
                                                  std::optional<DnnlAlgorithm> algorithm) {
    if (algorithm != DnnlAlgorithm::direct) {
        if (auto plan = plan_winograd(stage, conv, src, dst, bias)) return plan;
    }
    try {
        return std::make_unique<Convolution>(stage, conv, MapPair::in(src, dst), bias,
                                             dnnl::algorithm::convolution_direct);
    } catch (const dnnl::error& error) {
        refuse("oneDNN cannot do the convolution {}: {}", products::to_string(conv), error.what());
    }
}

std::unique_ptr<DnnlConvolution> plan_contestant(products::Stage stage, const products::Conv& conv,
                                                 DnnlAlgorithm algorithm, Layout::Element element) {
    const MapPair maps{.src = stage == products::Stage::bp ? Element::f32 : element,
                       .dst = stage == products::Stage::ff ? Element::f32 : element};
    try {
        return std::make_unique<Convolution>(stage, conv, maps, false,
                                             algorithm == DnnlAlgorithm::winograd
                                                 ? dnnl::algorithm::convolution_winograd
                                                 : dnnl::algorithm::convolution_direct);
    } catch (const dnnl::error&) {
        return nullptr;
    }
}

std::unique_ptr<DnnlMatmul> plan_matmul(const MatrixShape& shape, bool bias) {
    try {
        return std::make_unique<Matmul>(shape, bias);
    } catch (const dnnl::error& error) {
        refuse("oneDNN cannot multiply {} x {} x {} in bfloat16: {}", shape.m, shape.n, shape.k,
               error.what());
    }
}

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
          const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
    engine();
    use_our_threads();
    const dnnl::status status = dnnl::sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0F,
                                            a, lda, b, ldb, beta, c, ldc);
    if (status != dnnl::status::success) fail("oneDNN could not multiply {} x {} x {}", m, n, k);
}

bool onednn_has_winograd() {
    return isa() == Isa::avx512 && dnnl::version()->major < 3 && products::winograd_allowed();
}

std::string onednn_version() {
    const dnnl::version_t* const version = dnnl::version();
    return fmt::format("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
}

}  // namespace enmesh::cpu
