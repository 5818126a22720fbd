#include "enmesh/accel/workload_of.hpp"

#include <gtest/gtest.h>

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
        packed += update.directions == 2 ? 1 : 0;
    }
    for (const StepParameter& parameter : step.parameters)
        parameters += step.graph.type(parameter.weights).shape.elements();
    EXPECT_EQ(updated, parameters);
    EXPECT_GT(packed, 0);
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

}  // namespace
}  // namespace enmesh::accel
