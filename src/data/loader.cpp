#include "enmesh/data/loader.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>

#include "enmesh/base/buffer.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::data {

std::vector<uint32_t> epoch_order(uint64_t seed, int64_t epoch, int64_t count) {
    std::vector<uint32_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0U);
    Random random(seed, static_cast<uint64_t>(epoch));
    for (size_t last = order.size(); last > 1; --last) std::swap(order[last - 1], order[random.below(last)]);
    return order;
}

namespace {

struct Slot {
    Buffer images;
    Buffer labels;
    int64_t ready = -1;  ///< the position whose batch it holds, -1 while empty or being filled
    Batch batch;
};

/// Signals stay with the thread that trains: a loader thread must not run its handlers.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

  private:
    sigset_t before_;
};

}  // namespace

/// Batches are numbered by position = epoch * batches_per_epoch + index. Position p is prepared in slot p %
/// slots by whichever thread takes it, as soon as the batch that was there has been released.
struct Loader::State {
    const Images& images;
    ImageShape shape;
    Normalizer normalizer;
    LoaderOptions options;
    bool training;
    int64_t batches_per_epoch;

    std::mutex mutex;
    std::condition_variable work;   // a slot became free, or the threads are to stop
    std::condition_variable ready;  // a batch is ready, a thread failed, or one went idle
    std::vector<Slot> slots;
    int64_t taken = 0;     // the next position that a thread will prepare
    int64_t consumed = 0;  // the next position that next() returns
    int64_t released = 0;  // positions below may be overwritten
    int busy = 0;          // threads between taking a position and marking it ready
    bool paused = false;
    bool stopping = false;
    std::exception_ptr error;
    int64_t order_epoch = -1;
    std::shared_ptr<const std::vector<uint32_t>> order;
    std::vector<std::jthread> threads;

    State(const Dataset& dataset, const Images& split, const LoaderOptions& loader_options, bool is_training)
        : images(split),
          shape(dataset.image),
          normalizer(dataset.normalization, dataset.pixel_max),
          options(loader_options),
          training(is_training) {
        if (options.batch < 1) refuse("the batch must be at least 1, not {}", options.batch);
        if (options.threads < 1) refuse("at least one loader thread is needed, not {}", options.threads);
        if (images.count() == 0) refuse("{}: the split holds no images", dataset.name);
        if (training && options.batch > images.count()) {
            refuse("a batch of {} is larger than the training set of {} images; use --batch {} or less",
                   options.batch, images.count(), images.count());
        }
        batches_per_epoch =
            training ? images.count() / options.batch : (images.count() + options.batch - 1) / options.batch;
        slots.resize(static_cast<size_t>(options.threads) + 2);
        for (Slot& slot : slots) {
            slot.images = Buffer(static_cast<size_t>(options.batch * shape.pixels()) * sizeof(float));
            slot.labels = Buffer(static_cast<size_t>(options.batch) * sizeof(int32_t));
        }
        const SignalsBlocked blocked;
        try {
            for (int thread = 0; thread < options.threads; ++thread) threads.emplace_back([this] { run(); });
        } catch (const std::system_error& failed) {
            stop();
            fail("a thread that loads images cannot be started ({}): the limit of processes is reached",
                 failed.code().message());
        }
    }

    ~State() { stop(); }

    void stop() {
        {
            const std::lock_guard lock(mutex);
            stopping = true;
        }
        work.notify_all();
    }

    Slot& slot_of(int64_t position) { return slots[static_cast<size_t>(position) % slots.size()]; }
    int64_t end_position() const { return training ? INT64_MAX : batches_per_epoch; }

    bool can_take() const {
        return !paused && taken < end_position() && taken < released + static_cast<int64_t>(slots.size());
    }

    void run() {
        std::unique_lock lock(mutex);
        for (;;) {
            work.wait(lock, [this] { return stopping || can_take(); });
            if (stopping) return;
            const int64_t position = taken++;
            ++busy;
            Slot& slot = slot_of(position);
            slot.ready = -1;
            try {
                const auto order_used = order_of(position / batches_per_epoch);
                lock.unlock();
                fill(slot, position, order_used.get());
                lock.lock();
                slot.ready = position;
            } catch (...) {
                if (!lock.owns_lock()) lock.lock();
                error = std::current_exception();
            }
            --busy;
            ready.notify_all();
        }
    }

    /// Under the lock. Positions are taken in order, so one epoch is kept.
    std::shared_ptr<const std::vector<uint32_t>> order_of(int64_t epoch) {
        if (!training) return nullptr;
        if (epoch != order_epoch) {
            order = std::make_shared<const std::vector<uint32_t>>(
                epoch_order(options.seed, epoch, images.count()));
            order_epoch = epoch;
        }
        return order;
    }

    void fill(Slot& slot, int64_t position, const std::vector<uint32_t>* order_used) {
        const int64_t epoch = position / batches_per_epoch, index = position % batches_per_epoch;
        const int64_t first = index * options.batch, pixels = shape.pixels();
        const int64_t count = std::min(options.batch, images.count() - first);
        const std::span<float> out = slot.images.as<float>();
        const std::span<int32_t> labels = slot.labels.as<int32_t>();
        const Augmentation augmentation = training ? options.augmentation : Augmentation{};
        for (int64_t i = 0; i < count; ++i) {
            const int64_t image =
                order_used != nullptr ? (*order_used)[static_cast<size_t>(first + i)] : first + i;
            const std::span<const uint8_t> src(images.pixels.data() + image * pixels,
                                               static_cast<size_t>(pixels));
            const Draw choices = draw(augmentation, shape, options.seed, epoch, image);
            augment(src, shape, normalizer, augmentation, choices,
                    out.subspan(static_cast<size_t>(i * pixels), static_cast<size_t>(pixels)));
            labels[static_cast<size_t>(i)] = images.labels[static_cast<size_t>(image)];
        }
        std::fill(out.begin() + count * pixels, out.end(), 0.0F);
        std::fill(labels.begin() + count, labels.end(), -1);
        slot.batch = {out, labels, count, epoch, index};
    }

    const Batch* next() {
        std::unique_lock lock(mutex);
        released = consumed;
        work.notify_all();
        if (consumed >= end_position()) return nullptr;
        Slot& slot = slot_of(consumed);
        ready.wait(lock, [&] { return error || slot.ready == consumed; });
        if (error) std::rethrow_exception(error);
        ++consumed;
        return &slot.batch;
    }

    void seek(int64_t epoch, int64_t index) {
        if (epoch < 0 || index < 0 || index > batches_per_epoch || (!training && epoch != 0)) {
            refuse("there is no batch {} of epoch {}: an epoch has {} batches", index, epoch,
                   batches_per_epoch);
        }
        std::unique_lock lock(mutex);
        paused = true;
        ready.wait(lock, [this] { return busy == 0; });
        for (Slot& slot : slots) slot.ready = -1;
        taken = consumed = released = epoch * batches_per_epoch + index;
        paused = false;
        work.notify_all();
    }
};

Loader::Loader(std::unique_ptr<State> state) : state_(std::move(state)) {}
Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;
Loader::~Loader() = default;

Loader Loader::training(const Dataset& dataset, const LoaderOptions& options) {
    return Loader(std::make_unique<State>(dataset, dataset.train, options, true));
}

Loader Loader::evaluation(const Dataset& dataset, const Images& split, const LoaderOptions& options) {
    return Loader(std::make_unique<State>(dataset, split, options, false));
}

const Batch* Loader::next() { return state_->next(); }
void Loader::seek(int64_t epoch, int64_t index) { state_->seek(epoch, index); }
int64_t Loader::batches_per_epoch() const { return state_->batches_per_epoch; }

}  // namespace enmesh::data
