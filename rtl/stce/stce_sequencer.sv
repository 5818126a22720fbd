// A row's sequencer (docs/sat.md, "A row's sequencer"): it decides in the cycle, from its registers and from what stands at
// the end of the adder of the row's first element. Registers as on the page; `group` and `fill_group` count streamed rows
// with interleaved pixels in WS (group_step = I), so that no tile's number of periods has to be divided by I.
module stce_sequencer #(
  parameter int unsigned MaxGroup = 16,
  parameter int unsigned MaxInterleave = 16,
  parameter int unsigned Latches = 2,
  parameter int unsigned LinkValues = 1,
  // Derived; do not change.
  localparam int unsigned RoundW = sat_pkg::bits_of(MaxGroup),
  localparam int unsigned LaneW = sat_pkg::bits_of(MaxInterleave),
  localparam int unsigned PositionW = sat_pkg::bits_of(Latches / 2 * MaxGroup),
  localparam int unsigned ControlW = 6 + RoundW + LaneW
) (
  input  logic clk_i,
  input  logic rst_ni,

  // Of the product: S, N, I and what a group counts for. Of the pass: its end (same count), its set.
  input  logic [PositionW:0]              group_values_i,
  input  logic [sat_pkg::GroupW-1:0]      values_i,
  input  logic [sat_pkg::InterleaveW-1:0] interleave_i,
  input  logic [sat_pkg::InterleaveW-1:0] group_step_i,
  input  logic                            ws_i,
  input  logic [31:0]                     limit_i,
  input  logic                            acc_set_i,

  input  logic start_i,       // the pass begins in this cycle
  input  logic go_i,          // the row above is ahead
  input  logic first_sum_i,   // adder[L-1] of the first element is valid with q = 0

  output logic [ControlW-1:0]  control_o,
  // The row-link word without its values; `take`: the values come from outside, and in the last period they are zeros.
  output logic                 link_valid_o,
  output logic                 link_bank_o,
  output logic [PositionW-1:0] link_position_o,
  output logic                 link_take_o
);

  logic [2:0] phase_q, phase, phase_d;
  logic [31:0] group_q, group, group_d, fill_group_q, fill_group, fill_group_d;
  logic [PositionW:0] moved_q, moved, moved_d, moved_after;
  logic [sat_pkg::GroupW-1:0] round_q, round, round_d;
  logic [LaneW:0] lane_q, lane, lane_d, lane_after;
  logic issued_q, issued, issued_d, seen_q, seen, seen_d, bank_q, bank, bank_d;
  logic begins, is_end, issue, link;

  // What the registers hold in this cycle: a pass that begins has set them.
  always_comb begin
    phase = phase_q;
    group = group_q;
    fill_group = fill_group_q;
    moved = moved_q;
    round = round_q;
    lane = lane_q;
    issued = issued_q;
    seen = seen_q;
    bank = bank_q;
    if (start_i) begin
      phase = sat_pkg::PhFill;
      group = '0;
      fill_group = '0;
      moved = '0;
      round = '0;
      lane = '0;
      issued = 1'b0;
      seen = 1'b0;
      bank = 1'b1;
    end
  end

  logic [31:0] group_after;
  assign group_after = group + 32'(group_step_i);

  always_comb begin
    phase_d = phase;
    group_d = group;
    fill_group_d = fill_group;
    moved_d = moved;
    round_d = round;
    lane_d = lane;
    issued_d = issued;
    seen_d = seen;
    bank_d = bank;
    begins = 1'b0;
    is_end = 1'b0;
    if (phase == sat_pkg::PhFill && moved == group_values_i) phase_d = sat_pkg::PhWait;
    if (phase_d == sat_pkg::PhWait) begin
      if (go_i) begin
        phase_d = sat_pkg::PhRun;
        begins = 1'b1;
      end
    end else if (phase == sat_pkg::PhRun) begin
      if (!issued) begin
        if (32'(lane) == 32'(interleave_i) && (seen || first_sum_i)) begin
          lane_d = '0;
          seen_d = 1'b0;
          round_d = round + sat_pkg::GroupW'(1);
          issued_d = round_d == values_i;
        end else if (first_sum_i) begin
          seen_d = 1'b1;
        end
      end
      if (issued_d && moved == group_values_i) begin
        group_d = group_after;
        if (group_after >= limit_i) begin
          phase_d = sat_pkg::PhDone;
          is_end = 1'b1;
        end else begin
          begins = 1'b1;
        end
      end
    end
    if (begins) begin
      round_d = '0;
      lane_d = '0;
      moved_d = '0;
      issued_d = 1'b0;
      seen_d = 1'b0;
      bank_d = !bank;
      fill_group_d = group_d + 32'(group_step_i);
    end
  end

  assign issue = phase_d == sat_pkg::PhRun && !issued_d && 32'(lane_d) < 32'(interleave_i);
  assign lane_after = issue ? lane_d + (LaneW + 1)'(1) : lane_d;
  assign control_o = {
    issue,
    is_end,
    group_d == '0 && round_d == '0,
    ws_i && round_d == values_i - sat_pkg::GroupW'(1),
    bank_d,
    acc_set_i,
    RoundW'(round_d),
    LaneW'(lane_d)
  };

  assign link = (phase_d == sat_pkg::PhFill || phase_d == sat_pkg::PhRun) && moved_d != group_values_i;
  always_comb begin
    moved_after = moved_d;
    if (link) begin
      if (32'(group_values_i) - 32'(moved_d) <= LinkValues) moved_after = group_values_i;
      else moved_after = moved_d + (PositionW + 1)'(LinkValues);
    end
  end
  assign link_valid_o = link;
  assign link_bank_o = !bank_d;
  assign link_position_o = PositionW'(moved_d);
  assign link_take_o = link && (fill_group_d < limit_i || start_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      phase_q <= sat_pkg::PhIdle;
      group_q <= '0;
      fill_group_q <= '0;
      moved_q <= '0;
      round_q <= '0;
      lane_q <= '0;
      issued_q <= 1'b0;
      seen_q <= 1'b0;
      bank_q <= 1'b0;
    end else begin
      phase_q <= phase_d;
      group_q <= group_d;
      fill_group_q <= fill_group_d;
      moved_q <= moved_after;
      round_q <= round_d;
      lane_q <= lane_after;
      issued_q <= issued_d;
      seen_q <= seen_d;
      bank_q <= bank_d;
    end
  end

endmodule
