#include "enmesh/accel/workload/topology.hpp"

#include <gtest/gtest.h>

#include "enmesh/base/error.hpp"

namespace enmesh::accel {
namespace {

constexpr const char* conv_header =
    "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n";

std::string refusal(const std::string& text) {
    try {
        parse_topology(text, "net.csv");
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::request);
        return error.what();
    }
    return "(accepted)";
}

TEST(Topology, ReadsConvolutionsAsScaleSimSeesThem) {
    const Workload w =
        parse_topology(std::string(conv_header) + "Conv1, 224, 200, 7, 5, 3, 64, 2,\n", "net.csv");
    ASSERT_EQ(w.products.size(), 1U);
    const Product& p = w.products[0];
    EXPECT_EQ(p.layer, "Conv1");
    EXPECT_EQ(p.stage, Stage::FF);
    EXPECT_EQ(p.conv->out_height, 110);  // ceil((224 - 7 + 2) / 2)
    EXPECT_EQ(p.conv->out_width, 99);    // ceil((200 - 5 + 2) / 2)
    EXPECT_EQ(p.m, 110 * 99);
    EXPECT_EQ(p.n, 64);
    EXPECT_EQ(p.k, 7 * 5 * 3);
    EXPECT_FALSE(p.is_sparse());
}

TEST(Topology, RecognisesGemmFromTheHeader) {
    const Workload w = parse_topology("Layer,M,N,K,\r\nA,100,20,30,\r\nB,1,2,3\r\n", "net.csv");
    ASSERT_EQ(w.products.size(), 2U);
    EXPECT_EQ(w.products[0].m, 100);
    EXPECT_EQ(w.products[0].n, 20);
    EXPECT_EQ(w.products[0].k, 30);
    EXPECT_EQ(w.products[1].layer, "B");
}

TEST(Topology, ImagesMultiplyTheRowsOfEitherForm) {
    const Workload gemm = parse_topology(
        "Layer, M, N, K, Batch Size,\nA, 10, 20, 30, 3,\nB, 10, 20, 30, ,\nC, 10, 20, 30,\n", "net.csv");
    ASSERT_EQ(gemm.products.size(), 3U);
    EXPECT_EQ(gemm.products[0].m, 30);
    EXPECT_EQ(gemm.products[0].batch, 1);
    EXPECT_EQ(dense_multiply_adds(gemm.products[0]), 3 * 10 * 20 * 30);
    EXPECT_EQ(gemm.products[1].m, 10);
    EXPECT_EQ(gemm.products[2].m, 10);
    // The same layer in the other form.
    const Workload conv = parse_topology(
        "Layer, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides, Batch "
        "Size,\nA, 10, 1, 1, 1, 30, 20, 1, 3,\n",
        "net.csv");
    EXPECT_EQ(conv.products[0].m, gemm.products[0].m);
    EXPECT_EQ(conv.products[0].n, gemm.products[0].n);
    EXPECT_EQ(conv.products[0].k, gemm.products[0].k);
    const std::string header = "Layer, M, N, K, Batch Size,\n";
    EXPECT_EQ(refusal(header + "a,4,4,4,x\n"), "net.csv:2: column 5 'Batch Size': 'x' is not an integer");
    EXPECT_EQ(refusal(header + "a,4,4,4,0\n"),
              "net.csv:2: column 5 'Batch Size': 0 is not between 1 and 2147483648");
    EXPECT_EQ(refusal(header + "a,4,4,4,-2\n"),
              "net.csv:2: column 5 'Batch Size': -2 is not between 1 and 2147483648");
    EXPECT_EQ(refusal(header + "a,2147483648,1,1,2147483648\n"),
              "net.csv:2: the layer is too large to be counted");
}

TEST(Topology, TwoStridesMayBeShort) {
    const Workload workload = parse_topology(
        "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Stride H, "
        "Stride W,\n"
        "A, 9, 9, 3, 3, 4, 8, 2, 3,\n",
        "net.csv");
    ASSERT_EQ(workload.products.size(), 1U);
    EXPECT_EQ(workload.products[0].m, 4 * 3);  // (9 - 3) / 2 + 1 rows of (9 - 3) / 3 + 1
}

TEST(Topology, RefusesFieldsThatAnotherCharacterSeparates) {
    const std::string header = "Layer, M, N, K,\nA, 4, 4, 4,\n";
    EXPECT_EQ(refusal(header + "a; 4; 4; 4\n"),
              "net.csv:3: the fields are separated by ';', those of the header by ','");
    EXPECT_EQ(refusal(header + "a\t4\t4\t4\n"),
              "net.csv:3: the fields are separated by a tab, those of the header by ','");
    EXPECT_EQ(refusal("Layer\tM\tN\tK\na,4,4,4\n"),
              "net.csv:2: the fields are separated by ',', those of the header by a tab");
    EXPECT_EQ(
        parse_topology(header + "Stage 2\n\tStage 3;\nStage 4; encoder,,,\n", "net.csv").products.size(), 1U);
}

TEST(Topology, ReadsSparsityAndTreatsNofNAsDense) {
    const Workload w = parse_topology(
        "Layer Name, M, N, K, Sparsity,\nA, 3, 5, 16, 3:4,\nB, 1, 5, 16, 4:4,\nC, 1, 5, 16\n", "net.csv");
    EXPECT_EQ(w.products[0].pattern, (Pattern{3, 4}));
    EXPECT_EQ(w.products[0].sparse, Operand::b);
    EXPECT_FALSE(w.products[1].is_sparse());
    EXPECT_FALSE(w.products[2].is_sparse());
}

TEST(Topology, DepthwiseNamesBecomeEqualProducts) {
    const Workload w = parse_topology(fmt::format("{}DP1, 10, 10, 3, 3, 32, 1, 1,", conv_header), "net.csv");
    EXPECT_EQ(w.products[0].batch, 32);
    EXPECT_EQ(w.products[0].k, 9);
    EXPECT_EQ(dense_multiply_adds(w.products[0]), 64 * 9 * 32);
}

TEST(Topology, ToleratesWhatShippedFilesContain) {
    const std::string text =
        "\xef\xbb\xbfLayer name,Ifmap height,ifmap width,filter height,filter width,channels,num "
        "filters,strides,batch size,,Eh\r\n"
        ",,,,,,,,,,\r\n"
        "Transformer,\r\n"
        "\r\n"
        "conv1,8,8,3,3,4,8,1,2,,36\r\n"
        "conv2,8,8,3,3,1,1,1,#dw\r\n"
        "conv3,8,8,1,1,1,1,1";
    const Workload w = parse_topology(text, "net.csv");
    ASSERT_EQ(w.products.size(), 3U);
    EXPECT_EQ(w.products[0].m, 2 * 36);
    EXPECT_EQ(w.products[2].layer, "conv3");
    const Workload tabs = parse_topology(
        "Layer name\t IFMAP Height\t IFMAP Width\t Filter Height\t Filter Width\t Channels\t Num Filter\t "
        "Strides\t \nC\t5\t5\t3\t3\t1\t4\t1\t\n",
        "net.csv");
    EXPECT_EQ(tabs.products[0].n, 4);
    const Workload twice = parse_topology(
        "Layer, IFMAP Width, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, "
        "Strides,\nC,6,5,3,3,1,4,1,\n",
        "net.csv");
    EXPECT_EQ(twice.products[0].m, 4 * 3);
}

TEST(Topology, NamesFileLineAndColumn) {
    EXPECT_EQ(refusal(std::string(conv_header) + "A, 5, 5, 3, x, 1, 1, 1,\n"),
              "net.csv:2: column 5 'Filter Width': 'x' is not an integer");
    EXPECT_EQ(refusal(std::string(conv_header) + "\nA, 5, 5, 3, 3, , 1, 1,\n"),
              "net.csv:3: column 6 'Channels' is empty");
    EXPECT_EQ(refusal(std::string(conv_header) + "A, 5, 5, 7, 3, 1, 1, 1,\n"),
              "net.csv:2: column 4 'Filter Height': 7 is larger than the input's 5");
    EXPECT_EQ(refusal(std::string(conv_header) + "A, 5, 5, 3, 3, 1, 0, 1,\n"),
              "net.csv:2: column 7 'Num Filter': 0 is not between 1 and 2147483648");
    EXPECT_EQ(refusal("Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, "
                      "Strides,\nA,5,5,3,3,1,1,\n"),
              "net.csv:1: the header has no column 'Num Filter'");
    EXPECT_EQ(refusal("Layer, M, N, K, Sparsity,\nA, 5, 5, 8, 5:4,\n"),
              "net.csv:2: column 5 'Sparsity': '5:4' is not N:M with 1 <= N <= M <= 16");
    EXPECT_EQ(refusal("Layer, M, N, K,\nA, 5, 5, 8, 9,\n"),
              "net.csv:2: column 5: '9' is beyond the header's last column");
    EXPECT_EQ(refusal("Layer, M, N, K,\n, 5, 5, 8,\n"), "net.csv:2: column 1 'Layer name' is empty");
    EXPECT_EQ(refusal("Layer, M, N, K,\nA, 5, 5,\n"), "net.csv:2: column 4 'K' is empty");
}

TEST(Topology, RefusesAColumnThatIsThereTwice) {
    EXPECT_EQ(refusal("Layer, M, N, K, N,\nA, 5, 5, 8, 5,\n"),
              "net.csv:1: columns 3 and 5 of the header are both 'N'");
    EXPECT_EQ(refusal("Layer, IFMAP Height, IFMAP Width, IFMAP Width, Filter Height, Filter Width, Channels, "
                      "Num Filter, Strides,\nA,5,5,5,3,3,1,1,1,\n"),
              "net.csv:1: columns 3 and 4 of the header are both 'IFMAP Width'");
}

TEST(Topology, RefusesMisspeltColumnsAndNamesOthersOnce) {
    EXPECT_EQ(refusal("Layer, M, N, K, Sparsty,\nA, 5, 5, 8, 2:4,\n"),
              "net.csv:1: column 5: 'Sparsty' is unknown (did you mean 'Sparsity'?)");
    EXPECT_EQ(refusal("Layer, IFMAP Height, IFMAP Width, Filter Hight, Filter Width, Channels, Num Filter, "
                      "Strides,\nA,5,5,3,3,1,1,1,\n"),
              "net.csv:1: column 4: 'Filter Hight' is unknown (did you mean 'Filter Height'?)");
    EXPECT_EQ(refusal(std::string(conv_header).substr(0, std::string(conv_header).size() - 1) +
                      "Bach Size,\nA,5,5,3,3,1,1,1,4,\n"),
              "net.csv:1: column 9: 'Bach Size' is unknown (did you mean 'Batch Size'?)");
    testing::internal::CaptureStderr();
    const Workload w = parse_topology(
        "Layer, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides, OFMAP "
        "Height, Remark,\nA,5,5,3,3,1,1,1,3,first,\n",
        "net.csv");
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "note: net.csv:1: columns that are not used: 9 'OFMAP Height', 10 'Remark'\n");
    EXPECT_EQ(w.products.size(), 1U);
    testing::internal::CaptureStderr();
    parse_topology("Layer, M, Strides, N, K, Remark,\nA,5,x,5,3,first,\n", "net.csv");
    EXPECT_EQ(testing::internal::GetCapturedStderr(),
              "note: net.csv:1: columns that are not used: 3 'Strides', 6 'Remark'\n");
}

TEST(Topology, RefusesFilesThatAreNoTopology) {
    EXPECT_EQ(refusal(""), "net.csv: is empty, a topology was expected");
    EXPECT_EQ(refusal("Layer, M, N, K,\n\n"), "net.csv: has a header but no layer");
    EXPECT_NE(refusal("hello\nworld\n").find("net.csv:1: the header is neither"), std::string::npos);
    EXPECT_EQ(refusal(std::string("a\0b", 3)), "net.csv: is not a text file");
    EXPECT_EQ(refusal("Layer, M, N, K,\nA, 2147483648, 2147483648, 2147483648,\n"),
              "net.csv:2: layer A has 9.9e+27 multiply-adds, more than can be counted");
    EXPECT_NE(refusal(std::string(conv_header) + "A, 2147483648, 2147483648, 1, 1, 2147483648, 1, 1,\n")
                  .find("too large"),
              std::string::npos);
    EXPECT_THROW(read_topology("/nonexistent.csv"), Error);
}

}  // namespace
}  // namespace enmesh::accel
