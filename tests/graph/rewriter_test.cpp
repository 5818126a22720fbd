#include "enmesh/graph/rewriter.hpp"

#include <gtest/gtest.h>

#include "enmesh/models/models.hpp"

namespace enmesh::test {
namespace {

Graph small_network() {
    return build_model("resnet18", {.classes = 5, .image = {3, 16, 16}, .width = 0.25, .batch = 2});
}

TEST(GraphRewriter, WithoutAHookThatChangesAnythingCopies) {
    const Graph from = small_network();
    Graph to;
    GraphRewriter rewriter(from, to);
    rewriter.run([&](const Node& node) { rewriter.copy(node); });
    EXPECT_EQ(print(to), print(from));
    EXPECT_EQ(to.outputs, from.outputs);
    ASSERT_EQ(to.values().size(), from.values().size());
    for (size_t i = 0; i < from.values().size(); ++i) {
        const Value &a = from.values()[i], &b = to.values()[i];
        EXPECT_EQ(a.name, b.name);
        EXPECT_EQ(a.role, b.role);
        EXPECT_EQ(a.decayed, b.decayed) << a.name;
        EXPECT_EQ(a.initializer.kind, b.initializer.kind) << a.name;
        EXPECT_EQ(a.initializer.scale, b.initializer.scale) << a.name;
        EXPECT_EQ(a.initializer.given, b.initializer.given) << a.name;
    }
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
