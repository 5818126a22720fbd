#pragma once

/// Structs of named figures: `static constexpr auto fields()` lists {name, member}, and adding, totalling and
/// writing follow.
namespace enmesh::accel {

template <typename Figures>
Figures& add_figures(Figures& to, const Figures& from) {
    for (const auto& [name, member] : Figures::fields()) to.*member += from.*member;
    return to;
}

template <typename Figures>
double total_figures(const Figures& figures) {
    double total = 0;
    for (const auto& [name, member] : Figures::fields()) total += figures.*member;
    return total;
}

}  // namespace enmesh::accel
