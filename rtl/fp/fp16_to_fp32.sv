// Widening, exact. A NaN keeps its sign and its payload (docs/sat.md, "Interfaces"). Combinational.
module fp16_to_fp32 (
  input  logic [15:0] half_i,
  output logic [31:0] float_o
);

  logic [3:0] zeros;
  always_comb begin
    zeros = 4'd10;
    for (int unsigned i = 0; i < 10; i++) begin
      if (half_i[i]) zeros = 4'(9 - i);
    end
  end

  // Of a subnormal the leading one is dropped.
  logic [9:0] fraction;
  assign fraction = (half_i[9:0] << zeros) << 1;

  always_comb begin
    if (&half_i[14:10]) float_o = {half_i[15], 8'hff, half_i[9:0], 13'b0};
    else if (half_i[14:10] != '0) float_o = {half_i[15], {3'b0, half_i[14:10]} + 8'd112, half_i[9:0], 13'b0};
    else if (half_i[9:0] != '0) float_o = {half_i[15], 8'd112 - {4'b0, zeros}, fraction, 13'b0};
    else float_o = {half_i[15], 31'b0};
  end

endmodule
