// sum before + value * entry, the product exact in binary32, the sum rounded to nearest even: what an element of the STCE
// computes (docs/sat.md, "What an element does in a cycle"). A sum leaves Latency cycles after its operands came in; the
// addend is taken with them. No register has a reset. With fewer than 4 cycles the cuts behind the multiplier array,
// behind the addition and behind alignment fall away in this order; more than 4 are registers behind the sum.
module fp16_mac #(
  parameter int unsigned Latency = 4
) (
  input  logic        clk_i,
  input  logic [15:0] value_i,
  input  logic [15:0] entry_i,
  input  logic [31:0] before_i,
  output logic [31:0] sum_o
);

  if (Latency < 1 || Latency > 64) $error("fp16_mac: Latency is 1 to 64");

  localparam int unsigned MulCut = Latency >= 4 ? 1 : 0;
  localparam int unsigned AddCuts = Latency >= 3 ? 2 : Latency - 1;
  localparam int unsigned Behind = Latency >= 4 ? Latency - 3 : 1;

  logic [31:0] product, before_q, sum;
  fp16_mul #(.Cut(MulCut)) u_mul (.clk_i, .a_i(value_i), .b_i(entry_i), .product_o(product));
  prim_delay #(.Width(32), .Stages(MulCut)) u_before (.clk_i, .data_i(before_i), .data_o(before_q));
  fp_add #(.Subnormals(0), .Cuts(AddCuts)) u_add (.clk_i, .a_i(before_q), .b_i(product), .sum_o(sum));
  prim_delay #(.Width(32), .Stages(Behind)) u_behind (.clk_i, .data_i(sum), .data_o(sum_o));

endmodule
