// Rounding to nearest even; magnitudes from 65520 on become an infinity. A NaN keeps its sign and the upper ten bits of its
// payload, and becomes quiet (docs/sat.md, "Arithmetic" and "Store"). Combinational.
module fp32_to_fp16 (
  input  logic [31:0] float_i,
  output logic [15:0] half_o
);

  logic [7:0] exponent;
  assign exponent = float_i[30:23];

  // Below 2^-14 the significand moves right, by up to 25 places: what is left of it is the subnormal.
  logic subnormal;
  logic [7:0] distance;
  logic [24:0] significand, dropped;
  logic [23:0] shifted;
  assign subnormal = exponent < 8'd113;
  assign distance = subnormal ? 8'd113 - exponent : 8'd0;
  assign significand = {exponent != '0, float_i[22:0], 1'b0};
  assign shifted = 24'(significand >> distance);
  assign dropped = significand & ~(~25'b0 << distance);

  // Ten bits of fraction above 14: the first is the half, the others and what fell off are the rest.
  logic round_up;
  logic [14:0] magnitude;
  assign round_up = shifted[13] && (shifted[14] || shifted[12:0] != '0 || dropped != '0);
  assign magnitude = {subnormal ? 5'b0 : 5'(exponent - 8'd112), shifted[23:14]} + 15'(round_up);

  always_comb begin
    if (exponent == 8'hff && float_i[22:0] != '0) half_o = {float_i[31], 6'h3f, float_i[21:13]};
    else if (float_i[30:0] >= 31'h477f_f000) half_o = {float_i[31], 5'h1f, 10'b0};
    else half_o = {float_i[31], magnitude};
  end

endmodule
