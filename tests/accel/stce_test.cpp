#include "enmesh/accel/stce.hpp"

#include <gtest/gtest.h>

#include "accel/stce_cases.hpp"
#include "enmesh/base/error.hpp"
#include "enmesh/base/parallel.hpp"

namespace enmesh::accel {
namespace {

TEST(Stce, ClosedFormEqualsTheNaiveMachineInCyclesAndThePlainProductInBits) {
    set_threads(1);
    Random random(11);
    for (int trial = 0; trial < 2000; ++trial) {
        const StceCase c = random_case(random);
        const EngineRun naive = run_naive(c.stce, c.product, c.mapping, c.streamed, c.indexed);
        ASSERT_EQ(naive.cycles, closed_form(c.stce, c.product, c.mapping).cycles) << describe(c);
        ASSERT_TRUE(same_bits(naive.out, plain_product(c))) << describe(c);
    }
}

TEST(Stce, SteppedMachineEqualsTheClosedFormInCyclesAndThePlainProductInBits) {
    set_threads(1);
    Random random(12);
    for (int trial = 0; trial < 4000; ++trial) {
        const StceCase c = random_case(random, 12, 40);
        const EngineRun fast = run_stepped(c.stce, c.product, c.mapping, c.streamed, c.indexed);
        ASSERT_EQ(fast.cycles, closed_form(c.stce, c.product, c.mapping).cycles) << describe(c);
        ASSERT_TRUE(same_bits(fast.out, plain_product(c))) << describe(c);
        std::vector<float> software(fast.out.size());
        software_product(c.streamed, c.indexed, software);
        ASSERT_TRUE(same_bits(software, fast.out)) << describe(c);
    }
}

}  // namespace
}  // namespace enmesh::accel
