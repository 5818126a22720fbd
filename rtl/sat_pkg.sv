// Constants that all engines share (docs/sat.md, "Words", "A row's sequencer", "Configuration words").
package sat_pkg;

  localparam logic [31:0] CanonicalNan = 32'h7fc0_0000;
  localparam logic [31:0] MinusZero = 32'h8000_0000;

  // An index of a packed entry in the array: 4 bits, whatever M is.
  localparam int unsigned IndexW = 4;
  localparam int unsigned EntryW = 16 + IndexW;

  // N, M and D in the configuration words.
  localparam int unsigned GroupW = 5;
  // I in the configuration words.
  localparam int unsigned InterleaveW = 7;

  typedef enum logic [2:0] {
    PhIdle = 3'd0,
    PhFill = 3'd1,
    PhWait = 3'd2,
    PhRun  = 3'd3,
    PhDone = 3'd4
  } phase_e;

  // Bits that count to `values` different ones; at least one, so that a port always exists.
  function automatic int unsigned bits_of(input int unsigned values);
    bits_of = values <= 1 ? 1 : $clog2(values);
  endfunction

endpackage
