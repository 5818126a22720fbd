#include "enmesh/base/error.hpp"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <vector>

#include "enmesh/base/edit_distance.hpp"

namespace enmesh {

size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 0; i < a.size(); ++i) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b.size(); ++j) {
            const size_t substitute = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({substitute, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row[b.size()];
}

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
    std::string best;
    size_t best_distance = std::max<size_t>(2, name.size() / 2) + 1;
    for (const std::string& candidate : candidates) {
        const size_t distance = edit_distance(name, candidate);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidate;
        }
    }
    return best;
}

std::string suggestion(std::string_view name, std::span<const std::string> candidates) {
    if (const std::string near = nearest_name(name, candidates); !near.empty()) {
        return fmt::format(" (did you mean '{}'?)", near);
    }
    std::string known;
    for (const std::string& candidate : candidates) known += (known.empty() ? "" : ", ") + candidate;
    return known.empty() ? "" : fmt::format(" (known: {})", known);
}

void assertion_failed(const char* condition, const char* file, int line) {
    std::fprintf(stderr, "enmesh: internal error: %s does not hold at %s:%d\n", condition, file, line);
    std::abort();
}

}  // namespace enmesh
