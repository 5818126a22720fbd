#include "enmesh/data/fetch.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "cli/run_program.hpp"
#include "enmesh/data/dataset.hpp"
#include "files.hpp"

namespace enmesh::data {
namespace {

std::set<std::string> names_in(const fs::path& folder) {
    std::set<std::string> names;
    if (!fs::exists(folder)) return names;
    for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename().string());
    return names;
}

std::vector<RemoteFile> checksums_of(const fs::path& folder, size_t digits) {
    std::vector<RemoteFile> files;
    for (const std::string& name : names_in(folder))
        files.push_back({name, file_checksum(folder / name, digits)});
    return files;
}

TEST(Checksum, KnownAnswers) {
    TemporaryFolder folder;
    save(folder / "abc", "abc");
    save(folder / "empty", "");
    EXPECT_EQ(file_checksum(folder / "abc", 64),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(file_checksum(folder / "abc", 32), "900150983cd24fb0d6963f7d28e17f72");
    EXPECT_EQ(file_checksum(folder / "empty", 32), "d41d8cd98f00b204e9800998ecf8427e");
}

TEST(Checksum, Lines) {
    const auto files = parse_checksums(
        "900150983cd24fb0d6963f7d28e17f72  some/where/abc\n\nd41d8cd98f00b204e9800998ecf8427e *e\n");
    ASSERT_EQ(files.size(), 2U);
    EXPECT_EQ(files[0].name, "abc");
    EXPECT_EQ(files[1].name, "e");
    for (const char* text :
         {"", "abc  x", "900150983cd24fb0d6963f7d28e17f72", "900150983CD24FB0D6963F7D28E17F72  x"}) {
        EXPECT_NE(error_of([&] { parse_checksums(text); }), "") << text;
    }
}

TEST(Remotes, AreComplete) {
    EXPECT_EQ(remotes().size(), 3U);
    for (const Remote& one : remotes()) {
        EXPECT_EQ(parse_data_spec(one.kind + ":x").kind, one.kind);
        for (const RemoteFile& file : one.files) EXPECT_EQ(file.checksum.size(), 64U) << file.name;
    }
    EXPECT_CONTAINS(error_of([] { remote("minst"); }), "did you mean 'mnist'?");
}

class FetchMnist : public ::testing::Test {
  protected:
    FetchMnist() {
        save(mirror / "train-images-idx3-ubyte.gz", gzip(idx_images(30, 28, 28, 1)));
        save(mirror / "train-labels-idx1-ubyte.gz", gzip(idx_labels(30, 10)));
        save(mirror / "t10k-images-idx3-ubyte.gz", gzip(idx_images(8, 28, 28, 2)));
        save(mirror / "t10k-labels-idx1-ubyte.gz", gzip(idx_labels(8, 8)));
        options.url = "file://" + mirror.path().string();
        options.checksums = checksums_of(mirror.path(), 64);
        options.progress = [this](const FetchProgress& progress) {
            if (progress.present) ++present;
            return !stop;
        };
    }
    void run() { fetch(remote("mnist"), target / "new", options); }
    TemporaryFolder mirror, target;
    FetchOptions options;
    int present = 0;
    bool stop = false;
};

TEST_F(FetchMnist, DownloadsOnceAndReadably) {
    run();
    EXPECT_EQ(names_in(target / "new"), names_in(mirror.path()));
    EXPECT_EQ(mnist(target / "new").train.count(), 30);
    EXPECT_EQ(present, 0);
    run();
    EXPECT_EQ(present, 4);
    options.checksums = checksums_of(mirror.path(), 32);
    run();
    EXPECT_EQ(present, 8);
    // A damaged file is fetched again.
    save(target / "new" / "t10k-labels-idx1-ubyte.gz", "damaged");
    run();
    EXPECT_EQ(present, 11);
    EXPECT_EQ(mnist(target / "new").test.count(), 8);
}

TEST_F(FetchMnist, WrongChecksumLeavesNothing) {
    options.checksums.clear();  // the official ones, which these files do not have
    EXPECT_CONTAINS(error_of([this] { run(); }, ErrorKind::failure), "wrong checksum");
    EXPECT_EQ(names_in(target / "new"), std::set<std::string>{});
    options.checksums = {{"train-images-idx3-ubyte.gz", std::string(64, '0')}};
    EXPECT_CONTAINS(error_of([this] { run(); }), "none for train-labels-idx1-ubyte.gz");
}

TEST_F(FetchMnist, FailuresLeaveNothing) {
    options.url += "/nowhere";
    EXPECT_CONTAINS(error_of([this] { run(); }, ErrorKind::failure), "nowhere/train-images-idx3-ubyte.gz");
    EXPECT_EQ(names_in(target / "new"), std::set<std::string>{});
    options.url = "ftp://127.0.0.1/x";
    EXPECT_CONTAINS(error_of([this] { run(); }, ErrorKind::failure), "ftp");
    options.url = "http://127.0.0.1:9/x";  // the discard port, closed
    EXPECT_CONTAINS(error_of([this] { run(); }, ErrorKind::failure), "127.0.0.1");
    EXPECT_EQ(names_in(target / "new"), std::set<std::string>{});
    options.url = "file://" + mirror.path().string();
    stop = true;
    EXPECT_CONTAINS(error_of([this] { run(); }, ErrorKind::failure), "stopped");
    EXPECT_EQ(names_in(target / "new"), std::set<std::string>{});
    save(target / "file", "in the way");
    EXPECT_CONTAINS(error_of([this] { fetch(remote("mnist"), target / "file", options); }), "file: ");
}

TEST_F(FetchMnist, FromTheProgram) {
    using testing::run_program;
    std::string sums;
    for (const RemoteFile& file : options.checksums) sums += file.checksum + "  " + file.name + "\n";
    save(target / "sums", sums);
    const std::string into = (target / "cli").string();
    std::vector<std::string> arguments{"data", "fetch", "mnist", into, "--url", options.url};
    const auto wrong = run_program(arguments);
    EXPECT_EQ(wrong.code, 1);
    EXPECT_CONTAINS(wrong.err, "wrong checksum");
    EXPECT_EQ(names_in(into), std::set<std::string>{});
    arguments.insert(arguments.end(), {"--checksums", (target / "sums").string()});
    const auto right = run_program(arguments);
    EXPECT_EQ(right.code, 0) << right.err;
    EXPECT_EQ(right.out, "mnist is ready: --data mnist:" + into + "\n");
    EXPECT_EQ(right.err.find_first_of("\r\x1b"), std::string::npos) << right.err;

    const auto info = run_program({"data", "info", "mnist:" + into, "--json", "-"});
    EXPECT_EQ(info.code, 0) << info.err;
    const auto json = nlohmann::json::parse(info.out);
    EXPECT_EQ(json["train"]["images"], 30);
    EXPECT_EQ(json["image"]["height"], 28);
    EXPECT_EQ(json["test"]["per_class"], std::vector<int>({1, 1, 1, 1, 1, 1, 1, 1, 0, 0}));
    EXPECT_EQ(json["mean"].size(), 1U);
}

TEST(Program, WrongRequestsAreOneLine) {
    for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
             {"data"},
             {"data", "fetsh"},
             {"data", "fetch", "minst", "/tmp"},
             {"data", "info", "mnist:/no/such/folder"},
             {"data", "info", "digitts"},
             {"data", "info", "digits", "--jsn", "-"},
             {"data", "info", "digits", "--image", "3x3"},
             {"data", "info", "digits", "--image", "3x32x32"},
         }) {
        const auto result = testing::run_program(arguments);
        EXPECT_EQ(result.code, 2) << arguments.back();
        EXPECT_TRUE(testing::is_one_error_line(result.err)) << result.err;
        EXPECT_EQ(result.out, "");
    }
    EXPECT_EQ(testing::run_program({"data", "info", "--help"}).code, 0);
}

class FetchCifar : public ::testing::Test {
  protected:
    FetchCifar() {
        const fs::path batches = source / "cifar-10-batches-bin";
        for (int batch = 1; batch <= 5; ++batch) {
            save(batches / ("data_batch_" + std::to_string(batch) + ".bin"), cifar_records(3, 10, 1));
        }
        save(batches / "test_batch.bin", cifar_records(4, 10, 1));
        save(batches / "readme.html", "not wanted");
        pack();
    }
    void pack() {
        const std::string archive = (mirror / "cifar-10-binary.tar.gz").string();
        ASSERT_EQ(
            std::system(
                ("tar -C " + source.path().string() + " -czf " + archive + " cifar-10-batches-bin").c_str()),
            0);
        options.url = "file://" + archive;
        options.checksums = checksums_of(mirror.path(), 64);
    }
    void run() { fetch(remote("cifar10"), target.path(), options); }
    TemporaryFolder source, mirror, target;
    FetchOptions options;
};

TEST_F(FetchCifar, UnpacksWhatIsReadAndRemovesTheArchive) {
    run();
    EXPECT_EQ(names_in(target.path()),
              (std::set<std::string>{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                     "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"}));
    EXPECT_EQ(cifar10(target.path()).train.count(), 15);
    for (const std::string& name : names_in(target.path())) {
        EXPECT_EQ(slurp(target / name), slurp(source / "cifar-10-batches-bin" / name));
    }
    options.url = "file:///nowhere";
    run();  // nothing left to do
}

TEST_F(FetchCifar, DamageLeavesNothing) {
    options.checksums[0].checksum = std::string(64, 'a');
    EXPECT_CONTAINS(error_of([this] { run(); }, ErrorKind::failure), "wrong checksum");
    fs::remove(source / "cifar-10-batches-bin" / "test_batch.bin");
    pack();
    EXPECT_CONTAINS(error_of([this] { run(); }), "the archive has no test_batch.bin");
    const fs::path archive = mirror / "cifar-10-binary.tar.gz";
    for (const std::string& bytes : {slurp(archive).substr(0, 5000), gzip(noise(4096, 3)),
                                     gzip(std::string(700, 'x')), std::string("no gzip at all")}) {
        save(archive, bytes);
        options.checksums = checksums_of(mirror.path(), 64);
        EXPECT_CONTAINS(error_of([this] { run(); }), "cifar-10-binary.tar.gz");
    }
    EXPECT_EQ(names_in(target.path()), std::set<std::string>{});
}

}  // namespace
}  // namespace enmesh::data
