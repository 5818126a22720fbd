// The sum of two IEEE numbers of ExpW and FracW bits, rounded to nearest even; a NaN result is the canonical one
// (docs/sat.md, "Arithmetic"; lanes of the WUVE: with subnormals). Subnormals = 0 leaves their branch out: neither
// operands nor sums may be subnormal then, as in the STCE, where sums are multiples of 2^-48.
// Cuts: 0 is combinational, 1 puts a register behind alignment, 2 another one behind the addition.
module fp_add #(
  parameter int unsigned ExpW = 8,
  parameter int unsigned FracW = 23,
  parameter int unsigned Subnormals = 1,
  parameter int unsigned Cuts = 0,
  localparam int unsigned W = 1 + ExpW + FracW
) (
  input  logic         clk_i,
  input  logic [W-1:0] a_i,
  input  logic [W-1:0] b_i,
  output logic [W-1:0] sum_o
);

  if (Subnormals > 1) $error("fp_add: Subnormals is 0 or 1");
  if (ExpW < 3 || FracW < 2) $error("fp_add: at least 3 bits of exponent and 2 of fraction");
  if (Cuts > 2) $error("fp_add: Cuts is 0, 1 or 2");

  // Hidden bit, fraction, and three bits behind it: guard, round, sticky.
  localparam int unsigned SigW = FracW + 4;
  // A sum of two of them.
  localparam int unsigned TotalW = SigW + 1;
  localparam int unsigned CountW = $clog2(TotalW + 1);
  localparam logic [ExpW-1:0] AllOnes = '1;

  // Stage 1: the larger magnitude first, the smaller one shifted to its exponent.
  logic swap;
  logic [W-1:0] x, y;
  assign swap = b_i[W-2:0] > a_i[W-2:0];
  assign x = swap ? b_i : a_i;
  assign y = swap ? a_i : b_i;

  logic [ExpW-1:0] x_field, y_field, x_exponent, y_exponent, distance;
  logic x_normal, y_normal;
  assign x_field = x[W-2 -: ExpW];
  assign y_field = y[W-2 -: ExpW];
  assign x_normal = x_field != '0;
  assign y_normal = y_field != '0;
  if (Subnormals != 0) begin : g_subnormal_operands
    assign x_exponent = x_normal ? x_field : ExpW'(1);
    assign y_exponent = y_normal ? y_field : ExpW'(1);
  end else begin : g_normal_operands
    assign x_exponent = x_field;
    assign y_exponent = y_field;
  end
  assign distance = x_exponent - y_exponent;

  logic [SigW-1:0] x_significand, y_significand, y_shifted, y_dropped;
  assign x_significand = {x_normal, x[FracW-1:0], 3'b0};
  assign y_significand = {y_normal, y[FracW-1:0], 3'b0};
  assign y_shifted = y_significand >> distance;
  assign y_dropped = y_significand & ~(~'0 << distance);

  logic [SigW-1:0] y_aligned;
  assign y_aligned = {y_shifted[SigW-1:1], y_shifted[0] | (y_dropped != '0)};

  logic sign, subtract, nan, infinite, both_minus;
  assign sign = x[W-1];
  assign subtract = x[W-1] ^ y[W-1];
  assign nan = (x_field == AllOnes && x[FracW-1:0] != '0) ||
               (x_field == AllOnes && y_field == AllOnes && (y[FracW-1:0] != '0 || subtract));
  assign infinite = x_field == AllOnes;
  assign both_minus = x[W-1] && y[W-1];

  localparam int unsigned AlignedW = 2 * SigW + ExpW + 5;
  logic sign_q, subtract_q, nan_q, infinite_q, both_minus_q;
  logic [ExpW-1:0] exponent_q;
  logic [SigW-1:0] x_significand_q, y_aligned_q;
  prim_delay #(.Width(AlignedW), .Stages(Cuts >= 1 ? 1 : 0)) u_cut_align (
    .clk_i,
    .data_i({sign, subtract, nan, infinite, both_minus, x_exponent, x_significand, y_aligned}),
    .data_o({sign_q, subtract_q, nan_q, infinite_q, both_minus_q, exponent_q, x_significand_q, y_aligned_q})
  );

  // Stage 2: add or subtract, and count the zeros in front.
  logic [TotalW-1:0] total;
  assign total = {1'b0, x_significand_q} + ({1'b0, y_aligned_q} ^ {TotalW{subtract_q}}) + TotalW'(subtract_q);

  logic [CountW-1:0] zeros;
  always_comb begin
    zeros = CountW'(TotalW);
    for (int unsigned i = 0; i < TotalW; i++) begin
      if (total[i]) zeros = CountW'(TotalW - 1 - i);
    end
  end

  localparam int unsigned AddedW = TotalW + CountW + ExpW + 4;
  logic sign_q2, nan_q2, infinite_q2, both_minus_q2;
  logic [ExpW-1:0] exponent_q2;
  logic [TotalW-1:0] total_q2;
  logic [CountW-1:0] zeros_q2;
  prim_delay #(.Width(AddedW), .Stages(Cuts >= 2 ? 1 : 0)) u_cut_add (
    .clk_i,
    .data_i({sign_q, nan_q, infinite_q, both_minus_q, exponent_q, total, zeros}),
    .data_o({sign_q2, nan_q2, infinite_q2, both_minus_q2, exponent_q2, total_q2, zeros_q2})
  );

  // Stage 3: the leading one to the top, at most until the exponent is that of subnormals; round; select.
  logic [ExpW:0] wide_zeros, wide_exponent;
  logic clamped;
  logic [TotalW-1:0] normal;
  logic [ExpW:0] biased;
  assign wide_zeros = (ExpW + 1)'(zeros_q2);
  assign wide_exponent = {1'b0, exponent_q2};
  if (Subnormals != 0) begin : g_subnormal_sum
    assign clamped = wide_zeros > wide_exponent;
    assign normal = clamped ? total_q2 << exponent_q2 : total_q2 << zeros_q2;
  end else begin : g_normal_sum
    assign clamped = 1'b0;
    assign normal = total_q2 << zeros_q2;
  end
  // The top bit stands for 2^(exponent + 1). Of a subnormal sum the field is 0.
  assign biased = clamped ? '0 : wide_exponent + (ExpW + 1)'(1) - wide_zeros;

  logic round_up;
  logic [W-2:0] magnitude;
  assign round_up = normal[3] && (normal[4] || normal[2:0] != '0);
  assign magnitude = {biased[ExpW-1:0], normal[TotalW-2 -: FracW]} + (W - 1)'(round_up);

  // Always the hidden one, or nothing.
  logic unused;
  assign unused = normal[TotalW-1];

  logic zero;
  assign zero = total_q2 == '0;
  always_comb begin
    if (nan_q2) sum_o = {1'b0, AllOnes, 1'b1, {FracW - 1{1'b0}}};
    else if (infinite_q2) sum_o = {sign_q2, AllOnes, {FracW{1'b0}}};
    else if (zero) sum_o = {both_minus_q2, {W - 1{1'b0}}};
    else if (biased >= {1'b0, AllOnes}) sum_o = {sign_q2, AllOnes, {FracW{1'b0}}};
    else sum_o = {sign_q2, magnitude};
  end

endmodule
