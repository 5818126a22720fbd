#include "enmesh/sparsity/codec.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "enmesh/base/error.hpp"

namespace enmesh {
namespace {

constexpr std::array layout_names = {
    std::pair{PackedLayout::nm, std::string_view("nm")},
    std::pair{PackedLayout::nv24, std::string_view("nv24")},
    std::pair{PackedLayout::cutlass24, std::string_view("cutlass24")},
};

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/// [outputs][channels][positions]
struct Extents {
    int64_t outputs = 0, channels = 0, positions = 1;

    explicit Extents(const Shape& shape) : outputs(shape[0]), channels(shape[1]) {
        for (int axis = 2; axis < shape.rank(); ++axis) positions *= shape[axis];
    }
    int64_t at(int64_t output, int64_t channel, int64_t position) const {
        return (output * channels + channel) * positions + position;
    }
};

/// Sizes of the nm layout: whole groups, then the dense tail of C mod M elements.
struct NmExtents {
    int64_t groups, tail, row_values;
    size_t index_bytes;

    NmExtents(const Extents& e, Pattern p)
        : groups(e.channels / p.m), tail(e.channels % p.m), row_values(groups * p.n + tail) {
        const auto bits = static_cast<uint64_t>(e.outputs * e.positions * groups * p.n) *
                          static_cast<uint64_t>(p.index_bits());
        index_bytes = (bits + 7) / 8;
    }
};

/// Sizes of the tensor-core layouts: a matrix of outputs x (position, channel), padded with zeros.
struct CoreExtents {
    int64_t unit;      ///< columns that one nibble describes: 4, F32: 2
    int64_t per_word;  ///< nibbles in a metadata word
    int word_bytes;
    int64_t padded_channels, rows, columns;

    CoreExtents(const Extents& e, PackedLayout layout, size_t element_bytes) {
        unit = element_bytes == 4 ? 2 : 4;
        word_bytes = element_bytes == 1 ? 4 : 2;
        per_word = word_bytes * 2;
        const bool reordered = layout == PackedLayout::cutlass24;
        padded_channels = round_up(e.channels, unit);
        columns = round_up(e.positions * padded_channels, unit * per_word * (reordered ? 2 : 1));
        rows = reordered ? round_up(e.outputs, word_bytes == 2 ? 32 : 16) : e.outputs;
    }
    int64_t kept_columns() const { return columns / 2; }
    int64_t words() const { return columns / (unit * per_word); }
};

bool packable_dtype(std::string_view dtype) {
    return dtype == "F32" || dtype == "F16" || dtype == "BF16" || dtype == "I8";
}

size_t element_bytes(std::string_view dtype) { return static_cast<size_t>(*safetensors_bits(dtype)) / 8; }

/// Calls body with an unsigned integer of the element's size: packing moves bits, whatever they mean.
template <typename Body>
auto with_bits(size_t bytes, const Body& body) {
    if (bytes == 1) return body(uint8_t{});
    if (bytes == 2) return body(uint16_t{});
    ENMESH_ASSERT(bytes == 4);
    return body(uint32_t{});
}

template <typename Bits>
std::span<const Bits> view(std::span<const std::byte> data) {
    return {reinterpret_cast<const Bits*>(data.data()), data.size() / sizeof(Bits)};
}

/// Values of one group at a time; `members` is shorter than m in a tail.
template <typename Bits>
int values_in_group(std::span<const Bits> data, const Extents& e, int64_t output, int64_t position,
                    int64_t first, int64_t members) {
    int count = 0;
    for (int64_t i = 0; i < members; ++i) count += data[e.at(output, first + i, position)] != 0 ? 1 : 0;
    return count;
}

struct Fullest {
    int values = 0;
    int64_t output = 0, channel = 0, position = 0;
};

/// The first group that holds most values. The tail counts where the layout has no room for a dense one.
Fullest fullest_group(const TensorHeader& dense, std::span<const std::byte> data, int m, bool with_tail) {
    const Extents e(dense.shape);
    return with_bits(element_bytes(dense.dtype), [&](auto type) {
        const auto bits = view<decltype(type)>(data);
        Fullest fullest;
        for (int64_t output = 0; output < e.outputs; ++output) {
            for (int64_t first = 0; first < e.channels; first += m) {
                const int64_t members = std::min<int64_t>(m, e.channels - first);
                if (members < m && !with_tail) continue;
                for (int64_t position = 0; position < e.positions; ++position) {
                    const int values = values_in_group(bits, e, output, position, first, members);
                    if (values > fullest.values) fullest = {values, output, first, position};
                }
            }
        }
        return fullest;
    });
}

/// A stream of fields of a few bits, lowest bit first.
class BitWriter {
  public:
    explicit BitWriter(std::span<uint8_t> bytes) : bytes_(bytes) {}
    void put(unsigned value, int bits) {
        for (int i = 0; i < bits; ++i, ++position_) {
            bytes_[position_ / 8] |= static_cast<uint8_t>((value >> i & 1U) << (position_ % 8));
        }
    }

  private:
    std::span<uint8_t> bytes_;
    size_t position_ = 0;
};

class BitReader {
  public:
    explicit BitReader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
    unsigned get(int bits) {
        unsigned value = 0;
        for (int i = 0; i < bits; ++i, ++position_)
            value |= (bytes_[position_ / 8] >> (position_ % 8) & 1U) << i;
        return value;
    }
    bool rest_is_zero() {
        while (position_ < bytes_.size() * 8) {
            if (get(1) != 0) return false;
        }
        return true;
    }

  private:
    std::span<const uint8_t> bytes_;
    size_t position_ = 0;
};

/// The n members to store of a group: every value, then zeros from the lowest member on, in ascending order.
uint32_t members_to_store(uint32_t values, Pattern pattern) {
    uint32_t chosen = values;
    for (int i = 0; std::popcount(chosen) < pattern.n; ++i) chosen |= uint32_t{1} << i;
    return chosen;
}

template <typename Bits>
void pack_nm(const Extents& e, Pattern p, std::span<const Bits> data, Bits* values,
             std::span<uint8_t> indices) {
    const NmExtents nm(e, p);
    BitWriter writer(indices);
    for (int64_t output = 0; output < e.outputs; ++output) {
        for (int64_t position = 0; position < e.positions; ++position) {
            for (int64_t first = 0; first < nm.groups * p.m; first += p.m) {
                uint32_t mask = 0;
                for (int i = 0; i < p.m; ++i) {
                    if (data[e.at(output, first + i, position)] != 0) mask |= uint32_t{1} << i;
                }
                for (uint32_t left = members_to_store(mask, p); left != 0; left &= left - 1) {
                    const int member = std::countr_zero(left);
                    *values++ = data[e.at(output, first + member, position)];
                    writer.put(static_cast<unsigned>(member), p.index_bits());
                }
            }
            for (int64_t i = e.channels - nm.tail; i < e.channels; ++i)
                *values++ = data[e.at(output, i, position)];
        }
    }
}

/// False if the indices are none that pack_nm writes.
template <typename Bits>
bool unpack_nm(const Extents& e, Pattern p, const Bits* values, std::span<const uint8_t> indices,
               std::span<Bits> data) {
    const NmExtents nm(e, p);
    BitReader reader(indices);
    for (int64_t output = 0; output < e.outputs; ++output) {
        for (int64_t position = 0; position < e.positions; ++position) {
            for (int64_t first = 0; first < nm.groups * p.m; first += p.m) {
                int previous = -1;
                for (int i = 0; i < p.n; ++i) {
                    const auto member = static_cast<int>(reader.get(p.index_bits()));
                    if (member <= previous || member >= p.m) return false;
                    data[e.at(output, first + member, position)] = *values++;
                    previous = member;
                }
            }
            for (int64_t i = e.channels - nm.tail; i < e.channels; ++i)
                data[e.at(output, i, position)] = *values++;
        }
    }
    return reader.rest_is_zero();
}

/// Nibble of a unit: a quad, or for F32 a pair whose halves are two columns each.
uint8_t unit_nibble(unsigned mask, int64_t unit) {
    return unit == 4 ? quad_nibble(mask) : (mask == 1 ? 0x4 : 0xE);
}

int64_t word_offset(const CoreExtents& x, PackedLayout layout, int64_t row, int64_t word) {
    return layout == PackedLayout::nv24 ? row * x.words() + word
                                        : cutlass_offset(row, word, x.rows, x.word_bytes);
}

void add_nibble(std::span<uint8_t> metadata, int64_t word, int word_bytes, int64_t place, uint8_t nibble) {
    metadata[word * word_bytes + place / 2] |= static_cast<uint8_t>(nibble << (place % 2 * 4));
}

uint8_t nibble_at(std::span<const uint8_t> metadata, int64_t word, int word_bytes, int64_t place) {
    return metadata[word * word_bytes + place / 2] >> (place % 2 * 4) & 0xF;
}

template <typename Bits>
void pack_core(const Extents& e, PackedLayout layout, std::span<const Bits> data, Bits* values,
               std::span<uint8_t> metadata) {
    const CoreExtents x(e, layout, sizeof(Bits));
    std::vector<Bits> row(static_cast<size_t>(x.columns));
    for (int64_t output = 0; output < x.rows; ++output) {
        std::fill(row.begin(), row.end(), Bits{0});
        for (int64_t position = 0; output < e.outputs && position < e.positions; ++position) {
            for (int64_t c = 0; c < e.channels; ++c) {
                row[position * x.padded_channels + c] = data[e.at(output, c, position)];
            }
        }
        for (int64_t unit = 0; unit < x.columns / x.unit; ++unit) {
            const Bits* const members = &row[unit * x.unit];
            unsigned mask = 0;
            for (int64_t i = 0; i < x.unit; ++i) mask |= members[i] != 0 ? 1U << i : 0U;
            const uint8_t nibble = unit_nibble(mask, x.unit);
            add_nibble(metadata, word_offset(x, layout, output, unit / x.per_word), x.word_bytes,
                       unit % x.per_word, nibble);
            if (x.unit == 2) {
                *values++ = members[nibble == 0x4 ? 0 : 1];
            } else {
                *values++ = members[nibble & 3];
                *values++ = members[nibble >> 2];
            }
        }
    }
}

template <typename Bits>
bool scatter_unit(const CoreExtents& x, uint8_t nibble, const Bits*& values, Bits* members) {
    if (x.unit == 2) {
        if (nibble != 0x4 && nibble != 0xE) return false;
        members[nibble == 0x4 ? 0 : 1] = *values++;
        return true;
    }
    if ((nibble & 3) >= (nibble >> 2)) return false;
    members[nibble & 3] = *values++;
    members[nibble >> 2] = *values++;
    return true;
}

/// False if the metadata or the padding is none that pack_core writes.
template <typename Bits>
bool unpack_core(const Extents& e, PackedLayout layout, const Bits* values, std::span<const uint8_t> metadata,
                 std::span<Bits> data) {
    const CoreExtents x(e, layout, sizeof(Bits));
    std::vector<Bits> row(static_cast<size_t>(x.columns));
    for (int64_t output = 0; output < x.rows; ++output) {
        std::fill(row.begin(), row.end(), Bits{0});
        for (int64_t unit = 0; unit < x.columns / x.unit; ++unit) {
            const int64_t word = word_offset(x, layout, output, unit / x.per_word);
            const uint8_t nibble = nibble_at(metadata, word, x.word_bytes, unit % x.per_word);
            if (!scatter_unit(x, nibble, values, &row[unit * x.unit])) return false;
        }
        for (int64_t position = 0; output < e.outputs && position < e.positions; ++position) {
            for (int64_t c = 0; c < e.channels; ++c) {
                data[e.at(output, c, position)] =
                    std::exchange(row[position * x.padded_channels + c], Bits{0});
            }
        }
        if (std::any_of(row.begin(), row.end(), [](Bits padding) { return padding != 0; })) return false;
    }
    return true;
}

/// Headers of the two tensors that hold a packed one.
void describe(PackedWeights& packed) {
    const TensorHeader& dense = packed.dense;
    const Extents e(dense.shape);
    packed.values = {dense.name + ".values", dense.dtype, {}};
    if (packed.layout == PackedLayout::nm) {
        const NmExtents nm(e, packed.pattern);
        packed.values.shape = Shape{e.outputs, e.positions, nm.row_values};
        packed.indices = {dense.name + ".indices", "U8", {static_cast<int64_t>(nm.index_bytes)}};
        return;
    }
    const CoreExtents x(e, packed.layout, element_bytes(dense.dtype));
    packed.values.shape = Shape{x.rows, x.kept_columns()};
    packed.indices = {dense.name + ".metadata", x.word_bytes == 2 ? "I16" : "I32", {x.rows, x.words()}};
}

}  // namespace

std::string to_string(PackedLayout layout) {
    for (const auto& [known, name] : layout_names) {
        if (known == layout) return std::string(name);
    }
    assertion_failed("known layout", __FILE__, __LINE__);
}

PackedLayout parse_packed_layout(std::string_view name) {
    std::vector<std::string> known;
    for (const auto& [layout, layout_name] : layout_names) {
        if (layout_name == name) return layout;
        known.emplace_back(layout_name);
    }
    refuse("unknown layout '{}'{}", name, suggestion(name, known));
}

Pattern tensor_core_pattern(std::string_view dtype) { return dtype == "F32" ? Pattern{1, 2} : Pattern{2, 4}; }

std::string why_never_packable(const TensorHeader& dense) {
    if (dense.shape.rank() < 2) return "fewer than two dimensions";
    if (!packable_dtype(dense.dtype))
        return fmt::format("{} is not packed (F32, F16, BF16 and I8 are)", dense.dtype);
    if (dense.bytes() == 0) return "no elements";
    return "";
}

std::string why_not_packable(const TensorHeader& dense, std::span<const std::byte> data, PackedLayout layout,
                             Pattern pattern) {
    if (std::string reason = why_never_packable(dense); !reason.empty()) return reason;
    const bool core = layout != PackedLayout::nm;
    if (core && pattern != tensor_core_pattern(dense.dtype)) {
        return fmt::format("{} holds {} weights of {}, not {}", to_string(layout), dense.dtype,
                           to_string(tensor_core_pattern(dense.dtype)), to_string(pattern));
    }
    if (!core && dense.shape[1] < pattern.m) {
        return fmt::format("{} input channels are fewer than M = {}", dense.shape[1], pattern.m);
    }
    const Fullest fullest = fullest_group(dense, data, pattern.m, core);
    if (fullest.values <= pattern.n) return "";
    return fmt::format("not {}: {} values in a group (output {}, channel {}, position {})",
                       to_string(pattern), fullest.values, fullest.output, fullest.channel, fullest.position);
}

std::optional<Pattern> detect_pattern(const TensorHeader& dense, std::span<const std::byte> data) {
    if (!why_never_packable(dense).empty()) return std::nullopt;
    const Extents e(dense.shape);
    std::optional<Pattern> best;
    size_t best_bytes = dense.bytes();
    for (int m = 2; m <= std::min<int64_t>(Pattern::max_m, e.channels); ++m) {
        const Pattern pattern{std::max(1, fullest_group(dense, data, m, false).values), m};
        if (pattern.n >= m) continue;
        const NmExtents nm(e, pattern);
        const size_t bytes =
            static_cast<size_t>(e.outputs * e.positions * nm.row_values) * element_bytes(dense.dtype) +
            nm.index_bytes;
        if (bytes < best_bytes) {
            best_bytes = bytes;
            best = pattern;
        }
    }
    return best;
}

PackedWeights pack_weights(const TensorHeader& dense, std::span<const std::byte> data, PackedLayout layout,
                           Pattern pattern) {
    check_pattern(pattern);
    if (const std::string reason = why_not_packable(dense, data, layout, pattern); !reason.empty()) {
        refuse("tensor '{}' cannot be packed: {}", dense.name, reason);
    }
    ENMESH_ASSERT(data.size() == dense.bytes());
    PackedWeights packed;
    packed.dense = dense;
    packed.layout = layout;
    packed.pattern = pattern;
    describe(packed);
    packed.value_data = Buffer(packed.values.bytes());
    packed.index_data = Buffer(packed.indices.bytes());
    const Extents e(dense.shape);
    with_bits(element_bytes(dense.dtype), [&](auto type) {
        using Bits = decltype(type);
        Bits* const values = packed.value_data.as<Bits>().data();
        const auto indices = packed.index_data.as<uint8_t>();
        if (layout == PackedLayout::nm) {
            pack_nm(e, pattern, view<Bits>(data), values, indices);
        } else {
            pack_core(e, layout, view<Bits>(data), values, indices);
        }
    });
    return packed;
}

NamedTensor unpack_weights(const PackedWeights& packed) {
    const TensorHeader& dense = packed.dense;
    const auto fault = [&](std::string_view what) { refuse("packed tensor '{}': {}", dense.name, what); };
    if (const std::string reason = why_never_packable(dense); !reason.empty()) fault(reason);
    check_pattern(packed.pattern);
    const bool core = packed.layout != PackedLayout::nm;
    if (core && packed.pattern != tensor_core_pattern(dense.dtype))
        fault("its layout cannot hold its pattern");
    PackedWeights expected;
    expected.dense = dense;
    expected.layout = packed.layout;
    expected.pattern = packed.pattern;
    describe(expected);
    if (packed.values.shape != expected.values.shape || packed.values.dtype != dense.dtype ||
        packed.value_data.bytes() != expected.values.bytes()) {
        fault(fmt::format("its values are {} of {}, {} of {} were expected", to_string(packed.values.shape),
                          packed.values.dtype, to_string(expected.values.shape), dense.dtype));
    }
    if (packed.indices.shape != expected.indices.shape || packed.indices.dtype != expected.indices.dtype ||
        packed.index_data.bytes() != expected.indices.bytes()) {
        fault(fmt::format("its {} are {} of {}, {} of {} were expected", core ? "metadata" : "indices",
                          to_string(packed.indices.shape), packed.indices.dtype,
                          to_string(expected.indices.shape), expected.indices.dtype));
    }
    NamedTensor tensor{dense, Buffer(dense.bytes())};
    const Extents e(dense.shape);
    const bool sound = with_bits(element_bytes(dense.dtype), [&](auto type) {
        using Bits = decltype(type);
        const Bits* const values = packed.value_data.as<Bits>().data();
        const auto indices = packed.index_data.as<uint8_t>();
        const auto data = tensor.data.as<Bits>();
        return core ? unpack_core<Bits>(e, packed.layout, values, indices, data)
                    : unpack_nm<Bits>(e, packed.pattern, values, indices, data);
    });
    if (!sound) fault("its indices or its padding are damaged");
    return tensor;
}

uint8_t quad_nibble(unsigned mask) {
    constexpr auto pair = [](unsigned first, unsigned second) {
        return static_cast<uint8_t>(first | second << 2);
    };
    // By mask, bit i = column i. Where two columns do not follow from two non-zeros, the choice is the one
    // that PyTorch's and CUTLASS's compressors make.
    constexpr std::array<uint8_t, 16> nibbles = {
        pair(2, 3), pair(0, 2), pair(1, 2), pair(0, 1), pair(2, 3), pair(0, 2), pair(1, 2), pair(0, 1),
        pair(2, 3), pair(0, 3), pair(1, 3), pair(0, 1), pair(2, 3), pair(0, 3), pair(1, 3), pair(0, 1),
    };
    return nibbles[mask & 15];
}

int64_t cutlass_offset(int64_t row, int64_t column, int64_t rows, int word_bytes) {
    const int64_t block = word_bytes == 2 ? 32 : 16;
    int64_t to_row = row / block * block + row % 8 * (block / 8) + row % block / 8;
    int64_t to_column = column;
    // The off-diagonal words of every 2x2 block change places.
    if (to_row % 2 == 0 && to_column % 2 == 1) {
        ++to_row;
        --to_column;
    } else if (to_row % 2 == 1 && to_column % 2 == 0) {
        --to_row;
        ++to_column;
    }
    return to_column / 2 * rows * 2 + to_row * 2 + to_column % 2;
}

}  // namespace enmesh
