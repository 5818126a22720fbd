// A delay line of Stages registers; none is a wire. No register has a reset, so that it packs into DSP slices and SRLs:
// what it carries is valid only where a valid bit says so.
module prim_delay #(
  parameter int unsigned Width = 1,
  parameter int unsigned Stages = 1
) (
  input  logic             clk_i,
  input  logic [Width-1:0] data_i,
  output logic [Width-1:0] data_o
);

  if (Width < 1) $error("prim_delay: Width must be at least 1");

  if (Stages == 0) begin : g_wire
    logic unused;
    assign unused = clk_i;
    assign data_o = data_i;
  end else begin : g_line
    logic [Stages*Width-1:0] line_q;
    if (Stages == 1) begin : g_one
      always_ff @(posedge clk_i) line_q <= data_i;
    end else begin : g_more
      always_ff @(posedge clk_i) line_q <= {line_q[(Stages-1)*Width-1:0], data_i};
    end
    assign data_o = line_q[Stages*Width-1 -: Width];
  end

endmodule
