#include "enmesh/data/loader.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "files.hpp"

namespace enmesh::data {
namespace {

/// `count` training and 10 test images of 1x4x4 with noise; the label is the position, to tell images apart.
Dataset numbered(int64_t count) {
    Dataset dataset;
    dataset.name = "numbered";
    dataset.image = {1, 4, 4};
    for (auto [split, images] : {std::pair(&dataset.train, count), std::pair(&dataset.test, int64_t{10})}) {
        const std::string pixels = noise(static_cast<size_t>(images) * 16, 7);
        split->pixels.assign(pixels.begin(), pixels.end());
        split->labels.resize(static_cast<size_t>(images));
        std::iota(split->labels.begin(), split->labels.end(), 0);
    }
    dataset.class_names.resize(static_cast<size_t>(std::max<int64_t>(count, 10)));
    dataset.normalization = normalization_of(dataset.train, dataset.image, 255);
    return dataset;
}

struct Copy {
    std::vector<float> images;
    std::vector<int32_t> labels;
    int64_t count, epoch, index;
    bool operator==(const Copy&) const = default;
};

std::vector<Copy> take(Loader& loader, int batches) {
    std::vector<Copy> copies;
    for (int i = 0; i < batches; ++i) {
        const Batch* batch = loader.next();
        if (batch == nullptr) break;
        copies.push_back({{batch->images.begin(), batch->images.end()},
                          {batch->labels.begin(), batch->labels.end()},
                          batch->count,
                          batch->epoch,
                          batch->index});
    }
    return copies;
}

const Augmentation all_kinds{.crop_padding = 1, .horizontal_flip = true, .cutout = 2};

TEST(EpochOrder, IsThePermutationThatTheHeaderStates) {
    const std::vector<uint32_t> order = epoch_order(11, 3, 100);
    Random random(11, 3);
    std::vector<uint32_t> expected(100);
    std::iota(expected.begin(), expected.end(), 0U);
    for (size_t last = 100; last > 1; --last) std::swap(expected[last - 1], expected[random.below(last)]);
    EXPECT_EQ(order, expected);
    EXPECT_NE(order, epoch_order(11, 4, 100));
    EXPECT_NE(order, epoch_order(12, 3, 100));
    std::vector<uint32_t> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    for (uint32_t i = 0; i < 100; ++i) ASSERT_EQ(sorted[i], i);
    EXPECT_TRUE(epoch_order(1, 1, 0).empty());
}

TEST(Loader, TrainingFollowsTheOrderAndDropsTheRest) {
    const Dataset dataset = numbered(23);
    Loader loader = Loader::training(dataset, {.batch = 5, .seed = 9, .threads = 2});
    EXPECT_EQ(loader.batches_per_epoch(), 4);
    const std::vector<Copy> batches = take(loader, 12);
    for (int64_t b = 0; b < 12; ++b) {
        const Copy& batch = batches[static_cast<size_t>(b)];
        EXPECT_EQ(batch.epoch, b / 4);
        EXPECT_EQ(batch.index, b % 4);
        EXPECT_EQ(batch.count, 5);
        const std::vector<uint32_t> order = epoch_order(9, b / 4, 23);
        const Normalizer normalizer(dataset.normalization, 255);
        for (size_t i = 0; i < 5; ++i) {
            const uint32_t image = order[static_cast<size_t>(b % 4) * 5 + i];
            ASSERT_EQ(batch.labels[i], static_cast<int32_t>(image));
            for (size_t p = 0; p < 16; ++p) {
                ASSERT_EQ(batch.images[i * 16 + p],
                          normalizer.table(0)[dataset.train.pixels[image * 16 + p]]);
            }
        }
    }
}

TEST(Loader, BatchesDoNotDependOnThreads) {
    const Dataset dataset = numbered(50);
    const auto run = [&](int threads) {
        Loader loader =
            Loader::training(dataset, {.batch = 7, .seed = 1, .threads = threads, .augmentation = all_kinds});
        return take(loader, 40);
    };
    const std::vector<Copy> one = run(1);
    EXPECT_EQ(one.size(), 40U);
    EXPECT_EQ(one, run(2));
    EXPECT_EQ(one, run(5));
}

TEST(Loader, ResumesAtAnyBatch) {
    const Dataset dataset = numbered(50);
    const LoaderOptions options{.batch = 8, .seed = 4, .threads = 2, .augmentation = all_kinds};
    Loader whole = Loader::training(dataset, options);
    const std::vector<Copy> all = take(whole, 30);
    for (const int64_t position : {0, 1, 5, 6, 7, 17, 29}) {
        Loader resumed = Loader::training(dataset, options);
        resumed.seek(position / 6, position % 6);
        const std::vector<Copy> rest = take(resumed, static_cast<int>(30 - position));
        EXPECT_TRUE(std::equal(rest.begin(), rest.end(), all.begin() + position, all.end())) << position;
    }
    // Going back while the threads are ahead, and to the end of an epoch.
    for (int repeat = 0; repeat < 50; ++repeat) {
        whole.seek(0, repeat % 7);
        EXPECT_EQ(take(whole, 1)[0], all[static_cast<size_t>(repeat % 7)]);
    }
    EXPECT_CONTAINS(error_of([&] { whole.seek(0, 7); }), "6 batches");
    EXPECT_CONTAINS(error_of([&] { whole.seek(-1, 0); }), "epoch -1");
}

TEST(Loader, EvaluationCountsEveryImageOnce) {
    const Dataset dataset = numbered(23);
    for (const int64_t batch : {1, 3, 5, 10, 16}) {
        Loader loader = Loader::evaluation(dataset, dataset.test,
                                           {.batch = batch, .threads = 2, .augmentation = all_kinds});
        for (int pass = 0; pass < 2; ++pass) {
            int32_t next = 0;
            while (const Batch* part = loader.next()) {
                ASSERT_EQ(part->images.size(), static_cast<size_t>(batch * 16));
                for (int64_t i = 0; i < batch; ++i) {
                    ASSERT_EQ(part->labels[static_cast<size_t>(i)], i < part->count ? next++ : -1);
                    if (i >= part->count) {
                        ASSERT_EQ(part->images[static_cast<size_t>(i * 16)], 0.0F);
                    }
                }
            }
            EXPECT_EQ(next, 10);
            EXPECT_EQ(loader.next(), nullptr);
            loader.seek(0, 0);
        }
    }
}

TEST(Loader, ABatchStaysWhileItIsUsed) {
    const Dataset dataset = numbered(64);
    Loader loader = Loader::training(dataset, {.batch = 4, .threads = 3});
    for (int i = 0; i < 20; ++i) {
        const Batch* batch = loader.next();
        const std::vector<float> before(batch->images.begin(), batch->images.end());
        for (int spin = 0; spin < 1000; ++spin) {
            ASSERT_TRUE(std::equal(before.begin(), before.end(), batch->images.begin()));
        }
        EXPECT_EQ(reinterpret_cast<uintptr_t>(batch->images.data()) % 64, 0U);
    }
}

TEST(Loader, StopsWhereverTrainingStops) {
    const Dataset dataset = numbered(64);
    for (int repeat = 0; repeat < 100; ++repeat) {
        try {
            Loader loader = Loader::training(dataset, {.batch = 4, .threads = 1 + repeat % 4});
            for (int i = 0; i < repeat % 5; ++i) loader.next();
            Loader moved = std::move(loader);
            moved.next();
            throw std::runtime_error("diverged");
        } catch (const std::runtime_error&) {
        }
    }
}

TEST(Loader, Refusals) {
    const Dataset dataset = numbered(23);
    EXPECT_CONTAINS(error_of([&] { Loader::training(dataset, {.batch = 24}); }),
                    "larger than the training set of 23");
    EXPECT_CONTAINS(error_of([&] { Loader::training(dataset, {.batch = 0}); }), "at least 1");
    EXPECT_CONTAINS(error_of([&] { Loader::training(dataset, {.threads = 0}); }), "at least one");
}

}  // namespace
}  // namespace enmesh::data
