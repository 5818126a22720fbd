#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "enmesh/data/augment.hpp"
#include "enmesh/data/dataset.hpp"

namespace enmesh::data {

/// The order of an epoch: the permutation of [0, count) by a Fisher-Yates shuffle from the last position
/// down, with Random(seed, stream = epoch): a pure function of (seed, epoch, count).
std::vector<uint32_t> epoch_order(uint64_t seed, int64_t epoch, int64_t count);

/// Float32 images (count, c, h, w) and int32 labels in the loader's memory, 64-byte aligned; valid until the
/// next call of next() or seek(). The buffers always hold `batch` images: those from `count` on are zeros
/// with label -1.
struct Batch {
    std::span<const float> images;
    std::span<const int32_t> labels;
    int64_t count = 0;
    int64_t epoch = 0;
    int64_t index = 0;  ///< of the batch within its epoch
};

struct LoaderOptions {
    int64_t batch = 128;
    uint64_t seed = 0;
    int threads = 1;  ///< loader threads; the batches do not depend on them
    Augmentation augmentation{};
};

/// Threads that prepare the batches ahead of the one in use (threads + 2 buffers). The dataset must outlive
/// the loader. Destroying the loader at any moment stops its threads.
class Loader {
  public:
    /// Batches of the training set without end, epoch after epoch, each in its epoch_order; the last partial
    /// batch is dropped. Refuses a batch larger than the set.
    static Loader training(const Dataset& dataset, const LoaderOptions& options);
    /// One pass over a split in its own order, without augmentation; the last batch may be partial.
    static Loader evaluation(const Dataset& dataset, const Images& split, const LoaderOptions& options);

    Loader(Loader&&) noexcept;
    Loader& operator=(Loader&&) noexcept;
    ~Loader();

    /// The next batch; nullptr after an evaluation's last one.
    const Batch* next();
    /// What next() returns first is batch `index` of `epoch` (of epoch 0 in an evaluation): where a run
    /// resumes. `index` may be batches_per_epoch(): the end of the epoch.
    void seek(int64_t epoch, int64_t index);
    int64_t batches_per_epoch() const;

  private:
    struct State;
    explicit Loader(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace enmesh::data
