#!/bin/sh
# Shows that the README's commands work on a bare machine: makes a bare Debian 12 root with debootstrap, clones the
# committed state of this repository into it and runs them there. `scripts/fresh_machine.sh --help` lists the options.
#
# The root has this machine's own apt sources and apt configuration. All mounts and processes live in namespaces of
# their own: they end with this script, even where it is killed, and are never seen outside.
set -eu
PATH=$PATH:/usr/sbin:/sbin # debootstrap and chroot, where su has kept a user's PATH
suite=bookworm

usage() {
  cat <<'END'
usage: scripts/fresh_machine.sh [--quick | --demo | --test] [--keep]

Makes a bare Debian 12 root, clones the committed state of this repository into it and runs there scripts/demo.sh and
scripts/test.sh, with the wall time of each. Needs root, debootstrap and git.

  --demo    only scripts/demo.sh
  --test    only scripts/test.sh
  --quick   only scripts/install-deps.sh, configuring, and one small program that uses every dependency
  --keep    leaves the root where it is and says where
  --help    this text

examples:
  scripts/fresh_machine.sh --quick                        a minute on two cores
  scripts/fresh_machine.sh                                both commands from nothing: about 14 minutes
  TMPDIR=/var/tmp scripts/fresh_machine.sh --demo --keep  another folder; the root stays there

environment:
  TMPDIR       where the root is made: some 5 GiB; --quick 2 GiB, in memory where 6 GiB are free
  ENMESH_JOBS  parallel compilers (all cores)

exit code: 0 passed, 1 failed, 2 wrong usage, 77 skipped: what it needs cannot be had here
END
}

skip() {
  echo "fresh_machine: skipped: $*"
  exit 77
}

wrong_usage() {
  echo "fresh_machine: $* (scripts/fresh_machine.sh --help)" >&2
  exit 2
}

# The mirror of Debian 12 among apt's own sources; nothing where there is none.
find_mirror() {
  uri=$(apt-get indextargets --format '$(REPO_URI)|$(ORIGIN)|$(COMPONENT)|$(RELEASE)|$(CODENAME)|' 'Created-By: Packages' |
    sed -n "s/^\([^|]*\)|Debian|main|.*|$suite|.*/\1/p;s/^\([^|]*\)|Debian|main|$suite|.*/\1/p" | head -n 1)
  case $uri in
  mirror+file:*) sed -n 's/^\([a-z]*:[^[:space:]]*\).*/\1/p' "${uri#mirror+file:}" | head -n 1 ;;
  *) echo "$uri" ;;
  esac
}

# Sets `mirror` and apt's proxy for debootstrap, which reads neither apt's sources nor its configuration.
choose_mirror() {
  http_proxy=${http_proxy:-${HTTP_PROXY:-}}
  https_proxy=${https_proxy:-${HTTPS_PROXY:-}}
  if [ -z "$http_proxy" ]; then eval "$(apt-config shell http_proxy Acquire::http::Proxy)"; fi
  if [ -z "$https_proxy" ]; then eval "$(apt-config shell https_proxy Acquire::https::Proxy)"; fi
  export http_proxy https_proxy
  mirror=$(find_mirror)
  if [ -z "$mirror" ]; then # apt knows its sources' origins only after an update
    apt-get update -q >/dev/null 2>&1 || skip "apt-get update does not work here"
    mirror=$(find_mirror)
  fi
  [ -n "$mirror" ] || skip "this machine's apt sources have no Debian 12 ($suite, main)"
  case $mirror in
  http*) wget -q --tries=3 --timeout=20 --spider "${mirror%/}/dists/$suite/InRelease" ||
    skip "the mirror does not answer: $mirror" ;;
  esac
}

# A folder for the root. Its file system must let programs run and devices be opened.
make_folder() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/enmesh-fresh-XXXXXX")
  work=$(cd "$work" && pwd)
  mkdir "$work/root"
  printf '#!/bin/sh\n' >"$work/program"
  chmod +x "$work/program"
  if ! mknod "$work/null" c 1 3 2>/dev/null || ! (: >"$work/null") 2>/dev/null || ! "$work/program" 2>/dev/null; then
    skip "${TMPDIR:-/tmp} allows no devices or no programs: name another folder by TMPDIR"
  fi
}

interrupted() { # CODE
  echo "fresh_machine: interrupted: $(last_step)"
  exit "$1"
}

last_step() { cat "$work/step" 2>/dev/null || echo "nothing begun"; }

clean_up() {
  trap '' INT TERM HUP
  if [ -n "$child" ]; then
    kill -KILL "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  fi
  [ -n "$work" ] || return 0
  if [ "$keep" = 1 ] && [ -e "$work/root/bin/sh" ]; then
    echo "fresh_machine: kept: $work/root (enter it by: chroot $work/root; the clone is in /srv/enmesh)"
    return 0
  fi
  # What was killed may still be ending, and writing.
  for _ in 1 2 3 4 5; do
    if rm -rf --one-file-system "$work" 2>/dev/null; then break; fi
    sleep 1
  done
  [ ! -e "$work" ] || echo "fresh_machine: could not remove $work" >&2
}

# ---- inside the namespaces ----

# step WORDS COMMAND...: runs it quietly and says how long it took. `at_exit` shows the output of one that fails.
step() {
  echo "$1" >"$work/step"
  begin=$(date +%s)
  shift
  "$@" >"$work/log" 2>&1 </dev/null
  echo "fresh_machine: $(cat "$work/step"): $(($(date +%s) - begin)) s"
}

shown_step() { # the same, with the output shown
  echo "$1" >"$work/step"
  echo "fresh_machine: == $1"
  : >"$work/log"
  begin=$(date +%s)
  shift
  "$@" </dev/null
  echo "fresh_machine: $(cat "$work/step"): $(($(date +%s) - begin)) s"
}

copy_apt() { # this machine's sources and configuration of apt, and what they stand on
  rm -rf "$root/etc/apt"
  cp -a /etc/apt "$root/etc/apt"
  if [ -d /usr/share/keyrings ]; then
    mkdir -p "$root/usr/share/keyrings"
    cp -anL /usr/share/keyrings/. "$root/usr/share/keyrings/"
  fi
  # Hooks call programs of this machine; a bare one does not have them.
  cat >"$root/etc/apt/apt.conf.d/zzz-fresh-machine" <<'END'
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
END
  echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/fresh-machine" # nobody needs this root after a power cut
  for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
    [ -e "$file" ] || continue
    mkdir -p "$root${file%/*}"
    cp -L "$file" "$root$file"
  done
}

# In memory the small root is made and removed more than twice as fast as on a disk.
use_memory() {
  [ "$what" = quick ] && [ "$keep" = 0 ] || return 0
  available=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
  [ "${available:-0}" -ge $((6 << 20)) ] || return 0
  mount -t tmpfs -o mode=755 tmpfs "$root"
}

mount_root() {
  mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
  mountpoint -q "$root/sys" || mount -t sysfs -o ro sysfs "$root/sys"
  mount -t tmpfs tmpfs "$root/dev/shm"
}

clone() {
  git clone -q --no-hardlinks --no-checkout "$source" "$root/srv/enmesh"
  git -C "$root/srv/enmesh" checkout -q --detach "$(git -C "$source" rev-parse HEAD)"
  if [ -d "$source/../shared" ]; then
    mkdir "$root/srv/shared"
    mount --bind "$source/../shared" "$root/srv/shared"
    mount -o remount,bind,ro "$root/srv/shared"
  fi
}

# in_clone COMMAND...: runs it in the clone, with as little environment as a bare machine has. A shell lets what it
# starts in the background ignore interrupts; the tests send some.
in_clone() {
  chroot "$root" /usr/bin/env -i --default-signal=INT,QUIT HOME=/root \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    ${TERM:+"TERM=$TERM"} ${http_proxy:+"http_proxy=$http_proxy"} ${https_proxy:+"https_proxy=$https_proxy"} \
    ${no_proxy:+"no_proxy=$no_proxy"} ${ENMESH_JOBS:+"ENMESH_JOBS=$ENMESH_JOBS"} \
    sh -c 'cd /srv/enmesh && exec "$@"' sh "$@"
}

run_inside() {
  root=$work/root
  trap '[ $? = 0 ] || tail -n 40 "$work/log"' EXIT
  use_memory
  step "bare Debian 12" debootstrap --variant=minbase --components=main "$suite" "$root" "$mirror"
  step "apt's sources and configuration" copy_apt
  step "mounts" mount_root
  step "clone" clone
  case $what in
  quick)
    step "scripts/install-deps.sh" in_clone scripts/install-deps.sh
    step "configure" in_clone cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE=Release
    step "build the program that uses every dependency" \
      in_clone cmake --build build --parallel "${ENMESH_JOBS:-$(nproc)}" --target dependencies_test
    step "run it" in_clone build/bin/dependencies_test
    ;;
  *)
    if [ "$what" != test ]; then shown_step "scripts/demo.sh" in_clone scripts/demo.sh; fi
    if [ "$what" != demo ]; then shown_step "scripts/test.sh" in_clone scripts/test.sh; fi
    ;;
  esac
}

# ---- the script ----

# In braces, so that the shell has read it all before it begins: the working copy may change while this runs.
{
  what=both
  keep=0
  for argument in "$@"; do
    case $argument in
    --quick | --demo | --test)
      [ "$what" = both ] || wrong_usage "$argument and --$what exclude each other"
      what=${argument#--}
      ;;
    --keep) keep=1 ;;
    --help)
      usage
      exit 0
      ;;
    *) wrong_usage "unknown option: $argument" ;;
    esac
  done

  if [ -n "${ENMESH_FRESH_INSIDE:-}" ]; then # this script, called by itself below
    work=$ENMESH_FRESH_INSIDE
    run_inside
    exit 0
  fi

  [ "$(id -u)" = 0 ] || skip "only root can make a bare machine"
  for tool in apt-get debootstrap git unshare wget; do
    command -v "$tool" >/dev/null 2>&1 || skip "$tool is missing (Debian: apt-get install debootstrap git)"
  done
  unshare --mount --pid --fork --mount-proc true 2>/dev/null || skip "this machine lets root make no namespaces"

  work=""
  child=""
  trap clean_up EXIT
  trap 'interrupted 129' HUP
  trap 'interrupted 130' INT
  trap 'interrupted 143' TERM
  make_folder
  # The working copy may be another user's: git is told that we know.
  export GIT_CONFIG_GLOBAL="$work/gitconfig"
  printf '[safe]\n\tdirectory = *\n' >"$GIT_CONFIG_GLOBAL"
  cd "$(dirname "$0")/.."
  source=$(pwd)
  git rev-parse -q --verify HEAD >/dev/null 2>&1 || wrong_usage "$source has no commit to clone"
  choose_mirror
  [ -z "$(git status --porcelain)" ] || echo "fresh_machine: changes that are not committed are not looked at"

  start=$(date +%s)
  export ENMESH_FRESH_INSIDE="$work" source mirror
  setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc \
    "$source/scripts/fresh_machine.sh" ${1+"$@"} &
  child=$!
  code=0
  wait "$child" || code=$?
  child=""
  took=$(($(date +%s) - start))
  last=$(last_step)
  clean_up
  trap - EXIT
  if [ "$code" != 0 ]; then
    echo "fresh_machine: failed: $last (after $took s)"
    exit 1
  fi
  echo "fresh_machine: passed: $what, $took s"
  exit 0
}
