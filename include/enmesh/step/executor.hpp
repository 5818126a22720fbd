#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "enmesh/step/step.hpp"
#include "enmesh/tensor/tensor.hpp"

namespace enmesh {

/// What changes from one run of a step to the next.
struct RunContext {
    uint64_t seed = 0;
    int64_t update = 0;       ///< updates made before this one; random selections depend on it
    int64_t micro_batch = 0;  ///< 0 .. accumulate - 1
};

/// One thread at a time may use an executor; threads may each have their own.
///
/// Runs a TrainingStep. Values go in and out row-major in the logical shape and dtype, whatever layout runs
/// inside; an N:M value is read as its dense form with zeros.
class Executor {
  public:
    virtual ~Executor() = default;
    virtual const TrainingStep& step() const = 0;
    /// Inputs, parameters and states. The shape and dtype must be the value's.
    virtual void write(ValueId value, const Tensor& tensor) = 0;
    /// Parameters, states, and the results that are the step's outputs or carried; an executor for tests
    /// reads any value.
    virtual Tensor read(ValueId value) const = 0;
    /// By name, as "conv1.weight" or "images". Refuses a name that the step does not have, with the nearest.
    void write(std::string_view name, const Tensor& tensor) { write(value_named(name), tensor); }
    Tensor read(std::string_view name) const { return read(value_named(name)); }

    /// FF, BP and WG.
    virtual void gradients(const RunContext& context) = 0;
    /// WU: one optimizer update, then packing.
    virtual void update(const RunContext& context) = 0;
    /// Packing alone: after parameters were written from outside.
    virtual void refresh() = 0;
    /// After a non-finite loss: the first place, in the order of the step, that holds NaN or infinity, in
    /// words ("parameter 'conv1.weight'", "the output of layer 'layer1.0.conv1' (conv2d)"). Leaves every
    /// state as it is.
    virtual std::string first_non_finite(const RunContext& context) = 0;

  private:
    ValueId value_named(std::string_view name) const;
};

/// The outputs (n, classes) for images (n, c, h, w) as the network sees them, normalised. `inference` is an
/// executor of build_inference_step(); its batch need not divide n. Refuses images of another shape.
Tensor predict(Executor& inference, const Tensor& images);

/// Weights that already are N:M stay as they are, and their zeros are the mask; of others it is chosen by
/// magnitude (ties go to the lowest index) and what it prunes is zeroed. refresh() is the caller's.
void choose_frozen_mask(Executor& executor, const FrozenMask& mask);
/// Writes every parameter, state and frozen mask its first value and refreshes.
void initialize(Executor& executor, uint64_t seed);

}  // namespace enmesh
