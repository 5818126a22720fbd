#include "enmesh/accel/workload/topology.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdio>
#include <map>
#include <span>

#include "enmesh/base/edit_distance.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/file.hpp"

namespace enmesh::accel {
namespace {

constexpr int64_t largest_size = int64_t{1} << 31;

std::string_view trim(std::string_view text) {
    const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '"'; };
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && blank(text.back())) text.remove_suffix(1);
    return text;
}

std::vector<std::string_view> split(std::string_view line, char delimiter) {
    std::vector<std::string_view> cells;
    while (true) {
        const size_t end = line.find(delimiter);
        cells.push_back(trim(line.substr(0, end)));
        if (end == std::string_view::npos) return cells;
        line.remove_prefix(end + 1);
    }
}

/// Lower-case letters and digits only: "Num Filter" and "num filters" must both be found.
std::string normalised(std::string_view text) {
    std::string result;
    for (const char c : text) {
        if (std::isalnum(static_cast<unsigned char>(c)))
            result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return result;
}

/// Columns by their normalised headers.
const std::map<std::string, std::string_view, std::less<>>& columns_by_header() {
    static const std::map<std::string, std::string_view, std::less<>> names = {
        {"layer", "Layer name"},
        {"layername", "Layer name"},
        {"l", "Layer name"},
        {"name", "Layer name"},
        {"ifmapheight", "IFMAP Height"},
        {"ifmapwidth", "IFMAP Width"},
        {"filterheight", "Filter Height"},
        {"filterwidth", "Filter Width"},
        {"channel", "Channels"},
        {"channels", "Channels"},
        {"numfilter", "Num Filter"},
        {"numfilters", "Num Filter"},
        {"stride", "Strides"},
        {"strides", "Strides"},
        {"strideheight", "Strides"},
        {"strideh", "Strides"},
        {"stridewidth", "Stride Width"},
        {"stridew", "Stride Width"},
        {"batchsize", "Batch Size"},
        {"batch", "Batch Size"},
        {"sparsity", "Sparsity"},
        {"sparsitynm", "Sparsity"},
        {"nm", "Sparsity"},
        {"m", "M"},
        {"n", "N"},
        {"k", "K"}};
    return names;
}

/// The name under which a column is known here; "" for one that is ignored.
std::string_view column_of(const std::string& header) {
    const auto found = columns_by_header().find(header);
    return found == columns_by_header().end() ? std::string_view{} : found->second;
}

/// The known column that a header seems to misspell: one or two letters amiss; "" if none is so near.
std::string_view misspelt_column(const std::string& header) {
    std::string_view best;
    size_t best_distance = 3;
    for (const auto& [name, column] : columns_by_header()) {
        const size_t distance = edit_distance(header, name);
        if (distance >= best_distance || 3 * distance > name.size()) continue;
        best_distance = distance;
        best = column;
    }
    return best;
}

class Parser {
  public:
    Parser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

    Workload parse() {
        if (text_.starts_with("\xef\xbb\xbf")) text_.remove_prefix(3);
        if (text_.find('\0') != std::string_view::npos) refuse("{}: is not a text file", file_);
        bool have_header = false;
        while (!text_.empty()) {
            const size_t end = std::min(text_.find('\n'), text_.size());
            const std::string_view line = text_.substr(0, end);
            text_.remove_prefix(std::min(end + 1, text_.size()));
            ++line_;
            if (trim(line).empty()) continue;
            if (!have_header)
                read_header(line);
            else
                read_row(line);
            have_header = true;
        }
        if (!have_header) refuse("{}: is empty, a topology was expected", file_);
        if (workload_.products.empty()) refuse("{}: has a header but no layer", file_);
        std::fputs(note_.c_str(), stderr);
        return std::move(workload_);
    }

  private:
    void read_header(std::string_view line) {
        delimiter_ = line.find(',') == std::string_view::npos && line.find('\t') != std::string_view::npos
                         ? '\t'
                         : ',';
        const std::vector<std::string_view> cells = split(line, delimiter_);
        std::vector<std::pair<size_t, std::string_view>> unknown;
        for (size_t i = 0; i < cells.size(); ++i) {
            std::string_view column = column_of(normalised(cells[i]));
            // Some shipped headers say "IFMAP Width" twice: the first one is the height.
            if (column == "IFMAP Width" && !columns_.contains("IFMAP Height")) column = "IFMAP Height";
            if (!cells[i].empty()) columns_in_header_ = i + 1;
            if (column.empty()) {
                if (!normalised(cells[i]).empty()) unknown.emplace_back(i, cells[i]);
                continue;
            }
            const auto [known, fresh] = columns_.try_emplace(std::string(column), i);
            if (!fresh)
                refuse("{}:{}: columns {} and {} of the header are both '{}'", file_, line_,
                       known->second + 1, i + 1, column);
        }
        gemm_ = columns_.contains("M") && columns_.contains("N") && columns_.contains("K");
        see_unused(cells, unknown);
        static const std::vector<std::string> conv = {"Layer name",    "IFMAP Height", "IFMAP Width",
                                                      "Filter Height", "Filter Width", "Channels",
                                                      "Num Filter",    "Strides"};
        if (gemm_) {
            if (!columns_.contains("Layer name"))
                refuse("{}:{}: the header has no column 'Layer'", file_, line_);
            return;
        }
        size_t known = 0;
        for (const std::string& name : conv) known += columns_.contains(name) ? 1 : 0;
        if (known < 3) {
            refuse(
                "{}:{}: the header is neither 'Layer, M, N, K' nor 'Layer name, IFMAP Height, IFMAP Width, "
                "Filter Height, "
                "Filter Width, Channels, Num Filter, Strides'",
                file_, line_);
        }
        for (const std::string& name : conv) {
            if (!columns_.contains(name)) refuse("{}:{}: the header has no column '{}'", file_, line_, name);
        }
    }

    /// Whether the rows of this file's form have the column.
    bool used(std::string_view column) const {
        if (column == "Layer name" || column == "Batch Size" || column == "Sparsity") return true;
        return gemm_ == (column == "M" || column == "N" || column == "K");
    }

    /// A misspelt column would run its layers without it; others, as shipped files have them, and those of
    /// the other form are named once.
    void see_unused(std::span<const std::string_view> cells,
                    std::span<const std::pair<size_t, std::string_view>> unknown) {
        std::map<size_t, std::string_view> unused;
        for (const auto& [index, cell] : unknown) {
            const std::string_view near = misspelt_column(normalised(cell));
            if (!near.empty() && !columns_.contains(near))
                refuse("{}:{}: column {}: '{}' is unknown (did you mean '{}'?)", file_, line_, index + 1,
                       cell, near);
            unused.emplace(index, cell);
        }
        for (const auto& [column, index] : columns_)
            if (!used(column)) unused.emplace(index, cells[index]);
        std::string list;
        for (const auto& [index, cell] : unused)
            list += fmt::format("{}{} '{}'", list.empty() ? "" : ", ", index + 1, cell);
        if (!list.empty())
            note_ = fmt::format("note: {}:{}: columns that are not used: {}\n", file_, line_, list);
    }

    void read_row(std::string_view line) {
        cells_ = split(line, delimiter_);
        for (size_t i = 0; i < cells_.size(); ++i) {
            if (!cells_[i].starts_with('#')) continue;
            cells_.resize(i);
            break;
        }
        const auto filled = [](std::string_view cell) { return !cell.empty(); };
        const auto count = std::count_if(cells_.begin(), cells_.end(), filled);
        if (count == 0) return;
        const std::string_view name = cell("Layer name");
        if (count == 1 && !name.empty()) {  // the title of a section
            if (cells_.size() == 1) check_title(name);
            return;
        }
        if (name.empty()) refuse("{} is empty", place("Layer name"));
        for (size_t i = columns_in_header_; i < cells_.size(); ++i) {
            if (!cells_[i].empty())
                refuse("{}:{}: column {}: '{}' is beyond the header's last column", file_, line_, i + 1,
                       cells_[i]);
        }
        Product product = gemm_ ? gemm_row() : conv_row();
        product.layer = std::string(name);
        product.b_is_parameter = true;
        read_pattern(product);
        check_countable(product);
        workload_.products.push_back(std::move(product));
    }

    /// A layer whose fields another character separates would pass for a title.
    void check_title(std::string_view title) const {
        for (const char other : {',', ';', '\t'}) {
            const std::vector<std::string_view> fields = split(title, other);
            const auto filled = [](std::string_view field) { return !field.empty(); };
            if (other == delimiter_ || std::count_if(fields.begin(), fields.end(), filled) < 2) continue;
            const auto name = [](char c) { return c == '\t' ? "a tab" : c == ';' ? "';'" : "','"; };
            refuse("{}:{}: the fields are separated by {}, those of the header by {}", file_, line_,
                   name(other), name(delimiter_));
        }
    }

    int64_t images() const {
        return columns_.contains("Batch Size") && !cell("Batch Size").empty() ? number("Batch Size") : 1;
    }

    /// M rows of every image meet the same K × N weights, as the pixels of a convolution's images do.
    Product gemm_row() {
        Product product;
        product.m = number("M") * images();
        product.n = number("N");
        product.k = number("K");
        check_size(static_cast<double>(product.m), static_cast<double>(product.k));
        return product;
    }

    Product conv_row() {
        ConvGeometry c;
        c.in_height = number("IFMAP Height");
        c.in_width = number("IFMAP Width");
        c.kernel_height = number("Filter Height");
        c.kernel_width = number("Filter Width");
        c.in_channels = number("Channels");
        c.out_channels = number("Num Filter");
        c.stride_height = number("Strides");
        c.stride_width = columns_.contains("Stride Width") && !cell("Stride Width").empty()
                             ? number("Stride Width")
                             : c.stride_height;
        c.images = images();
        check_fits("Filter Height", c.kernel_height, c.in_height);
        check_fits("Filter Width", c.kernel_width, c.in_width);
        const auto output = [](int64_t in, int64_t kernel, int64_t stride) {
            return (in - kernel + stride + stride - 1) / stride;
        };
        c.out_height = output(c.in_height, c.kernel_height, c.stride_height);
        c.out_width = output(c.in_width, c.kernel_width, c.stride_width);
        check_countable(c);
        Product product;
        if (cell("Layer name").find("DP") != std::string_view::npos) {
            product.batch = c.in_channels;
            c.in_channels = 1;
        }
        product.m = c.images * c.out_height * c.out_width;
        product.n = c.out_channels;
        product.k = c.in_channels * c.kernel_height * c.kernel_width;
        product.conv = c;
        return product;
    }

    void read_pattern(Product& product) {
        if (!columns_.contains("Sparsity")) return;
        const std::string_view text = cell("Sparsity");
        if (text.empty()) return;
        int n = 0, m = 0;
        const char* const end = text.data() + text.size();
        const auto first = std::from_chars(text.data(), end, n);
        const bool colon = first.ec == std::errc{} && first.ptr != end && *first.ptr == ':';
        const auto second = colon ? std::from_chars(first.ptr + 1, end, m) : first;
        if (!colon || second.ec != std::errc{} || second.ptr != end || n < 1 || m < 1 || n > m ||
            m > Pattern::max_m) {
            refuse("{}: '{}' is not N:M with 1 <= N <= M <= {}", place("Sparsity"), text, Pattern::max_m);
        }
        if (n == m) return;
        product.sparse = Operand::b;
        product.pattern = {n, m};
    }

    /// "net.csv:3: column 5 'Filter Width'".
    std::string place(const std::string& column) const {
        return fmt::format("{}:{}: column {} '{}'", file_, line_, columns_.at(column) + 1, column);
    }

    std::string_view cell(const std::string& column) const {
        const size_t index = columns_.at(column);
        return index < cells_.size() ? cells_[index] : std::string_view{};
    }

    int64_t number(const std::string& column) const {
        const std::string_view text = cell(column);
        if (text.empty()) refuse("{} is empty", place(column));
        int64_t value = 0;
        const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), value);
        if (error != std::errc{} || rest != text.data() + text.size()) {
            refuse("{}: '{}' is not an integer", place(column), text);
        }
        if (value < 1 || value > largest_size) {
            refuse("{}: {} is not between 1 and {}", place(column), value, largest_size);
        }
        return value;
    }

    void check_fits(const char* column, int64_t kernel, int64_t input) const {
        if (kernel > input) refuse("{}: {} is larger than the input's {}", place(column), kernel, input);
    }

    void check_countable(const Product& product) const {
        const double work = static_cast<double>(product.m) * static_cast<double>(product.n) *
                            static_cast<double>(product.k) * static_cast<double>(product.batch);
        if (!(work < 1e18))
            refuse("{}:{}: layer {} has {:.3g} multiply-adds, more than can be counted", file_, line_,
                   product.layer, work);
    }

    void check_countable(const ConvGeometry& c) const {
        const double rows = static_cast<double>(c.images) * static_cast<double>(c.out_height) *
                            static_cast<double>(c.out_width);
        const double depth = static_cast<double>(c.kernel_height) * static_cast<double>(c.kernel_width) *
                             static_cast<double>(c.in_channels);
        check_size(rows, depth);
    }

    void check_size(double rows, double depth) const {
        if (!(rows < 0x1p40 && depth < 0x1p40))
            refuse("{}:{}: the layer is too large to be counted", file_, line_);
    }

    std::string_view text_;
    std::string file_;
    Workload workload_;
    std::map<std::string, size_t, std::less<>> columns_;
    std::vector<std::string_view> cells_;
    std::string note_;
    size_t columns_in_header_ = 0;
    int line_ = 0;
    char delimiter_ = ',';
    bool gemm_ = false;
};

}  // namespace

Workload parse_topology(std::string_view text, const std::string& name) {
    Workload workload = Parser(text, name).parse();
    workload.name = name;
    return workload;
}

Workload read_topology(const std::filesystem::path& path) {
    Workload workload = parse_topology(read_file(path, size_t{64} << 20), path.string());
    workload.name = path.stem().string();
    return workload;
}

}  // namespace enmesh::accel
