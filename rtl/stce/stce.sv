// The STCE: array, controller and place counters, replaying one product's configuration words (docs/sat.md, "Configuration
// words", "Edges of the array", "Reset, start, done"). Reset is synchronous and active low. Ports to the buffers are those
// of stce_array; here the sums get their places:
//
//   inject_take_o[j]   in a later reduction pass, or with resume, the sum at inject_place_o of column j is taken; else +0
//                      enters and nothing is taken
//   leave_valid_o[j]   the sum of column j goes to leave_place_o; leave_final_o: it is finished
//   drain_valid_o      every column gives out the finished sum of row drain_row_o, output drain_lane_o
//
// The mapping must be legal for these parameters and T * I at most Places: the scheduler sees to both.
module stce #(
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
  parameter int unsigned Places = 4096,
  // Derived; do not change.
  localparam int unsigned LaneW = sat_pkg::bits_of(MaxInterleave),
  localparam int unsigned PositionW = sat_pkg::bits_of(Latches / 2 * MaxGroup),
  localparam int unsigned RowW = sat_pkg::bits_of(Rows),
  localparam int unsigned SlotW = sat_pkg::bits_of(PackedValues),
  localparam int unsigned ValuesW = 16 * LinkValues,
  localparam int unsigned EntriesW = sat_pkg::EntryW * ColumnValues,
  localparam int unsigned PlaceW = sat_pkg::bits_of(Places)
) (
  input  logic clk_i,
  input  logic rst_ni,

  input  logic         start_i,
  input  logic [191:0] words_i,
  output logic         ready_o,
  output logic         done_o,

  input  logic [Rows*ValuesW-1:0]  row_values_i,
  output logic [Rows-1:0]          row_take_o,
  input  logic [Cols*EntriesW-1:0] column_entries_i,
  output logic                     load_take_o,
  output logic [Cols-1:0]          entry_take_o,

  input  logic [Cols*32-1:0]     inject_sum_i,
  output logic [Cols-1:0]        inject_take_o,
  output logic [Cols*PlaceW-1:0] inject_place_o,
  output logic [Cols-1:0]        leave_valid_o,
  output logic [Cols*PlaceW-1:0] leave_place_o,
  output logic [Cols*32-1:0]     leave_sum_o,
  output logic                   leave_final_o,

  output logic               drain_valid_o,
  output logic [RowW-1:0]    drain_row_o,
  output logic [LaneW-1:0]   drain_lane_o,
  output logic [Cols*32-1:0] drain_sum_o,

  output logic pass_start_o
);

  if (Rows < 1 || Rows > 1024 || Cols < 1 || Cols > 1024) $error("stce: Rows and Cols are 1 to 1024");
  if (Latency < 1 || Latency > 64) $error("stce: Latency is 1 to 64");
  if (MaxGroup < 1 || MaxGroup > 16) $error("stce: MaxGroup is 1 to 16");
  if (MaxInterleave < 1 || MaxInterleave > 64) $error("stce: MaxInterleave is 1 to 64");
  if (PackedValues < 1 || PackedValues > 4096) $error("stce: PackedValues is 1 to 4096");
  if (PackedSets < 1 || PackedSets > 2) $error("stce: PackedSets is 1 or 2");
  if (AccumulatorSets < 1 || AccumulatorSets > 2) $error("stce: AccumulatorSets is 1 or 2");
  if (Latches < 2 || Latches > 128) $error("stce: Latches is 2 to 128");
  if (LinkValues < 1 || LinkValues > 1024) $error("stce: LinkValues is 1 to 1024");
  if (ColumnValues < 1 || ColumnValues > 1024) $error("stce: ColumnValues is 1 to 1024");

  // The words, and what follows from them, stand from cycle 0 on.
  logic start;
  logic ws, pixels, ws_q, pixels_q, resume_q;
  logic [sat_pkg::GroupW-1:0] values, group, values_q, group_q;
  logic [sat_pkg::InterleaveW-1:0] interleave, interleave_q, group_step_q;
  logic [31:0] rows_q, groups_q, tile_rows_q, tile_cols_q;
  logic [SlotW:0] slots_q;
  logic [PositionW:0] group_values_q;
  assign ws = !words_i[0];
  assign pixels = words_i[1];
  assign values = words_i[8:4];
  assign group = words_i[16:12];
  assign interleave = words_i[26:20];
  always_ff @(posedge clk_i) begin
    if (start) begin
      ws_q <= ws;
      pixels_q <= pixels;
      resume_q <= words_i[2];
      values_q <= values;
      group_q <= group;
      interleave_q <= interleave;
      rows_q <= words_i[63:32];
      groups_q <= words_i[191:160];
      tile_rows_q <= ws ? words_i[159:128] : 32'(Rows) * (pixels ? 32'(interleave) : 32'd1);
      tile_cols_q <= 32'(Cols) * (pixels ? 32'd1 : 32'(interleave));
      slots_q <= (SlotW + 1)'(pixels ? 32'(values) : 32'(values) * 32'(interleave));
      group_values_q <= (PositionW + 1)'(pixels ? 32'(group) * 32'(interleave) : 32'(group));
      group_step_q <= ws && pixels ? interleave : sat_pkg::InterleaveW'(1);
    end
  end

  logic [31:0] pass_limit;
  logic pass_set, pass_first, pass_last, over_next, load_valid, load_set, drain_set;
  logic [RowW-1:0] load_row;
  logic [SlotW-1:0] load_position;
  stce_controller #(
    .Rows(Rows), .MaxInterleave(MaxInterleave), .PackedValues(PackedValues), .PackedSets(PackedSets),
    .ColumnValues(ColumnValues), .AccumulatorSets(AccumulatorSets)
  ) u_controller (
    .clk_i,
    .rst_ni,
    .start_i,
    .ready_o,
    .start_o(start),
    .done_o,
    .first_rows_i(words_i[63:32]),
    .first_cols_i(words_i[95:64]),
    .first_groups_i(words_i[191:160]),
    .ws_i(ws_q),
    .rows_i(rows_q),
    .groups_i(groups_q),
    .tile_rows_i(tile_rows_q),
    .tile_cols_i(tile_cols_q),
    .interleave_i(interleave_q),
    .slots_i(slots_q),
    .pass_start_o,
    .pass_limit_o(pass_limit),
    .pass_set_o(pass_set),
    .pass_first_o(pass_first),
    .pass_last_o(pass_last),
    .over_next_i(over_next),
    .load_valid_o(load_valid),
    .load_row_o(load_row),
    .load_set_o(load_set),
    .load_position_o(load_position),
    .drain_o(drain_valid_o),
    .drain_set_o(drain_set),
    .drain_place_o(drain_lane_o),
    .drain_row_o
  );
  assign load_take_o = load_valid;
  assign leave_final_o = pass_last;

  logic stored;
  logic [Cols-1:0] inject;
  assign stored = !pass_first || resume_q;
  assign inject_take_o = inject & {Cols{stored}};
  stce_array #(
    .Rows(Rows), .Cols(Cols), .Latency(Latency), .MaxGroup(MaxGroup), .MaxInterleave(MaxInterleave),
    .PackedValues(PackedValues), .PackedSets(PackedSets), .Latches(Latches), .LinkValues(LinkValues),
    .ColumnValues(ColumnValues), .AccumulatorSets(AccumulatorSets)
  ) u_array (
    .clk_i,
    .rst_ni,
    .ws_i(ws_q),
    .pixels_i(pixels_q),
    .group_i(group_q),
    .values_i(values_q),
    .interleave_i(interleave_q),
    .group_step_i(group_step_q),
    .group_values_i(group_values_q),
    .pass_start_i(pass_start_o),
    .pass_limit_i(pass_limit),
    .pass_set_i(pass_set),
    .over_next_o(over_next),
    .row_values_i,
    .row_take_o,
    .load_valid_i(load_valid),
    .load_row_i(load_row),
    .load_set_i(load_set),
    .load_position_i(load_position),
    .column_entries_i,
    .entry_take_o,
    .inject_sum_i(inject_sum_i & {Cols*32{stored}}),
    .inject_take_o(inject),
    .leave_valid_o,
    .leave_sum_o,
    .drain_i(drain_valid_o),
    .drain_set_i(drain_set),
    .drain_place_i(drain_lane_o),
    .drain_sum_o
  );

  // The i-th sum that enters or leaves column j since the pass began has place i.
  logic [Cols*PlaceW-1:0] inject_place_q, leave_place_q;
  for (genvar j = 0; j < Cols; j++) begin : g_places
    always_ff @(posedge clk_i) begin
      if (pass_start_o) begin
        inject_place_q[j*PlaceW +: PlaceW] <= '0;
        leave_place_q[j*PlaceW +: PlaceW] <= '0;
      end else begin
        if (inject[j]) inject_place_q[j*PlaceW +: PlaceW] <= inject_place_q[j*PlaceW +: PlaceW] + PlaceW'(1);
        if (leave_valid_o[j]) leave_place_q[j*PlaceW +: PlaceW] <= leave_place_q[j*PlaceW +: PlaceW] + PlaceW'(1);
      end
    end
  end
  assign inject_place_o = inject_place_q;
  assign leave_place_o = leave_place_q;

  // k is of no use here: what lies beyond it is the buffers' to know.
  logic unused;
  assign unused = ^{words_i[3], words_i[11:9], words_i[19:17], words_i[31:27], words_i[127:96]};

endmodule
