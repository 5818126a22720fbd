#include "enmesh/accel/sat/vector_pass.hpp"

#include <gtest/gtest.h>

#include <bit>

#include "enmesh/base/error.hpp"
#include "enmesh/base/random.hpp"

namespace enmesh::accel::sat {
namespace {

VectorPass momentum_update() {
    VectorPass pass;
    pass.operation = "sgd_momentum_update";
    pass.pattern = {2, 8};
    pass.along_columns = pass.along_rows = true;
    pass.elements = 64;
    pass.columns = 32;
    pass.rounds = 9;
    pass.constants = {0.1F, 0.9F, 5e-4F, 1.0F / 65536};
    return pass;
}

VectorPass sore_alone() {
    VectorPass pass;
    pass.pattern = {1, 16};
    pass.ranks = RankSource::values;
    pass.elements = 5;
    pass.rounds = 27;
    return pass;
}

std::string refusal(const VectorPass& pass) {
    try {
        encode(pass);
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

TEST(VectorPass, AnUpdatesWordsByHand) {
    const VectorWords words = encode(momentum_update());
    uint32_t row = 0;
    while (vector_costs()[row].name != "sgd_momentum_update") ++row;
    EXPECT_EQ(words[0], row | 1U << 8 | 3U << 10 | 2U << 12 | 8U << 20);
    EXPECT_EQ(words[1], 64U);
    EXPECT_EQ(words[2], 32U);
    EXPECT_EQ(words[3], 9U);
    EXPECT_EQ(words[4], std::bit_cast<uint32_t>(0.1F));
    EXPECT_EQ(words[7], 0x37800000U);
    EXPECT_EQ(words[8], 0U);
}

TEST(VectorPass, SoresWordsByHand) {
    const VectorWords words = encode(sore_alone());
    EXPECT_EQ(words[0], 1U << 9 | 1U << 12 | 16U << 20 | 1U << 28);
    EXPECT_EQ(words[1], 5U);
    EXPECT_EQ(words[2], 0U);
    EXPECT_EQ(words[3], 27U);
}

TEST(VectorPass, EveryRowComesBack) {
    Random random(3);
    for (const VectorCost& cost : vector_costs()) {
        VectorPass pass;
        pass.operation = cost.name;
        pass.elements = 1 + static_cast<uint32_t>(random.below(0xffffffff));
        if (pass.updates_weights()) pass.columns = 1 + static_cast<uint32_t>(random.below(4096));
        if (random.below(2) == 0 || cost.name == "mvue" || cost.name == "transposable_mask")
            pass.pattern = {3, 7};
        for (size_t i = 0; i < 4; ++i) pass.constants[i] = static_cast<float>(random.normal());
        EXPECT_EQ(decode(encode(pass)), pass) << cost.name;
    }
    EXPECT_EQ(decode(encode(momentum_update())), momentum_update());
    EXPECT_EQ(decode(encode(sore_alone())), sore_alone());
}

TEST(VectorPass, RefusesWhatNoMachineCanDo) {
    VectorPass pass = momentum_update();
    pass.operation = "sgd_momentum_updaet";
    EXPECT_NE(refusal(pass).find("sgd_momentum_update"), std::string::npos);
    pass = momentum_update();
    pass.pattern = {};
    EXPECT_NE(refusal(pass).find("no pattern"), std::string::npos);
    pass = {};
    pass.operation = "mvue";
    pass.elements = 64;
    EXPECT_NE(refusal(pass).find("no pattern"), std::string::npos);
    pass = momentum_update();
    pass.columns = 0;
    EXPECT_NE(refusal(pass).find("0 columns"), std::string::npos);
    pass = momentum_update();
    pass.constants[4] = 1;
    EXPECT_NE(refusal(pass).find("4 constants"), std::string::npos);
    pass = momentum_update();
    pass.operation = "relu_forward";
    pass.columns = 0;
    EXPECT_NE(refusal(pass).find("only a weight update"), std::string::npos);
    pass = sore_alone();
    pass.operation = "copy";
    EXPECT_NE(refusal(pass).find("ranks"), std::string::npos);
    pass = sore_alone();
    pass.elements = 0;
    EXPECT_NE(refusal(pass).find("0 elements"), std::string::npos);
}

TEST(VectorPass, EveryBitThatMeansNothingIsRefused) {
    for (const VectorPass& pass : {momentum_update(), sore_alone()}) {
        const VectorWords words = encode(pass);
        for (int bit = 0; bit < 32; ++bit) {
            VectorWords changed = words;
            changed[0] ^= 1U << bit;
            try {
                EXPECT_EQ(encode(decode(changed)), changed) << bit;
            } catch (const Error&) {
                continue;
            }
            EXPECT_NE(decode(changed), pass) << bit;
        }
        for (const int bit : {17, 18, 19, 25, 26, 27, 30, 31}) {
            VectorWords changed = words;
            changed[0] ^= 1U << bit;
            EXPECT_THROW(decode(changed), Error) << bit;
        }
        VectorWords row = words;
        row[0] |= 0xff;
        EXPECT_THROW(decode(row), Error);
        VectorWords rank = words;
        rank[0] |= 3U << 28;
        EXPECT_THROW(decode(rank), Error);
    }
}

}  // namespace
}  // namespace enmesh::accel::sat
