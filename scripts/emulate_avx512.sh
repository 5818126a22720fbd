#!/bin/sh
# Runs test programs on an emulated processor with AVX-512, for machines that have none: Bochs boots a small Linux whose
# only work is the tests. It says whether results are right, not how fast anything is: a test takes some hundred times
# its own time.
#   scripts/emulate_avx512.sh                                        the kernel tests: tens of minutes
#   scripts/emulate_avx512.sh "cpu_test --gtest_filter=Simd.*"       programs of build/bin with their arguments, in turn
# ENMESH_EMULATE_LIMIT: seconds that it may take (3600). The tests' output: build/avx512/serial.
# ENMESH_EMULATOR, ENMESH_EMULATOR_CPU: another Bochs and another of its processors (bochs, corei7_skylake_x). Since 2.8 there is
# sapphire_rapids, which has bfloat16; Debian 12 has 2.7.
# Exit code 77 where what it needs cannot be had (Debian: see `needs`).
set -eu
cd "$(dirname "$0")/.."

needs="bochs bochs-term bochsbios vgabios grub-pc-bin grub-common xorriso mtools busybox-static cpio"
missing=$(scripts/missing-packages.sh $needs)
if [ -n "$missing" ]; then
  echo "emulate_avx512: skipped: missing are $missing (apt-get install --no-install-recommends $missing)"
  exit 77
fi
[ $# -gt 0 ] || set -- products_test "cpu_test --gtest_filter=Simd.*:CpuOperations.*" \
  "permutation_test --gtest_filter=PermutationKernels.*"

work=build/avx512
rm -rf "$work/system" "$work/iso" "$work/serial"
mkdir -p "$work/system/bin" "$work/system/proc" "$work/system/dev" "$work/system/tmp" "$work/iso/boot/grub"

if ! ls "$work"/kernel/boot/vmlinuz-* >/dev/null 2>&1; then
  kernel=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
  if [ -z "$kernel" ] || ! (cd "$work" && apt-get download -q "$kernel" >/dev/null 2>&1); then
    echo "emulate_avx512: skipped: the package linux-image-cloud-amd64 cannot be had"
    exit 77
  fi
  dpkg -x "$work/$kernel"_*.deb "$work/kernel"
fi

# The programs and what they link; calls are bound at the start, since lazy binding saves registers by a size that the
# emulator reports wrongly.
cp /bin/busybox "$work/system/bin/"
for applet in sh mount grep poweroff sleep; do ln -s busybox "$work/system/bin/$applet"; done
commands=""
for test in "$@"; do
  program=${test%% *}
  [ -x "build/bin/$program" ] || {
    echo "emulate_avx512: build/bin/$program is missing: build the tests first" >&2
    exit 2
  }
  cp "build/bin/$program" "$work/system/bin/"
  ldd "build/bin/$program" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$work/system$(dirname "$library")"
    cp -nL "$library" "$work/system$library"
  done
  # Quotes keep the shell inside from expanding a filter's asterisks.
  arguments=$(printf '%s' "${test#"$program"}" | sed "s/[^ ][^ ]*/'&'/g")
  commands="$commands
echo '== $program'
$program$arguments || echo TESTS-FAILED"
done

cat >"$work/system/init" <<END
#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
export HOME=/tmp PATH=/bin LD_LIBRARY_PATH=/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu
export LD_BIND_NOW=1 OMP_NUM_THREADS=1 ENMESH_ISA=avx512 GTEST_COLOR=no
exec >/dev/ttyS0 2>&1
grep -q avx512bw /proc/cpuinfo || echo TESTS-FAILED: no AVX-512
$commands
echo TESTS-ENDED
sleep 2
poweroff -f
END
chmod +x "$work/system/init"
(cd "$work/system" && find . | cpio --quiet -o -H newc | gzip -1) >"$work/iso/boot/initrd.gz"
cp "$work"/kernel/boot/vmlinuz-* "$work/iso/boot/vmlinuz"
# The kernel turns AVX off where the emulator's compact save area has another size than it works out itself; on an
# emulated Sapphire Rapids it does not survive fast short string moves.
cat >"$work/iso/boot/grub/grub.cfg" <<END
set timeout=0
menuentry tests {
  linux /boot/vmlinuz console=ttyS0 quiet mitigations=off tsc=reliable lpj=4000000 clearcpuid=xsaves,xsavec,xgetbv1,fsrm
  initrd /boot/initrd.gz
}
END
grub-mkrescue -o "$work/tests.iso" "$work/iso" >"$work/iso.log" 2>&1

cat >"$work/bochsrc" <<END
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1
cpu: model=${ENMESH_EMULATOR_CPU:-corei7_skylake_x}, count=1, ips=50000000, reset_on_triple_fault=0
memory: guest=2048, host=1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=$work/tests.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/serial
log: $work/bochs.log
panic: action=fatal
clock: sync=none, time0=utc
display_library: term
END
echo c >"$work/start" # Debian's Bochs begins in its debugger
TERM=vt100 timeout "${ENMESH_EMULATE_LIMIT:-3600}" script -qec "${ENMESH_EMULATOR:-bochs} -q -f $work/bochsrc -rc $work/start" /dev/null \
  >"$work/screen" 2>&1 </dev/null || true # powering off counts as a failure of the emulator

grep -E '^(== |\[  (PASSED|FAILED) |\[ +FAILED|TESTS-)' "$work/serial" || true
if ! grep -q TESTS-ENDED "$work/serial"; then
  echo "emulate_avx512: the tests did not end; the last of them:" >&2
  tail -n 5 "$work/serial" >&2
  exit 1
fi
! grep -q TESTS-FAILED "$work/serial"
