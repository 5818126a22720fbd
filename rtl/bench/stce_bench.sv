// The STCE with array ports, and with its registers to look at: rtl/bench is for simulation alone. With Probes = 0 there is
// nothing to look at.
module stce_bench #(
  parameter int unsigned Probes = 1,
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
  localparam int unsigned RoundW = sat_pkg::bits_of(MaxGroup),
  localparam int unsigned LaneW = sat_pkg::bits_of(MaxInterleave),
  localparam int unsigned PositionW = sat_pkg::bits_of(Latches / 2 * MaxGroup),
  localparam int unsigned RowW = sat_pkg::bits_of(Rows),
  localparam int unsigned SlotW = sat_pkg::bits_of(PackedValues),
  localparam int unsigned EntryW = sat_pkg::EntryW,
  localparam int unsigned ControlW = 6 + RoundW + LaneW,
  localparam int unsigned LinkW = 2 + PositionW + 16 * LinkValues,
  localparam int unsigned ColumnW = 2 + RowW + SlotW + EntryW * ColumnValues,
  localparam int unsigned PlaceW = sat_pkg::bits_of(Places),
  localparam int unsigned PackedDepth = 2 ** (SlotW + PackedSets - 1),
  localparam int unsigned Elements = Probes != 0 ? Rows * Cols : 1,
  localparam int unsigned Sequencers = Probes != 0 ? Rows : 1
) (
  input  logic clk_i,
  input  logic rst_ni,

  input  logic         start_i,
  input  logic [191:0] words_i,
  output logic         ready_o,
  output logic         done_o,

  input  logic [15:0]       row_values_i     [Rows][LinkValues],
  output logic              row_take_o       [Rows],
  input  logic [EntryW-1:0] column_entries_i [Cols][ColumnValues],
  output logic              load_take_o,
  output logic              entry_take_o     [Cols],
  input  logic [31:0]       inject_sum_i     [Cols],
  output logic              inject_take_o    [Cols],
  output logic [31:0]       inject_place_o   [Cols],
  output logic              leave_valid_o    [Cols],
  output logic [31:0]       leave_place_o    [Cols],
  output logic [31:0]       leave_sum_o      [Cols],
  output logic              leave_final_o,
  output logic              drain_valid_o,
  output logic [31:0]       drain_row_o,
  output logic [31:0]       drain_lane_o,
  output logic [31:0]       drain_sum_o      [Cols],
  output logic              pass_start_o,

  output logic [31:0] control_o  [Elements][8],  // issue, end, first, last, bank, set, round, lane
  output logic [31:0] link_o     [Elements][3 + LinkValues],
  output logic [31:0] column_o   [Elements][4 + ColumnValues],
  output logic [31:0] stage_o    [Elements][Latency][5],  // valid, end, last, set, lane
  output logic [31:0] sum_o      [Elements],
  output logic [15:0] latch_o    [Elements][2][2 ** PositionW],
  output logic [31:0] packed_o   [Elements][PackedDepth],
  output logic [31:0] sums_o     [Elements][2][2 ** LaneW],
  output logic [31:0] held_o     [Elements],
  output logic [31:0] sequence_o [Sequencers][9]
);

  logic [Rows*LinkValues*16-1:0] row_values;
  logic [Rows-1:0] row_take;
  logic [Cols*ColumnValues*EntryW-1:0] column_entries;
  logic [Cols-1:0] entry_take, inject_take, leave_valid;
  logic [Cols*32-1:0] inject_sum, leave_sum, drain_sum;
  logic [Cols*PlaceW-1:0] inject_place, leave_place;
  logic [RowW-1:0] drain_row;
  logic [LaneW-1:0] drain_lane;

  for (genvar i = 0; i < Rows; i++) begin : g_rows
    for (genvar v = 0; v < LinkValues; v++) begin : g_values
      assign row_values[(i*LinkValues+v)*16 +: 16] = row_values_i[i][v];
    end
    assign row_take_o[i] = row_take[i];
  end
  for (genvar j = 0; j < Cols; j++) begin : g_cols
    for (genvar w = 0; w < ColumnValues; w++) begin : g_entries
      assign column_entries[(j*ColumnValues+w)*EntryW +: EntryW] = column_entries_i[j][w];
    end
    assign entry_take_o[j] = entry_take[j];
    assign inject_sum[32*j +: 32] = inject_sum_i[j];
    assign inject_take_o[j] = inject_take[j];
    assign inject_place_o[j] = 32'(inject_place[PlaceW*j +: PlaceW]);
    assign leave_valid_o[j] = leave_valid[j];
    assign leave_place_o[j] = 32'(leave_place[PlaceW*j +: PlaceW]);
    assign leave_sum_o[j] = leave_sum[32*j +: 32];
    assign drain_sum_o[j] = drain_sum[32*j +: 32];
  end
  assign drain_row_o = 32'(drain_row);
  assign drain_lane_o = 32'(drain_lane);

  stce #(
    .Rows(Rows), .Cols(Cols), .Latency(Latency), .MaxGroup(MaxGroup), .MaxInterleave(MaxInterleave),
    .PackedValues(PackedValues), .PackedSets(PackedSets), .Latches(Latches), .LinkValues(LinkValues),
    .ColumnValues(ColumnValues), .AccumulatorSets(AccumulatorSets), .Places(Places)
  ) u_stce (
    .clk_i,
    .rst_ni,
    .start_i,
    .words_i,
    .ready_o,
    .done_o,
    .row_values_i(row_values),
    .row_take_o(row_take),
    .column_entries_i(column_entries),
    .load_take_o,
    .entry_take_o(entry_take),
    .inject_sum_i(inject_sum),
    .inject_take_o(inject_take),
    .inject_place_o(inject_place),
    .leave_valid_o(leave_valid),
    .leave_place_o(leave_place),
    .leave_sum_o(leave_sum),
    .leave_final_o,
    .drain_valid_o,
    .drain_row_o(drain_row),
    .drain_lane_o(drain_lane),
    .drain_sum_o(drain_sum),
    .pass_start_o
  );

  if (Probes != 0) begin : g_probes
    for (genvar i = 0; i < Rows; i++) begin : g_row
      assign sequence_o[i][0] = 32'(u_stce.u_array.g_row[i].u_sequencer.phase_q);
      assign sequence_o[i][1] = u_stce.u_array.g_row[i].u_sequencer.group_q;
      assign sequence_o[i][2] = u_stce.u_array.g_row[i].u_sequencer.fill_group_q;
      assign sequence_o[i][3] = 32'(u_stce.u_array.g_row[i].u_sequencer.moved_q);
      assign sequence_o[i][4] = 32'(u_stce.u_array.g_row[i].u_sequencer.round_q);
      assign sequence_o[i][5] = 32'(u_stce.u_array.g_row[i].u_sequencer.lane_q);
      assign sequence_o[i][6] = 32'(u_stce.u_array.g_row[i].u_sequencer.issued_q);
      assign sequence_o[i][7] = 32'(u_stce.u_array.g_row[i].u_sequencer.seen_q);
      assign sequence_o[i][8] = 32'(u_stce.u_array.g_row[i].u_sequencer.bank_q);
      for (genvar j = 0; j < Cols; j++) begin : g_col
        localparam int unsigned E = i * Cols + j;
        logic [ControlW-1:0] control;
        logic [LinkW-1:0] link;
        logic [ColumnW-1:0] column;
        assign control = u_stce.u_array.g_row[i].g_col[j].u_element.control_o;
        assign link = u_stce.u_array.g_row[i].g_col[j].u_element.link_o;
        assign column = u_stce.u_array.g_row[i].g_col[j].u_element.column_o;
        for (genvar b = 0; b < 6; b++) begin : g_flags
          assign control_o[E][b] = 32'(control[ControlW-1-b]);
        end
        assign control_o[E][6] = 32'(control[LaneW +: RoundW]);
        assign control_o[E][7] = 32'(control[0 +: LaneW]);
        assign link_o[E][0] = 32'(link[LinkW-1]);
        assign link_o[E][1] = 32'(link[LinkW-2]);
        assign link_o[E][2] = 32'(link[16*LinkValues +: PositionW]);
        for (genvar v = 0; v < LinkValues; v++) begin : g_link
          assign link_o[E][3+v] = 32'(link[16*v +: 16]);
        end
        assign column_o[E][0] = 32'(column[ColumnW-1]);
        assign column_o[E][1] = 32'(column[ColumnW-2 -: RowW]);
        assign column_o[E][2] = 32'(column[SlotW+EntryW*ColumnValues]);
        assign column_o[E][3] = 32'(column[EntryW*ColumnValues +: SlotW]);
        for (genvar w = 0; w < ColumnValues; w++) begin : g_column
          assign column_o[E][4+w] = 32'(column[EntryW*w +: EntryW]);
        end
        for (genvar s = 0; s < Latency; s++) begin : g_stage
          logic [LaneW+1:0] tag;
          assign tag = u_stce.u_array.g_row[i].g_col[j].u_element.u_tag.g_line.line_q[s*(LaneW+2) +: LaneW+2];
          assign stage_o[E][s][0] = 32'(u_stce.u_array.g_row[i].g_col[j].u_element.valid_q[s]);
          assign stage_o[E][s][1] = 32'(u_stce.u_array.g_row[i].g_col[j].u_element.end_q[s]);
          assign stage_o[E][s][2] = 32'(tag[LaneW+1]);
          assign stage_o[E][s][3] = 32'(tag[LaneW]);
          assign stage_o[E][s][4] = 32'(tag[LaneW-1:0]);
        end
        assign sum_o[E] = u_stce.u_array.g_row[i].g_col[j].u_element.sum_o;
        for (genvar k = 0; k < 2 ** PositionW; k++) begin : g_latch
          assign latch_o[E][0][k] = u_stce.u_array.g_row[i].g_col[j].u_element.latch_q[k];
          assign latch_o[E][1][k] = u_stce.u_array.g_row[i].g_col[j].u_element.latch_q[k+2**PositionW];
        end
        for (genvar k = 0; k < PackedDepth; k++) begin : g_packed
          assign packed_o[E][k] = 32'(u_stce.u_array.g_row[i].g_col[j].u_element.packed_q[k]);
        end
        for (genvar k = 0; k < 2 ** LaneW; k++) begin : g_sums
          assign sums_o[E][0][k] = u_stce.u_array.g_row[i].g_col[j].u_element.g_sums[0].g_set.sums_q[k];
          if (AccumulatorSets == 2) begin : g_second
            assign sums_o[E][1][k] = u_stce.u_array.g_row[i].g_col[j].u_element.g_sums[1].g_set.sums_q[k];
          end else begin : g_none
            assign sums_o[E][1][k] = '0;
          end
        end
        if (Latches >= 4) begin : g_held
          assign held_o[E] = 32'(u_stce.u_array.g_row[i].g_col[j].u_element.g_pixels.held_q);
        end else begin : g_no_held
          assign held_o[E] = '0;
        end
      end
    end
  end else begin : g_no_probes
    assign control_o[0] = '{default: '0};
    assign link_o[0] = '{default: '0};
    assign column_o[0] = '{default: '0};
    assign stage_o[0] = '{default: '{default: '0}};
    assign sum_o[0] = '0;
    assign latch_o[0] = '{default: '{default: '0}};
    assign packed_o[0] = '{default: '0};
    assign sums_o[0] = '{default: '{default: '0}};
    assign held_o[0] = '0;
    assign sequence_o[0] = '{default: '0};
  end

endmodule
