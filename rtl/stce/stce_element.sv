// One element of the STCE (docs/sat.md, "An element's registers" and "What an element does in a cycle"). Control, link and
// column words pass to the neighbours through one register each; a product issued in a cycle stands on sum_o Latency cycles
// later. Valid bits, `issue` and `end` have a reset, data has none: nothing is read before it was written.
//
// control: {issue, end, first, last, bank, set, round, lane}
// link:    {valid, bank, position, LinkValues values}
// column:  {valid, row, set, position, ColumnValues entries of {value, index}}; OS uses valid and the first entry
//
// A drain does not move a set: in drain cycle d place d mod I is read and overwritten, which is the same as shifting.
module stce_element #(
  parameter int unsigned Rows = 32,
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
  localparam int unsigned LinkW = 2 + PositionW + 16 * LinkValues,
  localparam int unsigned ColumnW = 2 + RowW + SlotW + sat_pkg::EntryW * ColumnValues
) (
  input  logic clk_i,
  input  logic rst_ni,

  // Of the product that runs.
  input  logic                       ws_i,
  input  logic                       pixels_i,
  input  logic [sat_pkg::GroupW-1:0] group_i,

  input  logic [RowW-1:0]     row_i,
  input  logic [ControlW-1:0] control_i,
  input  logic [LinkW-1:0]    link_i,
  input  logic [ColumnW-1:0]  column_i,
  output logic [ControlW-1:0] control_o,
  output logic [LinkW-1:0]    link_o,
  output logic [ColumnW-1:0]  column_o,

  // adder[L-1] of the element above, or the injected sum; adder[L-1] of this one.
  input  logic [31:0]      above_i,
  output logic [31:0]      sum_o,
  output logic             sum_valid_o,
  output logic             sum_last_o,
  output logic [LaneW-1:0] sum_lane_o,
  // The end token enters adder[L-1] at the end of this cycle.
  output logic             end_next_o,

  input  logic             drain_i,
  input  logic             drain_set_i,
  input  logic [LaneW-1:0] drain_place_i,
  input  logic [31:0]      drain_sum_i,
  output logic [31:0]      drain_sum_o
);

  localparam bit HasPixels = Latches >= 4;
  localparam int unsigned BankDepth = Latches / 2 * MaxGroup;

  typedef struct packed {
    logic issue;
    logic is_end;
    logic first;
    logic last;
    logic bank;
    logic acc_set;
    logic [RoundW-1:0] round;
    logic [LaneW-1:0] lane;
  } control_t;
  typedef struct packed {
    logic valid;
    logic bank;
    logic [PositionW-1:0] position;
    logic [16*LinkValues-1:0] values;
  } link_t;
  typedef struct packed {
    logic valid;
    logic [RowW-1:0] row;
    logic packed_set;
    logic [SlotW-1:0] position;
    logic [sat_pkg::EntryW*ColumnValues-1:0] entries;
  } column_t;

  control_t control;
  link_t link;
  column_t column;
  assign control = control_i;
  assign link = link_i;
  assign column = column_i;

  // What the neighbours see; the bits that mean something by themselves have a reset.
  logic [1:0] control_valid_q;
  logic [ControlW-3:0] control_data_q;
  logic link_valid_q, column_valid_q;
  logic [LinkW-2:0] link_data_q;
  logic [ColumnW-2:0] column_data_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      control_valid_q <= '0;
      link_valid_q <= 1'b0;
      column_valid_q <= 1'b0;
    end else begin
      control_valid_q <= control_i[ControlW-1 -: 2];
      link_valid_q <= link.valid;
      column_valid_q <= column.valid;
    end
  end
  always_ff @(posedge clk_i) begin
    control_data_q <= control_i[ControlW-3:0];
    link_data_q <= link_i[LinkW-2:0];
    column_data_q <= column_i[ColumnW-2:0];
  end
  assign control_o = {control_valid_q, control_data_q};
  assign link_o = {link_valid_q, link_data_q};
  assign column_o = {column_valid_q, column_data_q};

  // The latch: two banks of streamed values.
  logic [15:0] latch_q [2**(PositionW+1)];
  if (LinkValues == 1) begin : g_latch_one
    always_ff @(posedge clk_i) begin
      if (link.valid) latch_q[{link.bank, link.position}] <= link.values;
    end
  end else begin : g_latch_more
    always_ff @(posedge clk_i) begin
      for (int unsigned v = 0; v < LinkValues; v++) begin
        if (link.valid && 32'(link.position) + v < BankDepth) begin
          latch_q[{link.bank, link.position + PositionW'(v)}] <= link.values[16*v +: 16];
        end
      end
    end
  end

  // The packed sets. With one set its bit is 0.
  localparam int unsigned PackedW = SlotW + PackedSets - 1;
  logic [sat_pkg::EntryW-1:0] packed_q [2**PackedW];
  logic load;
  assign load = ws_i && column.valid && column.row == row_i;
  if (ColumnValues == 1) begin : g_packed_one
    always_ff @(posedge clk_i) begin
      if (load) packed_q[PackedW'({column.packed_set, column.position})] <= column.entries;
    end
  end else begin : g_packed_more
    always_ff @(posedge clk_i) begin
      for (int unsigned w = 0; w < ColumnValues; w++) begin
        if (load && 32'(column.position) + w < PackedValues) begin
          packed_q[PackedW'({column.packed_set, column.position + SlotW'(w)})] <=
            column.entries[sat_pkg::EntryW*w +: sat_pkg::EntryW];
        end
      end
    end
  end

  // Slots are issued in order, n by n: a counter stands for n * I + q.
  logic [SlotW-1:0] slot, slot_q;
  always_comb begin
    if (pixels_i) slot = SlotW'(control.round);
    else if (control.round == '0 && control.lane == '0) slot = '0;
    else slot = slot_q;
  end
  always_ff @(posedge clk_i) begin
    if (control.issue) slot_q <= slot + SlotW'(1);
  end

  logic [sat_pkg::EntryW-1:0] stored, sent, entry;
  assign stored = packed_q[PackedW'({control.acc_set, slot})];
  assign sent = column.entries[sat_pkg::EntryW-1:0];

  // With interleaved pixels one sent entry serves all pixels of a round, and each pixel has its part of the bank.
  logic [PositionW-1:0] base;
  if (HasPixels) begin : g_pixels
    logic [sat_pkg::EntryW-1:0] held_q;
    logic [PositionW-1:0] base_q;
    logic later;
    assign later = pixels_i && control.lane != '0;
    assign base = later ? base_q : '0;
    assign entry = ws_i ? stored : later ? held_q : sent;
    always_ff @(posedge clk_i) begin
      if (control.issue) base_q <= base + PositionW'(group_i);
      if (control.issue && !ws_i && !later) held_q <= sent;
    end
  end else begin : g_no_pixels
    logic unused;
    assign unused = ^group_i;
    assign base = '0;
    assign entry = ws_i ? stored : sent;
  end

  logic [15:0] streamed;
  assign streamed = latch_q[{control.bank, base + PositionW'(entry[sat_pkg::IndexW-1:0])}];

  // What stands in the adder. Valid and end first, then what goes with them.
  logic [Latency-1:0] valid_q, end_q;
  logic sum_set;
  if (Latency == 1) begin : g_valid_one
    always_ff @(posedge clk_i) begin
      if (!rst_ni) {valid_q, end_q} <= '0;
      else {valid_q, end_q} <= {control.issue, control.is_end};
    end
    assign end_next_o = control.is_end;
  end else begin : g_valid_more
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        valid_q <= '0;
        end_q <= '0;
      end else begin
        valid_q <= {valid_q[Latency-2:0], control.issue};
        end_q <= {end_q[Latency-2:0], control.is_end};
      end
    end
    assign end_next_o = end_q[Latency-2];
  end
  prim_delay #(.Width(2 + LaneW), .Stages(Latency)) u_tag (
    .clk_i,
    .data_i({control.last, control.acc_set, control.lane}),
    .data_o({sum_last_o, sum_set, sum_lane_o})
  );
  assign sum_valid_o = valid_q[Latency-1];
  // The token's last stage is not read: what follows it has begun by then.
  logic unused_end;
  assign unused_end = end_q[Latency-1];

  // The running sums: a set is never drained and computed in the same cycle, so that it has one port each way.
  logic write_back;
  logic [31:0] own_0, own_1;
  assign write_back = sum_valid_o && !sum_last_o;
  for (genvar s = 0; s < 2; s++) begin : g_sums
    if (s < AccumulatorSets) begin : g_set
      logic [31:0] sums_q [2**LaneW];
      logic drain, write;
      logic [LaneW-1:0] read_place, write_place;
      logic [31:0] write_sum;
      assign drain = drain_i && drain_set_i == 1'(s);
      assign read_place = drain ? drain_place_i : control.lane;
      assign write = drain || (write_back && (ws_i ? s == 0 : sum_set == 1'(s)));
      assign write_place = drain ? drain_place_i : sum_lane_o;
      assign write_sum = drain ? drain_sum_i : sum_o;
      always_ff @(posedge clk_i) begin
        if (write) sums_q[write_place] <= write_sum;
      end
      if (s == 0) begin : g_read_0
        assign own_0 = sums_q[read_place];
      end else begin : g_read_1
        assign own_1 = sums_q[read_place];
      end
    end else begin : g_no_set
      assign own_1 = own_0;
    end
  end
  assign drain_sum_o = drain_set_i ? own_1 : own_0;

  // The sum before: from above, +0, from the adder in this very cycle, or from the store.
  logic bypass;
  logic [31:0] before_sum;
  assign bypass = write_back && sum_lane_o == control.lane && (ws_i || sum_set == control.acc_set);
  always_comb begin
    if (ws_i && control.round == '0) before_sum = above_i;
    else if (control.first) before_sum = '0;
    else if (bypass) before_sum = sum_o;
    else before_sum = !ws_i && control.acc_set ? own_1 : own_0;
  end

  fp16_mac #(.Latency(Latency)) u_mac (
    .clk_i,
    .value_i(streamed),
    .entry_i(entry[sat_pkg::EntryW-1:sat_pkg::IndexW]),
    .before_i(before_sum),
    .sum_o
  );

`ifdef VERILATOR
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      a_entry_is_there: assert (!(control.issue && !ws_i) || column.valid || (pixels_i && control.lane != '0));
      a_no_issue_with_end: assert (!(control.issue && control.is_end));
      a_drain_is_not_computed: assert (!(drain_i && write_back && sum_set == drain_set_i));
    end
  end
`endif

endmodule
