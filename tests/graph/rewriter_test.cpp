#include "enmesh/graph/rewriter.hpp"

#include <gtest/gtest.h>

#include <map>

#include "enmesh/models/models.hpp"

namespace enmesh::test {
namespace {

Graph small_network() {
    return build_model("resnet18", {.classes = 5, .image = {3, 16, 16}, .width = 0.25, .batch = 2});
}

/// The graph as text, with results numbered as they appear: a copy makes inputs and parameters first.
std::string renumbered(const Graph& graph) {
    const std::string text = print(graph);
    std::map<std::string, size_t> numbers;
    std::string result;
    for (size_t at = 0; at < text.size();) {
        size_t end = at + 1;
        if (text[at] == '%') {
            while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
            const auto number = numbers.try_emplace(text.substr(at, end - at), numbers.size()).first->second;
            result += fmt::format("%{}", number);
        } else {
            result += text[at];
        }
        at = end;
    }
    return result;
}

TEST(GraphRewriter, WithoutAHookThatChangesAnythingCopies) {
    const Graph from = small_network();
    Graph to;
    GraphRewriter rewriter(from, to);
    rewriter.run([&](const Node& node) { rewriter.copy(node); });
    EXPECT_EQ(renumbered(to), renumbered(from));
    ASSERT_EQ(to.outputs.size(), from.outputs.size());
    EXPECT_EQ(to.type(to.outputs[0]), from.type(from.outputs[0]));
    ASSERT_EQ(to.values().size(), from.values().size());
    size_t named = 0;
    for (const Value& a : from.values()) {
        if (a.role == Role::result) continue;
        ++named;
        ASSERT_TRUE(to.find(a.name).valid()) << a.name;
        const Value& b = to.value(to.find(a.name));
        EXPECT_EQ(a.role, b.role) << a.name;
        EXPECT_EQ(a.type, b.type) << a.name;
        EXPECT_EQ(a.decayed, b.decayed) << a.name;
        EXPECT_EQ(a.initializer.kind, b.initializer.kind) << a.name;
        EXPECT_EQ(a.initializer.scale, b.initializer.scale) << a.name;
        EXPECT_EQ(a.initializer.given, b.initializer.given) << a.name;
    }
    EXPECT_GT(named, 50U);
}

TEST(GraphRewriter, HooksChangeValuesAndLeaveNodesOut) {
    const Graph from = small_network();
    Graph to;
    GraphRewriter rewriter(from, to);
    const auto rename = [&](ValueId id) {
        Value value = from.value(id);
        value.name = "new." + value.name;
        rewriter.copy(id, value);
    };
    size_t relus = 0;
    rewriter.run(rename, [&](const Node& node) {
        if (!node.operation.is<Relu>()) return rewriter.copy(node);
        ++relus;
        rewriter.map(node.outputs[0], rewriter.mapped(node.inputs[0]));
    });
    EXPECT_GT(relus, 0U);
    EXPECT_EQ(to.nodes().size() + relus, from.nodes().size());
    EXPECT_FALSE(to.find("images").valid());
    EXPECT_TRUE(to.find("new.images").valid());
    ASSERT_EQ(to.outputs.size(), from.outputs.size());
    EXPECT_EQ(to.type(to.outputs[0]), from.type(from.outputs[0]));
}

}  // namespace
}  // namespace enmesh::test
