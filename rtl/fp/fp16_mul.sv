// The product of two binary16 numbers in binary32, exact: 22 significant bits between 2^-48 and 2^32, so that nothing
// rounds, overflows or becomes subnormal (docs/sat.md, "Arithmetic"). Subnormal operands are taken as they are; a NaN
// result is the canonical one. Combinational, or with one register behind the multiplier array (Cut).
module fp16_mul #(
  parameter int unsigned Cut = 0
) (
  input  logic        clk_i,
  input  logic [15:0] a_i,
  input  logic [15:0] b_i,
  output logic [31:0] product_o
);

  if (Cut > 1) $error("fp16_mul: Cut is 0 or 1");

  // Stage 1: the integer product, the sum of exponents, and what is special.
  logic a_normal, b_normal, a_zero, b_zero, a_special, b_special, a_nan, b_nan;
  assign a_normal = a_i[14:10] != '0;
  assign b_normal = b_i[14:10] != '0;
  assign a_zero = a_i[14:0] == '0;
  assign b_zero = b_i[14:0] == '0;
  assign a_special = &a_i[14:10];
  assign b_special = &b_i[14:10];
  assign a_nan = a_special && a_i[9:0] != '0;
  assign b_nan = b_special && b_i[9:0] != '0;

  logic sign, nan, infinite;
  assign sign = a_i[15] ^ b_i[15];
  assign nan = a_nan || b_nan || (a_special && b_zero) || (b_special && a_zero);
  assign infinite = a_special || b_special;

  logic [21:0] significand;
  assign significand = {11'b0, a_normal, a_i[9:0]} * {11'b0, b_normal, b_i[9:0]};

  // Of a subnormal the exponent field 0 counts as 1. 2..60, as biased twice.
  logic [5:0] exponent;
  assign exponent = {1'b0, a_i[14:10]} + {1'b0, b_i[14:10]} + {5'b0, !a_normal} + {5'b0, !b_normal};

  logic sign_q, nan_q, infinite_q;
  logic [21:0] significand_q;
  logic [5:0] exponent_q;
  prim_delay #(.Width(31), .Stages(Cut)) u_cut (
    .clk_i,
    .data_i({sign, nan, infinite, significand, exponent}),
    .data_o({sign_q, nan_q, infinite_q, significand_q, exponent_q})
  );

  // Stage 2: the leading one moves to bit 21.
  logic [4:0] zeros;
  always_comb begin
    zeros = 5'd22;
    for (int unsigned i = 0; i < 22; i++) begin
      if (significand_q[i]) zeros = 5'(21 - i);
    end
  end

  logic [21:0] normal;
  assign normal = significand_q << zeros;

  // 2 * 15 of the operands' bias, 127 of the result's, and bit 21 stands for 2.
  logic [7:0] biased;
  assign biased = {2'b0, exponent_q} + 8'd98 - {3'b0, zeros};

  always_comb begin
    if (nan_q) product_o = sat_pkg::CanonicalNan;
    else if (infinite_q) product_o = {sign_q, 8'hff, 23'b0};
    else if (!normal[21]) product_o = {sign_q, 31'b0};
    else product_o = {sign_q, biased, normal[20:0], 2'b0};
  end

endmodule
