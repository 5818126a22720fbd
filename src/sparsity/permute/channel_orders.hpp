#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace enmesh {

// In what orders the elements along the axes of a network's values may stand without changing its function.
// A space is a set of channels that one permutation rearranges. The elements of an axis are a list of runs:
// a space's channels in its permuted order, each channel followed by the `inner` consecutive elements that
// travel with it (the positions of a flattened map), or elements that have to stay where they are. Operations
// demand that two axes move alike; unify() divides and identifies spaces until they do.

struct ChannelRun {
    int space = -1;     ///< below 0: fixed, for the reason -space - 1
    int64_t inner = 1;  ///< elements of each channel; of a fixed run: its elements
    bool fixed() const { return space < 0; }
};
using ChannelOrder = std::vector<ChannelRun>;

class ChannelOrders {
  public:
    /// A space of its own; a single channel is fixed.
    ChannelOrder free(int64_t extent);
    ChannelOrder fixed(int64_t extent, const std::string& reason);

    int64_t extent(const ChannelOrder& order) const;
    /// In terms of spaces that are not divided any further.
    ChannelOrder resolved(const ChannelOrder& order) const;
    bool all_fixed(const ChannelOrder& order) const;
    /// Why something of it is fixed; "" if nothing is.
    std::string reason(const ChannelOrder& order) const;
    int64_t channels(int space) const { return spaces_[static_cast<size_t>(space)].channels; }
    const std::string& reason_of(ChannelRun run) const {
        return reasons_[static_cast<size_t>(-run.space - 1)];
    }

    /// Nothing of it moves from now on.
    void fix(const ChannelOrder& order, const std::string& reason);
    /// Both move alike from now on. Where they cannot, both are fixed for this reason.
    void unify(const ChannelOrder& a, const ChannelOrder& b, const std::string& reason);

    /// The elements [begin, end); a space that the cut goes through is divided, a channel is fixed.
    ChannelOrder slice(const ChannelOrder& order, int64_t begin, int64_t end, const std::string& reason);
    /// One after the other. More runs than an axis may have are fixed.
    ChannelOrder concatenated(const std::vector<ChannelOrder>& orders, const std::string& reason);
    /// Axes flattened into one, row-major.
    ChannelOrder merged(const std::vector<ChannelOrder>& axes, const std::string& reason);
    /// The reverse: one axis as axes of these extents. Where channels are not whole along the outer axes, the
    /// parts along the innermost are made to move alike.
    std::vector<ChannelOrder> split(const ChannelOrder& order, const std::vector<int64_t>& extents,
                                    const std::string& reason);

  private:
    struct Space {
        int64_t channels = 0;
        std::optional<ChannelOrder> bound;  ///< what it turned out to be
    };

    int64_t extent(ChannelRun run) const { return run.fixed() ? run.inner : channels(run.space) * run.inner; }
    int reason_id(const std::string& reason);
    void bind(int space, ChannelOrder order);
    void append_resolved(ChannelRun run, int64_t times, ChannelOrder& to) const;
    /// Makes two runs of equal extent move alike; whether a space was bound.
    bool meet(ChannelRun p, ChannelRun q, const std::string& reason);
    bool divide(ChannelRun run, int64_t at, const std::string& reason);
    std::pair<ChannelOrder, ChannelOrder> split_in_two(const ChannelOrder& order, int64_t outer,
                                                       int64_t inner, const std::string& reason);

    mutable std::vector<Space> spaces_;  ///< what is bound is shortened when it is resolved
    std::vector<std::string> reasons_;
    std::map<std::string, int> reason_ids_;
};

}  // namespace enmesh
