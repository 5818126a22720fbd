// R x C elements and R sequencers (docs/sat.md, "The STCE"). Whatever comes from a buffer stands at its port in the cycle in
// which it is taken: the array has no stall. Beyond the edges of an operand the buffers hand out what the page says.
//
//   row_values_i     the next word of row i's link, taken with row_take_o[i]
//   column_entries_i WS: the load word's entries of column j; OS: in the first place the next entry of column j, taken with
//                    entry_take_o[j]
//   inject_sum_i     WS: the next sum of column j, taken with inject_take_o[j]
//   leave_*          WS: what leaves element (R-1, j) in this cycle
//   drain_sum_o      OS: the word of column j in this drain cycle
module stce_array #(
  parameter int unsigned Rows = 32,
  parameter int unsigned Cols = 32,
  parameter int unsigned Latency = 4,
  parameter int unsigned MaxGroup = 16,
  parameter int unsigned MaxInterleave = 16,
  parameter int unsigned PackedValues = 64,
  parameter int unsigned PackedSets = 2,
  parameter int unsigned Latches = 2,
  parameter int unsigned LinkValues = 1,
  parameter int unsigned ColumnValues = 1,
  parameter int unsigned AccumulatorSets = 2,
  // Derived; do not change.
  localparam int unsigned RoundW = sat_pkg::bits_of(MaxGroup),
  localparam int unsigned LaneW = sat_pkg::bits_of(MaxInterleave),
  localparam int unsigned PositionW = sat_pkg::bits_of(Latches / 2 * MaxGroup),
  localparam int unsigned RowW = sat_pkg::bits_of(Rows),
  localparam int unsigned SlotW = sat_pkg::bits_of(PackedValues),
  localparam int unsigned ControlW = 6 + RoundW + LaneW,
  localparam int unsigned ValuesW = 16 * LinkValues,
  localparam int unsigned LinkW = 2 + PositionW + ValuesW,
  localparam int unsigned EntriesW = sat_pkg::EntryW * ColumnValues,
  localparam int unsigned ColumnW = 2 + RowW + SlotW + EntriesW
) (
  input  logic clk_i,
  input  logic rst_ni,

  input  logic                            ws_i,
  input  logic                            pixels_i,
  input  logic [sat_pkg::GroupW-1:0]      group_i,
  input  logic [sat_pkg::GroupW-1:0]      values_i,
  input  logic [sat_pkg::InterleaveW-1:0] interleave_i,
  input  logic [sat_pkg::InterleaveW-1:0] group_step_i,
  input  logic [PositionW:0]              group_values_i,
  input  logic                            pass_start_i,
  input  logic [31:0]                     pass_limit_i,
  input  logic                            pass_set_i,
  output logic                            over_next_o,

  input  logic [Rows*ValuesW-1:0] row_values_i,
  output logic [Rows-1:0]         row_take_o,

  input  logic                     load_valid_i,
  input  logic [RowW-1:0]          load_row_i,
  input  logic                     load_set_i,
  input  logic [SlotW-1:0]         load_position_i,
  input  logic [Cols*EntriesW-1:0] column_entries_i,
  output logic [Cols-1:0]          entry_take_o,

  input  logic [Cols*32-1:0] inject_sum_i,
  output logic [Cols-1:0]    inject_take_o,
  output logic [Cols-1:0]    leave_valid_o,
  output logic [Cols*32-1:0] leave_sum_o,

  input  logic               drain_i,
  input  logic               drain_set_i,
  input  logic [LaneW-1:0]   drain_place_i,
  output logic [Cols*32-1:0] drain_sum_o
);

  // What goes into element (i, j) from the left at [i * (Cols + 1) + j], from above at [i * Cols + j].
  logic [Rows*(Cols+1)*ControlW-1:0] control;
  logic [Rows*(Cols+1)*LinkW-1:0] link;
  logic [(Rows+1)*Cols*ColumnW-1:0] column;
  logic [(Rows+1)*Cols*32-1:0] sum, drained;
  logic [Rows*Cols-1:0] sum_valid, sum_last, end_next;
  logic [Rows*Cols*LaneW-1:0] sum_lane;

  for (genvar i = 0; i < Rows; i++) begin : g_row
    localparam int unsigned Left = i * (Cols + 1);
    logic go;
    if (i == 0) begin : g_first
      assign go = 1'b1;
    end else begin : g_later
      localparam int unsigned Above = (i - 1) * Cols;
      assign go = ws_i ? sum_valid[Above] && sum_last[Above] && sum_lane[Above*LaneW +: LaneW] == '0
                       : column[(i*Cols+1)*ColumnW-1];
    end

    logic link_valid, link_bank;
    logic [PositionW-1:0] link_position;
    stce_sequencer #(
      .MaxGroup(MaxGroup), .MaxInterleave(MaxInterleave), .Latches(Latches), .LinkValues(LinkValues)
    ) u_sequencer (
      .clk_i,
      .rst_ni,
      .group_values_i,
      .values_i,
      .interleave_i,
      .group_step_i,
      .ws_i,
      .limit_i(pass_limit_i),
      .acc_set_i(pass_set_i),
      .start_i(pass_start_i),
      .go_i(go),
      .first_sum_i(sum_valid[i*Cols] && sum_lane[i*Cols*LaneW +: LaneW] == '0),
      .control_o(control[Left*ControlW +: ControlW]),
      .link_valid_o(link_valid),
      .link_bank_o(link_bank),
      .link_position_o(link_position),
      .link_take_o(row_take_o[i])
    );
    assign link[Left*LinkW +: LinkW] = {
      link_valid, link_bank, link_position, row_take_o[i] ? row_values_i[i*ValuesW +: ValuesW] : {ValuesW{1'b0}}
    };

    for (genvar j = 0; j < Cols; j++) begin : g_col
      localparam int unsigned Here = i * Cols + j;
      stce_element #(
        .Rows(Rows), .Latency(Latency), .MaxGroup(MaxGroup), .MaxInterleave(MaxInterleave),
        .PackedValues(PackedValues), .PackedSets(PackedSets), .Latches(Latches), .LinkValues(LinkValues),
        .ColumnValues(ColumnValues), .AccumulatorSets(AccumulatorSets)
      ) u_element (
        .clk_i,
        .rst_ni,
        .ws_i,
        .pixels_i,
        .group_i,
        .row_i(RowW'(i)),
        .control_i(control[(Left+j)*ControlW +: ControlW]),
        .link_i(link[(Left+j)*LinkW +: LinkW]),
        .column_i(column[Here*ColumnW +: ColumnW]),
        .control_o(control[(Left+j+1)*ControlW +: ControlW]),
        .link_o(link[(Left+j+1)*LinkW +: LinkW]),
        .column_o(column[(Here+Cols)*ColumnW +: ColumnW]),
        .above_i(sum[Here*32 +: 32]),
        .sum_o(sum[(Here+Cols)*32 +: 32]),
        .sum_valid_o(sum_valid[Here]),
        .sum_last_o(sum_last[Here]),
        .sum_lane_o(sum_lane[Here*LaneW +: LaneW]),
        .end_next_o(end_next[Here]),
        .drain_i,
        .drain_set_i,
        .drain_place_i,
        .drain_sum_i(drained[Here*32 +: 32]),
        .drain_sum_o(drained[(Here+Cols)*32 +: 32])
      );
    end
  end

  // The upper and the lower edge.
  for (genvar j = 0; j < Cols; j++) begin : g_edge
    logic issue, first_round, first_lane;
    assign issue = control[(j+1)*ControlW-1];
    assign first_round = control[j*ControlW+LaneW +: RoundW] == '0;
    assign first_lane = control[j*ControlW +: LaneW] == '0;
    assign entry_take_o[j] = !ws_i && issue && (!pixels_i || first_lane);
    assign inject_take_o[j] = ws_i && issue && first_round;
    assign column[j*ColumnW +: ColumnW] = {
      ws_i ? load_valid_i : entry_take_o[j], load_row_i, load_set_i, load_position_i,
      column_entries_i[j*EntriesW +: EntriesW]
    };
    assign sum[j*32 +: 32] = inject_sum_i[j*32 +: 32];
    assign drained[j*32 +: 32] = '0;
    assign leave_valid_o[j] = ws_i && sum_valid[(Rows-1)*Cols+j] && sum_last[(Rows-1)*Cols+j];
  end
  assign leave_sum_o = sum[Rows*Cols*32 +: Cols*32];
  assign drain_sum_o = drained[Rows*Cols*32 +: Cols*32];
  assign over_next_o = end_next[Rows*Cols-1];

  // The words that leave to the right and at the bottom, and what only the first column and the corner are asked for.
  logic unused;
  assign unused = ^{control, link, column, sum_valid, sum_last, sum_lane, end_next};

endmodule
