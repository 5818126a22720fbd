// Holds the include lines of the tree against the table of rooms in docs/architecture.md.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;

/// Room -> the rooms that it may include.
using Rooms = std::map<std::string, std::set<std::string>>;

/// The names in backquotes of a table cell.
std::vector<std::string> names_in(const std::string& cell) {
    std::vector<std::string> names;
    for (size_t open = cell.find('`'); open != std::string::npos; open = cell.find('`', open + 1)) {
        const size_t close = cell.find('`', open + 1);
        if (close == std::string::npos) break;
        names.push_back(cell.substr(open + 1, close - open - 1));
        open = close;
    }
    return names;
}

/// The cells of a table row "| a | b | c |"; nothing of another line.
std::vector<std::string> cells_of(const std::string& line) {
    std::vector<std::string> cells;
    if (!line.starts_with('|')) return cells;
    for (size_t from = 1, to = line.find('|', 1); to != std::string::npos; to = line.find('|', from)) {
        cells.push_back(line.substr(from, to - from));
        from = to + 1;
    }
    return cells;
}

/// The rows "| `room` | stands on | what it holds |" under the heading "| room | stands on |" of a page. "all"
/// in the second cell means every room of the rows above.
Rooms rooms_of(const std::string& page) {
    Rooms rooms;
    std::istringstream lines(page);
    bool inside = false;
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("| room | stands on |")) inside = true;
        const std::vector<std::string> cells = cells_of(line);
        if (cells.empty()) inside = false;
        if (!inside || cells.size() != 3 || names_in(cells[0]).size() != 1) continue;
        std::set<std::string> below;
        for (const std::string& name : names_in(cells[1])) below.insert(name);
        if (cells[1].find("all") != std::string::npos)
            for (const auto& [room, its] : rooms) below.insert(room);
        rooms.emplace(names_in(cells[0]).front(), std::move(below));
    }
    return rooms;
}

struct Source {
    std::string room, path, text;
};

/// X of every line #include "X".
std::vector<std::string> quoted_includes(const std::string& text) {
    constexpr std::string_view start = "#include \"";
    std::vector<std::string> headers;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (!line.starts_with(start)) continue;
        const std::string header = line.substr(start.size());
        headers.push_back(header.substr(0, header.find('"')));
    }
    return headers;
}

/// What is wrong with the include lines of `source`, a line each.
std::vector<std::string> violations(const Source& source, const Rooms& rooms) {
    std::vector<std::string> found;
    const auto own = rooms.find(source.room);
    if (own == rooms.end())
        return {fmt::format("{}: room '{}' is missing in the table", source.path, source.room)};
    for (const std::string& header : quoted_includes(source.text)) {
        const bool is_public = header.starts_with("enmesh/");
        const std::string_view rest = std::string_view(header).substr(is_public ? 7 : 0);
        const std::string other(rest.substr(0, rest.find('/')));
        if (!rooms.contains(other) || other == source.room) continue;
        if (!is_public) {
            found.push_back(fmt::format("{}: {} is private to '{}'", source.path, header, other));
        } else if (!own->second.contains(other)) {
            found.push_back(fmt::format("{}: '{}' does not stand on '{}'", source.path, source.room, other));
        }
    }
    return found;
}

std::string read(const fs::path& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

/// The sources of every room: src/ROOM/ and include/enmesh/ROOM/.
std::vector<Source> sources_of(const fs::path& root) {
    std::vector<Source> sources;
    for (const fs::path& base : {root / "src", root / "include/enmesh"}) {
        for (const fs::directory_entry& room : fs::directory_iterator(base)) {
            if (!room.is_directory()) continue;
            for (const fs::directory_entry& file : fs::recursive_directory_iterator(room)) {
                const std::string type = file.path().extension();
                if (type == ".cpp" || type == ".hpp")
                    sources.push_back(
                        {room.path().filename(), file.path().lexically_relative(root), read(file.path())});
            }
        }
    }
    return sources;
}

const fs::path root = ENMESH_SOURCE_DIR;

TEST(Rooms, IncludeOnlyWhatTheyStandOn) {
    const Rooms rooms = rooms_of(read(root / "docs/architecture.md"));
    const std::vector<Source> sources = sources_of(root);
    ASSERT_GT(sources.size(), 300u);
    std::string all;
    for (const Source& source : sources)
        for (const std::string& line : violations(source, rooms)) all += line + "\n";
    EXPECT_EQ(all, "");
}

TEST(Rooms, TableNamesEveryFolderAndNoOther) {
    const Rooms rooms = rooms_of(read(root / "docs/architecture.md"));
    std::set<std::string> named, there;
    for (const auto& [room, below] : rooms) named.insert(room);
    for (const fs::directory_entry& room : fs::directory_iterator(root / "src"))
        if (room.is_directory()) there.insert(room.path().filename());
    EXPECT_EQ(named, there);
}

TEST(Rooms, TableHasNoCycle) {
    const Rooms rooms = rooms_of(read(root / "docs/architecture.md"));
    std::set<std::string> placed;
    for (bool grown = true; grown;) {
        grown = false;
        for (const auto& [room, below] : rooms) {
            if (!placed.contains(room) &&
                std::ranges::all_of(below, [&](const std::string& one) { return placed.contains(one); }))
                grown = placed.insert(room).second;
        }
    }
    EXPECT_EQ(placed.size(), rooms.size());
}

TEST(Rooms, ViolationsAreFound) {
    const Rooms rooms = rooms_of(
        "| room | stands on | holds |\n|---|---|---|\n| `low` | | a |\n| `high` | `low` | b |\n"
        "| `top` | all | c |\n");
    ASSERT_EQ(rooms.size(), 3u);
    EXPECT_EQ(rooms.at("top"), (std::set<std::string>{"low", "high"}));
    const auto of = [&](const char* room, const char* text) {
        return violations({room, "file", text}, rooms).size();
    };
    EXPECT_EQ(of("high", "#include \"enmesh/low/a.hpp\"\n#include \"high/b.hpp\"\n#include <vector>\n"), 0u);
    EXPECT_EQ(of("low", "#include \"enmesh/high/a.hpp\"\n"), 1u);
    EXPECT_EQ(of("high", "#include \"low/a.hpp\"\n"), 1u);
    EXPECT_EQ(of("unknown", ""), 1u);
}

}  // namespace
