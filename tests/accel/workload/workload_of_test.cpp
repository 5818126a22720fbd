#include "enmesh/accel/workload/workload_of.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "accel/workload/vector_kinds.hpp"
#include "enmesh/accel/sat/simulate.hpp"
#include "enmesh/accel/workload/vector_cost.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/models/models.hpp"

namespace enmesh::accel {
namespace {

TrainingStep step_of(const std::string& model, const std::string& method, std::optional<Pattern> pattern,
                     std::array<int64_t, 3> image = {3, 32, 32}) {
    ModelOptions options;
    options.batch = 4;
    options.image = image;
    return build_training_step(build_model(model, options), make_recipe(method, pattern), {});
}

/// Multiply-adds of a stage; BP of strided convolutions counts no inserted zeros on either side.
int64_t total(const Workload& workload, Stage stage, bool dense) {
    int64_t sum = 0;
    for (const Product& p : workload.products) {
        if (p.stage == stage) sum += dense ? dense_multiply_adds(p) : useful_multiply_adds(p);
    }
    return sum;
}

TEST(WorkloadOf, CountsWhatTheStepCounts) {
    for (const char* model : {"resnet9", "resnet18", "vgg19", "vit_tiny"}) {
        for (const char* method : {"dense", "sr-ste", "sdgp", "bdwp"}) {
            const TrainingStep step = step_of(model, method, Pattern{2, 8});
            const Workload workload = workload_of(step);
            check(workload);
            for (const Stage stage : {Stage::FF, Stage::BP, Stage::WG}) {
                const StageCount count = count_products(step, stage);
                EXPECT_EQ(total(workload, stage, true), count.multiply_adds)
                    << model << " " << method << " " << to_string(stage);
                EXPECT_EQ(total(workload, stage, false), count.sparse_multiply_adds)
                    << model << " " << method << " " << to_string(stage);
            }
        }
    }
}

TEST(WorkloadOf, FollowsTheRecipesTable) {
    const auto sparse = [](const Workload& w, Stage stage, Operand operand) {
        int count = 0;
        for (const Product& p : w.products) count += p.stage == stage && p.sparse == operand ? 1 : 0;
        return count;
    };
    const Workload bdwp = workload_of(step_of("resnet9", "bdwp", Pattern{2, 8}));
    EXPECT_GT(sparse(bdwp, Stage::FF, Operand::b), 0);
    EXPECT_EQ(sparse(bdwp, Stage::FF, Operand::b), sparse(bdwp, Stage::BP, Operand::b));
    EXPECT_EQ(sparse(bdwp, Stage::WG, Operand::a), 0);
    const Workload srste = workload_of(step_of("resnet9", "sr-ste", Pattern{2, 8}));
    EXPECT_GT(sparse(srste, Stage::FF, Operand::b), 0);
    EXPECT_EQ(sparse(srste, Stage::BP, Operand::b), 0);
    const Workload sdgp = workload_of(step_of("resnet9", "sdgp", Pattern{2, 8}));
    EXPECT_EQ(sparse(sdgp, Stage::FF, Operand::b), 0);
    EXPECT_GT(sparse(sdgp, Stage::BP, Operand::a), 0);
    const Workload mvue = workload_of(step_of("resnet9", "bdwp+mvue", Pattern{2, 4}));
    EXPECT_GT(sparse(mvue, Stage::WG, Operand::a), 0);
}

TEST(WorkloadOf, UpdatesEveryParameterAndPacksBothForms) {
    const TrainingStep step = step_of("resnet9", "bdwp", Pattern{2, 8});
    const Workload workload = workload_of(step);
    int64_t updated = 0, parameters = 0;
    int packed = 0;
    for (const Update& update : workload.updates) {
        updated += update.rows * update.cols * update.repeats;
        packed += update.directions() == 2 ? 1 : 0;
    }
    for (const StepParameter& parameter : step.parameters)
        parameters += step.graph.type(parameter.weights).shape.elements();
    EXPECT_EQ(updated, parameters);
    EXPECT_GT(packed, 0);
}

/// A product has no row, and every row that is named exists. That no operation lacks both, the compiler
/// checks.
template <typename... Ops>
void expect_all_charged(const std::variant<Ops...>*) {
    const auto check_one = [&](std::string_view operation, bool product) {
        const VectorKind* kind = vector_kind(operation);
        EXPECT_FALSE(product && kind != nullptr) << operation;
        if (kind != nullptr) {
            EXPECT_EQ(vector_cost(kind->row).name, kind->row);
        }
    };
    (check_one(Ops::name, is_product(Operation(Ops{}))), ...);
}

TEST(WorkloadOf, EveryOperationIsChargedByName) {
    expect_all_charged(static_cast<const AnyOperation*>(nullptr));
    EXPECT_EQ(vector_kind("no such operation"), nullptr);
    for (int kind = 1; kind <= static_cast<int>(UnaryKind::power); ++kind)
        for (const bool backward : {false, true}) {
            const std::string_view row = unary_row(static_cast<UnaryKind>(kind), backward);
            EXPECT_EQ(vector_cost(row).name, row);
        }
    EXPECT_THROW(unary_row(UnaryKind::none, false), Error);
}

int64_t elements_of(const Workload& w, const std::string& kind) {
    int64_t sum = 0;
    for (const VectorOp& op : w.vector_ops)
        if (op.kind == kind) sum += op.elements;
    return sum;
}

TEST(WorkloadOf, MasksAndMvueAreChargedAsSuch) {
    const Workload plain = workload_of(step_of("resnet9", "bdwp", Pattern{2, 4}));
    for (const char* kind : {"mvue", "mask_rank", "copy", "transposable_mask", "sr_decay"})
        EXPECT_EQ(elements_of(plain, kind), 0) << kind;
    const Workload mvue = workload_of(step_of("resnet9", "bdwp+mvue", Pattern{2, 4}));
    EXPECT_GT(elements_of(mvue, "mvue"), 0);
    for (const VectorOp& op : mvue.vector_ops) EXPECT_EQ(op.rounds, op.kind == "mvue" ? 2 : 1) << op.kind;
    EXPECT_GT(elements_of(workload_of(step_of("resnet9", "bdwp+sr", Pattern{2, 4})), "sr_decay"), 0);

    const TrainingStep step = step_of("resnet9", "transposable", Pattern{2, 4});
    const Workload masks = workload_of(step);
    EXPECT_GT(elements_of(masks, "mask_rank"), 0);
    EXPECT_GT(elements_of(masks, "transposable_mask"), 0);
    EXPECT_LE((elements_of(masks, "transposable_mask") - 100) * step.recipe.mask_period,
              elements_of(masks, "mask_rank"));
    for (const VectorOp& op : masks.vector_ops)
        EXPECT_EQ(op.rounds, op.kind == "transposable_mask" ? 8 : 1) << op.kind;
}

TEST(WorkloadOf, TrainingOnSatAddsTheLossScaleToTheStep) {
    ModelOptions options;
    options.batch = 64;
    const Graph graph = build_model("resnet9", options);
    Graph scaled = graph;
    scaled.add_input("loss_scale", {Shape{}, DType::f32, {}});
    const Recipe recipe = make_recipe("bdwp", Pattern{2, 8});
    const Workload alone = workload_of(build_training_step(graph, recipe, {})),
                   trained = workload_of(build_training_step(scaled, recipe, {}));
    EXPECT_EQ(elements_of(trained, "multiply"), elements_of(alone, "multiply") + 64 * 10);
    EXPECT_EQ(trained.vector_ops.size(), alone.vector_ops.size() + 1);
    const SatConfig config;
    const auto cycles = [&](const Workload& w) {
        return simulate(config, w, find_schedule(config, w)).total_cycles;
    };
    EXPECT_EQ(cycles(trained), cycles(alone) + 28);
}

TEST(WorkloadOf, AttentionIsBatchedPerHeadAndImage) {
    const Workload workload = workload_of(step_of("vit_tiny", "dense", {}));
    bool found = false;
    for (const Product& p : workload.products) {
        if (p.batch == 1) continue;
        found = true;
        EXPECT_EQ(p.batch, 4 * 3);
        EXPECT_FALSE(p.b_is_parameter);
    }
    EXPECT_TRUE(found);
}

/// Every position that the work at `position` waits for.
std::set<int64_t> all_needs(const Workload& workload, int64_t position) {
    std::set<int64_t> all;
    std::vector<int64_t> open = {position};
    while (!open.empty()) {
        const int64_t at = open.back();
        open.pop_back();
        for (const int64_t need : workload.needs.at(at))
            if (all.insert(need).second) open.push_back(need);
    }
    return all;
}

TEST(WorkloadOf, NeedsAreThoseOfTheStepsGraph) {
    for (const char* method : {"dense", "bdwp", "sdgp", "bdwp+mvue"}) {
        const Workload workload = workload_of(step_of("resnet9", method, Pattern{2, 4}));
        std::set<int64_t> work;
        std::map<std::pair<std::string, Stage>, int64_t> product;
        int64_t loss = -1;
        for (const Product& p : workload.products) {
            work.insert(p.position);
            product[{p.layer, p.stage}] = p.position;
        }
        for (const VectorOp& op : workload.vector_ops) {
            work.insert(op.position);
            if (op.kind == "cross_entropy") loss = op.position;
        }
        for (const Update& update : workload.updates) work.insert(update.position);
        ASSERT_EQ(workload.needs.size(), work.size());
        for (const auto& [position, needs] : workload.needs)
            for (const int64_t need : needs) {
                EXPECT_LT(need, position);
                EXPECT_TRUE(work.contains(need)) << need;
            }
        const int64_t first = workload.products.front().position;
        for (const Product& p : workload.products) {
            if (p.position == first) continue;
            const std::set<int64_t> needs = all_needs(workload, p.position);
            EXPECT_TRUE(needs.contains(first)) << p.layer << to_string(p.stage);
            if (p.stage == Stage::FF) continue;
            EXPECT_TRUE(needs.contains(product.at({p.layer, Stage::FF}))) << p.layer << to_string(p.stage);
            // Neither gradient of a layer waits for the other.
            const auto other = product.find({p.layer, p.stage == Stage::BP ? Stage::WG : Stage::BP});
            if (other != product.end()) {
                EXPECT_FALSE(needs.contains(other->second)) << p.layer;
            }
        }
        EXPECT_TRUE(
            all_needs(workload, loss).contains(product.at({workload.products.front().layer, Stage::FF})));
        // A gradient comes from the loss; but for the classifier's bias, through a product.
        for (const Update& update : workload.updates) {
            const std::set<int64_t> needs = all_needs(workload, update.position);
            EXPECT_TRUE(needs.contains(loss)) << update.layer;
            const bool product_behind = std::ranges::any_of(workload.products, [&](const Product& p) {
                return p.stage != Stage::FF && needs.contains(p.position);
            });
            EXPECT_EQ(product_behind, update.layer != "fc.bias") << update.layer;
        }
    }
}

}  // namespace
}  // namespace enmesh::accel
