# What check_lint.sh and check_yosys.sh elaborate; both define lint().
lint fp16_mul
lint fp16_mul -GCut=1
lint fp_add
lint fp_add -GExpW=4 -GFracW=3 -GCuts=1
lint fp_add -GExpW=5 -GFracW=10 -GCuts=2 -GSubnormals=0
for latency in 1 2 3 4 7; do lint fp16_mac -GLatency=$latency; done
lint fp32_to_fp16
lint fp16_to_fp32
lint stce -GRows=2 -GCols=2 -GLatency=2 -GLinkValues=2 -GColumnValues=2
lint stce -GRows=1 -GCols=1 -GLatency=1 -GPackedSets=1 -GAccumulatorSets=1
lint stce -GRows=4 -GCols=3 -GLatency=6 -GLinkValues=5 -GColumnValues=3 -GLatches=12
lint stce -GRows=3 -GCols=5 -GMaxInterleave=1 -GPackedValues=8
