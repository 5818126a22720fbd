// The controller of the STCE (docs/sat.md, "The controller"): column tiles, row tiles and reduction passes in this order,
// loads ahead of passes, drains behind tiles. Nothing is divided: what is left of each counts down. It learns that a pass is
// over one cycle ahead (over_next_i), so that whatever follows begins in the cycle in which the end token stands, from
// registers alone. Configuration is copied at `start`, in the same cycle as here the counters.
module stce_controller #(
  parameter int unsigned Rows = 32,
  parameter int unsigned MaxInterleave = 16,
  parameter int unsigned PackedValues = 64,
  parameter int unsigned PackedSets = 2,
  parameter int unsigned ColumnValues = 1,
  parameter int unsigned AccumulatorSets = 2,
  // Derived; do not change.
  localparam int unsigned LaneW = sat_pkg::bits_of(MaxInterleave),
  localparam int unsigned RowW = sat_pkg::bits_of(Rows),
  localparam int unsigned SlotW = sat_pkg::bits_of(PackedValues)
) (
  input  logic clk_i,
  input  logic rst_ni,

  input  logic start_i,
  output logic ready_o,
  output logic start_o,  // taken: the words are copied at the end of this cycle
  output logic done_o,

  // Beside the words that are about to be copied: what the counters begin with.
  input  logic [31:0] first_rows_i,
  input  logic [31:0] first_cols_i,
  input  logic [31:0] first_groups_i,
  // Of the product that runs.
  input  logic                            ws_i,
  input  logic [31:0]                     rows_i,        // m
  input  logic [31:0]                     groups_i,      // packed groups along k
  input  logic [31:0]                     tile_rows_i,   // streamed rows of a row tile
  input  logic [31:0]                     tile_cols_i,   // output columns of a column tile
  input  logic [sat_pkg::InterleaveW-1:0] interleave_i,
  input  logic [SlotW:0]                  slots_i,       // entries of a packed set

  output logic        pass_start_o,
  output logic [31:0] pass_limit_o,   // WS: streamed rows of the pass; OS: groups
  output logic        pass_set_o,
  output logic        pass_first_o,   // first and last reduction pass
  output logic        pass_last_o,
  input  logic        over_next_i,

  output logic             load_valid_o,
  output logic [RowW-1:0]  load_row_o,
  output logic             load_set_o,
  output logic [SlotW-1:0] load_position_o,

  output logic             drain_o,
  output logic             drain_set_o,
  output logic [LaneW-1:0] drain_place_o,
  output logic [RowW-1:0]  drain_row_o
);

  localparam logic [31:0] Reduction = Rows;
  localparam logic TwoPacked = PackedSets == 2;
  localparam logic TwoSums = AccumulatorSets == 2;

  logic busy_q, done_q, finish_next;
  logic running_q, pass_over, pass_start;

  // The pass that comes next: what is left to it of rows, columns and groups, itself included.
  logic [31:0] rows_left_q, cols_left_q, groups_left_q;
  logic all_started_q, same_load_q, first_reduction_q;
  logic last_reduction, last_row_tile, last_col_tile;
  assign last_reduction = !ws_i || groups_left_q <= Reduction;
  assign last_row_tile = rows_left_q <= tile_rows_i;
  assign last_col_tile = cols_left_q <= tile_cols_i;

  // Loads complete that no pass has begun to use; OS: tiles computed, or under way, that are not drained.
  logic [1:0] ready_loads_q, undrained_q;
  logic loading_q, load_start, loading, load_over, draining_q, drain_start, drain_over;

  assign pass_over = running_q && over_next_i;
  assign pass_start = busy_q && !running_q && !all_started_q &&
                      (ws_i ? same_load_q || ready_loads_q != '0 : undrained_q < 2'(AccumulatorSets));

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      done_q <= 1'b0;
      running_q <= 1'b0;
      all_started_q <= 1'b0;
      same_load_q <= 1'b0;
      first_reduction_q <= 1'b1;
      rows_left_q <= '0;
      cols_left_q <= '0;
      groups_left_q <= '0;
    end else begin
      done_q <= finish_next;
      if (pass_start) running_q <= 1'b1;
      else if (pass_over) running_q <= 1'b0;
      if (start_o) begin
        busy_q <= 1'b1;
        all_started_q <= 1'b0;
        same_load_q <= 1'b0;
        first_reduction_q <= 1'b1;
        rows_left_q <= first_rows_i;
        cols_left_q <= first_cols_i;
        groups_left_q <= first_groups_i;
      end else begin
        if (finish_next) busy_q <= 1'b0;
        if (pass_start) begin
          first_reduction_q <= last_reduction;
          groups_left_q <= last_reduction ? groups_i : groups_left_q - Reduction;
          same_load_q <= last_reduction && first_reduction_q && !last_row_tile;
          if (last_reduction) begin
            rows_left_q <= last_row_tile ? rows_i : rows_left_q - tile_rows_i;
            if (last_row_tile) cols_left_q <= cols_left_q - tile_cols_i;
            all_started_q <= last_row_tile && last_col_tile;
          end
        end
      end
    end
  end

  // The pass under way. Its end is read from the cycle after its start on, as is its set.
  logic next_load_set_q, next_use_set_q, next_sum_set_q;
  logic [31:0] limit_q;
  logic set_q, pass_first_q, pass_last_q;
  always_ff @(posedge clk_i) begin
    if (pass_start) begin
      limit_q <= !ws_i ? groups_i : last_row_tile ? rows_left_q : tile_rows_i;
      if (!ws_i) set_q <= next_sum_set_q;
      else if (!same_load_q) set_q <= next_use_set_q;
      pass_first_q <= first_reduction_q;
      pass_last_q <= last_reduction;
    end
    if (start_o) begin
      next_use_set_q <= 1'b0;
      next_sum_set_q <= 1'b0;
    end else if (pass_start) begin
      if (ws_i && !same_load_q) next_use_set_q <= TwoPacked && !next_use_set_q;
      if (!ws_i) next_sum_set_q <= TwoSums && !next_sum_set_q;
    end
  end
  assign pass_start_o = pass_start;
  assign pass_limit_o = limit_q;
  assign pass_set_o = set_q;
  assign pass_first_o = pass_first_q;
  assign pass_last_o = pass_last_q;

  // Loads. With two sets load l+1 begins with the first pass on load l; with one, when no pass needs the set any more.
  logic [RowW-1:0] load_row_q, load_row;
  logic [SlotW:0] load_position_q, load_position, load_after;
  logic load_set_q, load_set, row_over;
  if (TwoPacked) begin : g_two_sets
    logic another, any_load_q;
    always_ff @(posedge clk_i) begin
      if (!rst_ni || start_o) any_load_q <= 1'b0;
      else if (load_start) any_load_q <= 1'b1;
    end
    assign another = last_reduction && first_reduction_q ? !last_col_tile
                                                         : !(last_reduction && last_row_tile && last_col_tile);
    assign load_start = busy_q && ws_i && !loading_q &&
                        (!any_load_q || (pass_start && !same_load_q && another));
  end else begin : g_one_set
    assign load_start = busy_q && ws_i && !loading_q && !running_q && !pass_start && !all_started_q &&
                        !same_load_q && ready_loads_q == '0;
  end
  assign loading = loading_q || load_start;
  assign load_row = load_start ? RowW'(Rows - 1) : load_row_q;
  assign load_position = load_start ? '0 : load_position_q;
  assign load_set = load_start ? next_load_set_q : load_set_q;
  assign load_after = load_position + (SlotW + 1)'(ColumnValues);
  assign row_over = 32'(load_position) + ColumnValues >= 32'(slots_i);
  assign load_over = loading && row_over && load_row == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      loading_q <= 1'b0;
      ready_loads_q <= '0;
    end else begin
      loading_q <= loading && !load_over;
      if (start_o) ready_loads_q <= '0;
      else ready_loads_q <= ready_loads_q + 2'(load_over) - 2'(ws_i && pass_start && !same_load_q);
    end
  end
  always_ff @(posedge clk_i) begin
    load_row_q <= row_over ? load_row - RowW'(1) : load_row;
    load_position_q <= row_over ? '0 : load_after;
    load_set_q <= load_set;
    if (start_o) next_load_set_q <= 1'b0;
    else if (load_start) next_load_set_q <= TwoPacked && !next_load_set_q;
  end
  assign load_valid_o = loading;
  assign load_row_o = load_row;
  assign load_set_o = load_set;
  assign load_position_o = SlotW'(load_position);

  // Drains, one after another.
  logic next_drain_set_q, drain_set_q, drain_set, lane_over;
  logic [RowW-1:0] drain_row_q, drain_row;
  logic [LaneW-1:0] drain_lane_q, drain_lane;
  assign drain_start = busy_q && !ws_i && !draining_q && undrained_q != '0;
  assign drain_o = draining_q || drain_start;
  assign drain_set = drain_start ? next_drain_set_q : drain_set_q;
  assign drain_row = drain_start ? RowW'(Rows - 1) : drain_row_q;
  assign drain_lane = drain_start ? '0 : drain_lane_q;
  assign lane_over = 32'(drain_lane) + 1 >= 32'(interleave_i);
  assign drain_over = drain_o && lane_over && drain_row == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      draining_q <= 1'b0;
      undrained_q <= '0;
    end else begin
      draining_q <= drain_o && !drain_over;
      if (start_o) undrained_q <= '0;
      else undrained_q <= undrained_q + 2'(!ws_i && pass_over) - 2'(drain_over);
    end
  end
  always_ff @(posedge clk_i) begin
    drain_row_q <= lane_over ? drain_row - RowW'(1) : drain_row;
    drain_lane_q <= lane_over ? '0 : drain_lane + LaneW'(1);
    drain_set_q <= drain_set;
    if (start_o) next_drain_set_q <= 1'b0;
    else if (drain_start) next_drain_set_q <= TwoSums && !next_drain_set_q;
  end
  assign drain_set_o = drain_set;
  assign drain_place_o = drain_lane;
  assign drain_row_o = drain_row;

  // `done` stands in the cycle in which nothing is left to do; a start may come in the one before.
  assign finish_next = busy_q && all_started_q &&
                       (ws_i ? pass_over : drain_over && undrained_q == 2'd1 && !running_q);
  assign ready_o = !busy_q || finish_next;
  assign start_o = start_i && ready_o;
  assign done_o = done_q;

endmodule
