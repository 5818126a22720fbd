#include "enmesh/data/dataset.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <set>

#include "files.hpp"

namespace enmesh::data {
namespace {

TEST(Spec, KnownKinds) {
    EXPECT_EQ(parse_data_spec("cifar10:some/where").kind, "cifar10");
    EXPECT_EQ(parse_data_spec("cifar10:some/where").path, "some/where");
    EXPECT_EQ(parse_data_spec("imagefolder:C:odd").path, "C:odd");
    for (const char* text : {"digits", "digits:7", "mnist:a", "idx:b"})
        EXPECT_EQ(to_string(parse_data_spec(text)), text);
}

TEST(Spec, Refusals) {
    EXPECT_CONTAINS(error_of([] { parse_data_spec("cifar1:x"); }), "did you mean 'cifar10'?");
    EXPECT_CONTAINS(error_of([] { parse_data_spec("digit"); }), "did you mean 'digits'?");
    EXPECT_CONTAINS(error_of([] { parse_data_spec("mnist"); }), "mnist:DIR");
    EXPECT_CONTAINS(error_of([] { parse_data_spec("mnist:"); }), "mnist:DIR");
    EXPECT_CONTAINS(error_of([] { parse_data_spec("digits:/tmp"); }), "embedded");
    EXPECT_CONTAINS(error_of([] { load("cifar10:/no/such/folder"); }), "/no/such/folder: no such folder");
    EXPECT_CONTAINS(error_of([] { load("digits", {.image = ImageShape{1, 28, 28}}); }), "1x8x8");
}

TEST(Digits, SplitAndContents) {
    const Dataset dataset = load("digits");
    EXPECT_EQ(dataset.train.count(), 1437);
    EXPECT_EQ(dataset.test.count(), 360);
    EXPECT_EQ(dataset.image, (ImageShape{1, 8, 8}));
    EXPECT_EQ(dataset.classes(), 10);
    EXPECT_EQ(dataset.pixel_max, 16);
    std::vector<int64_t> counts = images_per_class(dataset.train, 10);
    const std::vector<int64_t> test_counts = images_per_class(dataset.test, 10);
    for (size_t i = 0; i < 10; ++i) counts[i] += test_counts[i];
    EXPECT_EQ(counts, (std::vector<int64_t>{178, 182, 177, 183, 181, 182, 181, 179, 174, 180}));
    EXPECT_EQ(*std::max_element(dataset.train.pixels.begin(), dataset.train.pixels.end()), 16);

    // No image is in both splits: all 1,797 differ, and their number is right.
    std::set<std::vector<uint8_t>> all;
    for (const Images* split : {&dataset.train, &dataset.test}) {
        for (auto it = split->pixels.begin(); it != split->pixels.end(); it += 64) all.emplace(it, it + 64);
    }
    EXPECT_EQ(all.size(), 1797U);
}

TEST(Digits, SplitFollowsItsSeedOnly) {
    EXPECT_EQ(digits(3).train.pixels, load("digits:3").train.pixels);
    EXPECT_EQ(digits(0).train.labels, load("digits").train.labels);
    EXPECT_NE(digits(0).train.pixels, digits(3).train.pixels);
}

TEST(Normalization, ExactOnKnownPixels) {
    Images images;
    images.pixels = {0, 255, 255, 0, 51, 51, 51, 51};  // two images of two channels, one row of two pixels
    images.labels = {0, 1};
    const Normalization result = normalization_of(images, {2, 1, 2}, 255);
    EXPECT_DOUBLE_EQ(result.mean[0], (0 + 255 + 51 + 51) / 4.0 / 255);
    EXPECT_DOUBLE_EQ(result.mean[1], (255 + 0 + 51 + 51) / 4.0 / 255);
    EXPECT_NEAR(result.deviation[0], std::sqrt((1 + 0.04 + 0.04) / 4 - 0.35 * 0.35), 1e-15);
    images.pixels.assign(8, 7);
    EXPECT_EQ(normalization_of(images, {2, 1, 2}, 255).deviation, (std::vector<double>{1, 1}));
}

class Idx : public ::testing::Test {
  protected:
    Idx() { reset(); }
    void reset() {
        save(folder / "train-images-idx3-ubyte", idx_images(20, 5, 7, 1));
        save(folder / "train-labels-idx1-ubyte", idx_labels(20, 4));
        save(folder / "t10k-images-idx3-ubyte", idx_images(6, 5, 7, 2));
        save(folder / "t10k-labels-idx1-ubyte", idx_labels(6, 3));
    }
    std::string refusal() {
        return error_of([this] { idx(folder.path()); });
    }
    /// The refusal when the training images are `bytes`, plain and in gzip.
    void expect_refused(const std::string& bytes, const std::string& why,
                        const char* file = "train-images-idx3-ubyte") {
        reset();
        save(folder / file, bytes);
        EXPECT_CONTAINS(refusal(), file);
        EXPECT_CONTAINS(refusal(), why);
        fs::remove(folder / file);
        const std::string packed = std::string(file) + ".gz";
        save(folder / packed, gzip(bytes));
        EXPECT_CONTAINS(refusal(), packed);
        EXPECT_CONTAINS(refusal(), why);
        fs::remove(folder / packed);
    }
    TemporaryFolder folder;
};

TEST_F(Idx, ReadsWhatWasWritten) {
    const Dataset plain = idx(folder.path());
    EXPECT_EQ(plain.image, (ImageShape{1, 5, 7}));
    EXPECT_EQ(plain.classes(), 4);
    EXPECT_EQ(plain.train.count(), 20);
    EXPECT_EQ(plain.test.count(), 6);
    const std::string pixels = noise(20 * 35, 1);
    EXPECT_EQ(plain.train.pixels, std::vector<uint8_t>(pixels.begin(), pixels.end()));
    EXPECT_EQ(plain.train.labels[6], 2);

    for (const auto& entry : std::vector<fs::directory_entry>(fs::directory_iterator(folder.path()), {})) {
        save(entry.path().string() + ".gz", gzip(slurp(entry.path())));
        fs::remove(entry.path());
    }
    const Dataset packed = idx(folder.path());
    EXPECT_EQ(packed.train.pixels, plain.train.pixels);
    EXPECT_EQ(packed.test.labels, plain.test.labels);
}

TEST_F(Idx, OtherNamesOfTheSameFilesAreFound) {
    const Dataset expected = load("idx:" + folder.path().string());
    const auto renamed = [&](const auto& rename) {
        for (const std::string part :
             {"train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"})
            rename(part + "-ubyte", std::string(part).replace(part.rfind('-'), 1, ".") + "-ubyte");
        EXPECT_EQ(load("idx:" + folder.path().string()).train.pixels, expected.train.pixels);
    };
    renamed([&](const std::string& name, const std::string& dotted) {
        fs::rename(folder / name, folder / dotted);
    });
    renamed([&](const std::string& name, const std::string& dotted) {  // a folder named like the file
        fs::create_directory(folder / name);
        fs::rename(folder / dotted, folder / name / name);
    });
}

TEST_F(Idx, ALeadingTildeIsTheHomeFolder) {
    const char* const home = std::getenv("HOME");
    const std::string before = home == nullptr ? "" : home;
    ::setenv("HOME", folder.path().parent_path().c_str(), 1);
    EXPECT_EQ(load("idx:~/" + folder.path().filename().string()).train.count(), 20);
    EXPECT_EQ(parse_data_spec("idx:a/~/b").path, "a/~/b");
    if (home == nullptr) ::unsetenv("HOME");
    if (home != nullptr) ::setenv("HOME", before.c_str(), 1);
}

TEST_F(Idx, BadFilesAreRefused) {
    const std::string good = idx_images(20, 5, 7, 1);
    expect_refused("", "truncated");
    expect_refused(good.substr(0, 9), "truncated");
    expect_refused(good.substr(0, good.size() - 1), "truncated");
    expect_refused(good + "x", "beyond");
    expect_refused("\x89PNG" + good.substr(4), "not an IDX file");
    expect_refused(idx_labels(20, 4), "mixed up");
    expect_refused(idx_images(19, 5, 7), "do not belong together");
    expect_refused(idx_images(20, 5, 8), "t10k-images", "train-images-idx3-ubyte");
    expect_refused(idx_images(0, 5, 7), "no data");
    expect_refused(idx_images(20, 0, 7), "no data");
    // Headers that promise the world: 4 Gi images, and more than 2^64 bytes.
    expect_refused(big_endian(0x803) + big_endian(~0U) + big_endian(5) + big_endian(7) + "abc",
                   "truncated or damaged");
    expect_refused(big_endian(0x803) + big_endian(~0U) + big_endian(~0U) + big_endian(~0U), "damaged");
    expect_refused(big_endian(0x801) + big_endian(~0U), "truncated or damaged", "train-labels-idx1-ubyte");
    expect_refused(good, "mixed up", "t10k-labels-idx1-ubyte");
    expect_refused(idx_labels(6, 5), "label 4 of image 4 is out of range: classes are 0 to 3",
                   "t10k-labels-idx1-ubyte");
    expect_refused(idx_labels(20, 4) + std::string(3, '\0'), "beyond", "train-labels-idx1-ubyte");
}

TEST_F(Idx, AClassWithoutTrainingImagesIsRefused) {
    const auto labels = [](const std::vector<int>& values) {
        std::string text = big_endian(0x801) + big_endian(static_cast<uint32_t>(values.size()));
        for (const int value : values) text += static_cast<char>(value);
        return text;
    };
    std::vector<int> values(20);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(i % 10);
    values[2] = 255;
    expect_refused(labels(values), "label 255 of image 2, but classes 10 to 254 have no training image",
                   "train-labels-idx1-ubyte");
    for (int& value : values) value = value == 3 || value == 5 || value == 6 ? 4 : value;
    expect_refused(labels(values), "but classes 3, 5 to 6, 10 to 254 have no", "train-labels-idx1-ubyte");
    values[2] = 2;
    expect_refused(labels(values), "label 9 of image 9, but classes 3, 5 to 6 have no",
                   "train-labels-idx1-ubyte");

    // A set that counts from 1 leaves class 0 empty.
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int>(1 + i % 4);
    save(folder / "train-labels-idx1-ubyte", labels(values));
    EXPECT_EQ(idx(folder.path()).classes(), 5);
    save(folder / "train-labels-idx1-ubyte", labels(std::vector<int>(20, 0)));
    save(folder / "t10k-labels-idx1-ubyte", labels(std::vector<int>(6, 0)));
    EXPECT_EQ(idx(folder.path()).classes(), 1);
}

TEST_F(Idx, DamagedGzipIsRefused) {
    const fs::path plain = folder / "train-images-idx3-ubyte", packed = folder / "train-images-idx3-ubyte.gz";
    const std::string good = gzip(slurp(plain));
    fs::remove(plain);
    save(packed, good.substr(0, good.size() / 2));
    EXPECT_CONTAINS(refusal(), "the gzip data is truncated");
    save(packed, good.substr(0, good.size() - 2));
    EXPECT_CONTAINS(refusal(), "the gzip data is truncated");
    std::string flipped = good;
    flipped[flipped.size() - 6] = static_cast<char>(flipped[flipped.size() - 6] ^ 1);  // the checksum
    save(packed, flipped);
    EXPECT_CONTAINS(refusal(), "the gzip data is damaged");
    save(packed, good + "tail");
    EXPECT_CONTAINS(refusal(), "4 bytes follow");
    fs::remove(packed);
    EXPECT_CONTAINS(refusal(), "no such file");
}

TEST_F(Idx, MnistKindsWantTheirShapeAndClasses) {
    EXPECT_CONTAINS(error_of([&] { mnist(folder.path()); }), "1x28x28");
    save(folder / "train-labels-idx1-ubyte", idx_labels(20, 11));
    EXPECT_CONTAINS(error_of([&] { fashion_mnist(folder.path()); }), "classes are 0 to 9");
    EXPECT_CONTAINS(error_of([&] { mnist(folder / "train-labels-idx1-ubyte"); }), "is a file");
}

class Cifar : public ::testing::Test {
  protected:
    Cifar() {
        for (int batch = 1; batch <= 5; ++batch) {
            save(folder / ("data_batch_" + std::to_string(batch) + ".bin"),
                 cifar_records(12, 10, 1, static_cast<uint64_t>(100 * batch)));
        }
        save(folder / "test_batch.bin", cifar_records(11, 10, 1, 900));
        save(folder / "train.bin", cifar_records(30, 100, 2, 1));
        save(folder / "test.bin", cifar_records(7, 100, 2, 2));
    }
    std::string refusal() {
        return error_of([this] { cifar10(folder.path()); });
    }
    TemporaryFolder folder;
};

TEST_F(Cifar, ReadsWhatWasWritten) {
    const Dataset ten = cifar10(folder.path());
    EXPECT_EQ(ten.image, (ImageShape{3, 32, 32}));
    EXPECT_EQ(ten.train.count(), 60);
    EXPECT_EQ(ten.test.count(), 11);
    EXPECT_EQ(ten.class_names[9], "truck");
    EXPECT_EQ(ten.train.labels[13], 1);
    const std::string pixels = noise(3072, 201);  // the second batch's second image
    EXPECT_TRUE(std::equal(pixels.begin(), pixels.end(), ten.train.pixels.begin() + 13 * 3072,
                           [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; }));
    const Dataset hundred = cifar100(folder.path());
    EXPECT_EQ(hundred.classes(), 100);
    EXPECT_EQ(hundred.class_names[99], "worm");
    EXPECT_EQ(hundred.train.labels[29], 29);  // the fine label, not the coarse one
}

TEST_F(Cifar, TheArchivesFolderIsFound) {
    TemporaryFolder outer;
    fs::create_directory(outer / "cifar-10-batches-bin");
    for (const auto& entry : fs::directory_iterator(folder.path())) {
        fs::copy(entry.path(), outer / "cifar-10-batches-bin" / entry.path().filename());
    }
    EXPECT_EQ(load("cifar10:" + outer.path().string()).train.count(), 60);
}

TEST_F(Cifar, BadFilesAreRefused) {
    const fs::path third = folder / "data_batch_3.bin";
    const std::string good = slurp(third);
    save(third, good.substr(0, good.size() - 100));
    EXPECT_CONTAINS(refusal(), "data_batch_3.bin");
    EXPECT_CONTAINS(refusal(), "truncated");
    save(third, good.substr(0, 3073 * 11));
    EXPECT_CONTAINS(refusal(), "11 images, but data_batch_1.bin has 12");
    save(third, good + "z");
    EXPECT_CONTAINS(refusal(), "whole number of 3073-byte records");
    save(third, "");
    EXPECT_CONTAINS(refusal(), "data_batch_3.bin");
    std::string mislabelled = good;
    mislabelled[3073 * 4] = 10;
    save(third, mislabelled);
    EXPECT_CONTAINS(refusal(), "label 10 of image 4 is out of range: classes are 0 to 9");
    fs::remove(third);
    EXPECT_CONTAINS(refusal(), "data_batch_3.bin: no such file");
    fs::create_directory(third);
    EXPECT_CONTAINS(refusal(), "is a directory");
    fs::remove(folder / "test.bin");
    EXPECT_CONTAINS(error_of([&] { cifar100(folder.path()); }), "test.bin: no such file");
    fs::remove(folder / "train.bin");
    EXPECT_CONTAINS(error_of([&] { cifar100(folder.path()); }), "binary version");
}

TEST(RealData, Mnist) {
    const fs::path folder = shared_data() / "mnist";
    if (!fs::is_directory(folder)) GTEST_SKIP() << "no MNIST here: set ENMESH_SHARED_DIR";
    const Dataset dataset = mnist(folder);
    EXPECT_EQ(dataset.train.count(), 60000);
    EXPECT_EQ(images_per_class(dataset.train, 10),
              (std::vector<int64_t>{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949}));
    EXPECT_EQ(images_per_class(dataset.test, 10),
              (std::vector<int64_t>{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}));
    EXPECT_NEAR(dataset.normalization.mean[0], 0.1307, 5e-5);
    EXPECT_NEAR(dataset.normalization.deviation[0], 0.3081, 5e-5);
}

}  // namespace
}  // namespace enmesh::data
