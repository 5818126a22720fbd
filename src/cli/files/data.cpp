#include <signal.h>

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/commands.hpp"
#include "cli/options/interrupt.hpp"
#include "cli/options/json_text.hpp"
#include "cli/options/run_options.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"
#include "enmesh/base/log.hpp"
#include "enmesh/data/dataset.hpp"
#include "enmesh/data/fetch.hpp"
#include "enmesh/report/line_meter.hpp"

namespace enmesh::cli {
namespace {

/// Progress on standard error: one line that is rewritten on a terminal; elsewhere a line per file, and now
/// and then one of a long one.
class DownloadMeter {
  public:
    bool operator()(const data::FetchProgress& progress) {
        if (progress.file != file_) {
            file_ = progress.file;
            line_.finish();
            if (progress.present)
                std::fprintf(stderr, "%s is already there\n", file_.c_str());
            else
                std::fprintf(stderr, "downloading %s\n", file_.c_str());
        }
        if (!progress.present && line_.due()) line_.show(text(progress));
        return InterruptGuard::signal() == 0;
    }
    void finish() { line_.finish(); }

  private:
    static std::string text(const data::FetchProgress& progress) {
        const double megabytes = static_cast<double>(progress.bytes) / 1e6;
        if (progress.total_bytes <= 0) return fmt::format("{}  {:.1f} MB", progress.file, megabytes);
        const double total = static_cast<double>(progress.total_bytes) / 1e6;
        return fmt::format("{}  {:.1f} of {:.1f} MB ({:.0f} %)", progress.file, megabytes, total,
                           100 * megabytes / total);
    }

    report::LineMeter line_;
    std::string file_;
};

struct FetchArguments {
    std::string kind;
    std::string directory;
    std::string url;
    std::string checksums;
};

void run_fetch(const FetchArguments& arguments) {
    const data::Remote& remote = data::remote(arguments.kind);
    data::FetchOptions options;
    options.url = arguments.url;
    if (!arguments.checksums.empty()) {
        options.checksums = data::parse_checksums(read_file(arguments.checksums, size_t{1} << 20));
    }
    DownloadMeter meter;
    options.progress = [&meter](const data::FetchProgress& progress) { return meter(progress); };
    const InterruptGuard guard;
    data::fetch(remote, arguments.directory, options);
    meter.finish();
    std::printf("%s is ready: --data %s:%s\n", remote.kind.c_str(), remote.kind.c_str(),
                arguments.directory.c_str());
}

struct InfoArguments {
    std::string spec;
    std::string image;
    std::string json;
};

data::ImageShape parse_image(const std::string& text) {
    data::ImageShape shape;
    char after = 0;
    if (std::sscanf(text.c_str(), "%4dx%6dx%6d%c", &shape.channels, &shape.height, &shape.width, &after) !=
            3 ||
        std::min({shape.channels, shape.height, shape.width}) < 1 ||
        std::max(shape.height, shape.width) > 1 << 15) {
        refuse("--image {}: CxHxW is expected, such as 3x224x224", text);
    }
    return shape;
}

nlohmann::ordered_json describe(const data::DataSpec& spec, const data::Dataset& dataset) {
    const auto split = [&](const data::Images& images) {
        return nlohmann::ordered_json{{"images", images.count()},
                                      {"per_class", data::images_per_class(images, dataset.classes())}};
    };
    return {{"data", to_string(spec)},
            {"image",
             {{"channels", dataset.image.channels},
              {"height", dataset.image.height},
              {"width", dataset.image.width}}},
            {"pixel_max", dataset.pixel_max},
            {"classes", dataset.classes()},
            {"class_names", dataset.class_names},
            {"train", split(dataset.train)},
            {"test", split(dataset.test)},
            {"notes", dataset.notes},
            {"mean", dataset.normalization.mean},
            {"std", dataset.normalization.deviation}};
}

void print_info(const data::DataSpec& spec, const data::Dataset& dataset) {
    const data::Normalization& norm = dataset.normalization;
    std::printf("%s: %lld training and %lld test images of %s, %d classes\n", to_string(spec).c_str(),
                static_cast<long long>(dataset.train.count()), static_cast<long long>(dataset.test.count()),
                to_string(dataset.image).c_str(), dataset.classes());
    std::printf("pixels are 0..%d; as fractions of %d, over the training images:\n", dataset.pixel_max,
                dataset.pixel_max);
    for (size_t channel = 0; channel < norm.mean.size(); ++channel) {
        std::printf("  channel %zu  mean %.4f  std %.4f\n", channel, norm.mean[channel],
                    norm.deviation[channel]);
    }
    const auto train = data::images_per_class(dataset.train, dataset.classes());
    const auto test = data::images_per_class(dataset.test, dataset.classes());
    int widest = 5;
    for (const std::string& name : dataset.class_names)
        widest = std::max(widest, static_cast<int>(name.size()));
    std::printf("  %-*s %8s %8s\n", widest, "class", "train", "test");
    for (size_t label = 0; label < train.size(); ++label) {
        std::printf("  %-*s %8lld %8lld\n", widest, dataset.class_names[label].c_str(),
                    static_cast<long long>(train[label]), static_cast<long long>(test[label]));
    }
}

void run_info(const InfoArguments& arguments) {
    const data::DataSpec spec = data::parse_data_spec(arguments.spec);
    require_writable_target(arguments.json);
    data::LoadOptions options;
    if (!arguments.image.empty()) options.image = parse_image(arguments.image);
    const data::Dataset dataset = data::load(spec, options);
    for (const std::string& line : dataset.notes) note("{}", line);
    if (arguments.json != "-") print_info(spec, dataset);
    write_result(arguments.json, json_document(describe(spec, dataset), 2));
}

}  // namespace

void add_data(CLI::App& app) {
    CLI::App* command = app.add_subcommand("data", "Fetch data sets and look at them");
    command->require_subcommand(1);
    command->footer(
        "Examples:\n"
        "  enmesh data fetch cifar10 data/cifar10\n"
        "  enmesh data info cifar10:data/cifar10\n"
        "  enmesh data info digits --json -");

    CLI::App* fetch = command->add_subcommand("fetch", "Download a data set and check it");
    const auto to_fetch = std::make_shared<FetchArguments>();
    fetch->add_option("NAME", to_fetch->kind, "cifar10, mnist or fashion-mnist")->required();
    fetch->add_option("DIR", to_fetch->directory, "Where the files go")->required();
    fetch->add_option("--url", to_fetch->url,
                      "A mirror instead of the official address: the folder of the files");
    fetch->add_option("--checksums", to_fetch->checksums,
                      "The mirror's own checksums, as sha256sum or md5sum print them");
    fetch->footer(
        "Examples:\n"
        "  enmesh data fetch mnist data/mnist\n"
        "  enmesh data fetch cifar10 data/cifar10 --url https://mirror.example/cifar");
    fetch->callback([to_fetch] { run_fetch(*to_fetch); });

    CLI::App* info = command->add_subcommand("info", "Read a data set whole and describe it");
    const auto to_show = std::make_shared<InfoArguments>();
    info->add_option("DATA", to_show->spec, "KIND[:PATH], as --data takes it")->required();
    info->add_option("--image", to_show->image, "imagefolder: resize to CxHxW");
    info->add_option("--json", to_show->json, "Write the description as JSON (- for standard output)");
    info->footer(
        "Examples:\n"
        "  enmesh data info digits\n"
        "  enmesh data info imagefolder:photos --image 3x64x64 --json -");
    info->callback([to_show] { run_info(*to_show); });
}

}  // namespace enmesh::cli
