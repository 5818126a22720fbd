#include "enmesh/accel/stce.hpp"

#include <gtest/gtest.h>

#include "accel/stce_cases.hpp"
#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

TEST(Stce, ClosedFormEqualsTheNaiveMachineInCyclesAndThePlainProductInBits) {
    Random random(11);
    for (int trial = 0; trial < 2000; ++trial) {
        const StceCase c = random_case(random);
        const EngineRun naive = run_naive(c.stce, c.product, c.mapping, c.streamed, c.indexed);
        ASSERT_EQ(naive.cycles, closed_form(c.stce, c.product, c.mapping).cycles) << describe(c);
        ASSERT_TRUE(same_bits(naive.out, plain_product(c))) << describe(c);
    }
}

}  // namespace
}  // namespace enmesh::accel
