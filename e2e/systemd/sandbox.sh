#!/bin/bash
# sandbox.sh - boot a real systemd *system* manager (as PID 1 of its own
# PID namespace) on a machine whose own PID 1 is something else, for tests.
#
#   sandbox.sh start [options]      boot it (stops a running one of that name first)
#   sandbox.sh exec  [-u USER] [--] CMD [ARG...]   run CMD inside (systemctl, journalctl, ...)
#   sandbox.sh stop  [--graceful]   end it; nothing is left behind
#   sandbox.sh run   [options] -- CMD [ARG...]     start, exec, stop; exit status of CMD
#   sandbox.sh status | pid | cgroup | kmsg
#   sandbox.sh mkroot SUITE DIR [PACKAGE...]   debootstrap a small rootfs with another systemd
#                                           (bookworm: 252, bookworm-backports: 254, trixie: 257),
#                                           and these packages (default: what e2e/systemd needs)
# options of start/run:
#   --root DIR           rootfs to use as read-only lower layer (default: / of this machine)
#   --bind SRC[:DST]     bind SRC read-write at DST (default: same path); repeatable
#   --bind-ro SRC[:DST]  the same, read-only; repeatable
#   --private-net        own network namespace, only lo (default: the host's network)
#   --controllers        enable every controller of the host's cgroup2 root for its children while the
#                        sandbox runs (a host-wide setting, put back by stop): MemoryMax= etc. on a pure
#                        v2 host; on a hybrid one only what v1 left over (here: hugetlb, which is enough
#                        to test the "no internal processes" rule, a delegated service)
#   --unit UNIT          boot target (default sandbox.target = basic.target + journald + dbus.socket)
#   --log-level LEVEL    of PID 1 (default info)
# environment: SDBOX_NAME (default "default"), SDBOX_STATE (default /tmp/sdbox), SDBOX_SIZE (tmpfs, 2g),
#   SDBOX_TIMEOUT (boot, 15 s)
#
# How: a cgroup of our own in the host's cgroup2 tree + unshare(pid,mount,uts,ipc,cgroup) + an
# overlayfs (lower: the rootfs, upper: a tmpfs that lives only in the private mount namespace)
# + pivot_root + exec systemd.  A cgroup2 mount at /sys/fs/cgroup inside makes systemd see a pure
# unified hierarchy, also where the host is hybrid.  stop writes 1 to cgroup.kill of that cgroup;
# mounts, files and pids go with the namespaces.
#
# Needs root (CAP_SYS_ADMIN in the initial user namespace), a writable cgroup2 mount, kernel >= 5.14 and
# the Debian packages systemd, util-linux, mount, bash, coreutils, findutils, grep, mawk (most of them
# essential), optionally dbus (busctl, unprivileged systemctl), iproute2 (--private-net),
# debootstrap + debian-archive-keyring (mkroot).
#
# shellcheck disable=SC1090,SC1091 # the options of start are read back from a file
# shellcheck disable=SC2013,SC2086 # cgroup controllers and our own numbers: words without blanks
# shellcheck disable=SC2015        # "a && b || :" under set -e: the failure of either is meant to pass
# shellcheck disable=SC2016        # expanded by the inner shell
set -euo pipefail

NAME=${SDBOX_NAME:-default}
STATE=${SDBOX_STATE:-/tmp/sdbox}/$NAME
SIZE=${SDBOX_SIZE:-2g}
TIMEOUT=${SDBOX_TIMEOUT:-15}
SELF=$(readlink -f "$0")

die() { echo "systemd-sandbox: $*" >&2; exit 1; }

cg_mount() { # where the host mounted cgroup2 (rw)
  awk '$3=="cgroup2" && $4 ~ /(^|,)rw(,|$)/ {print $2; exit}' /proc/self/mounts
}

CGNAME=sdbox-$NAME
CG=
need_cg() {
  local m; m=$(cg_mount); [ -n "$m" ] || die "no writable cgroup2 mount on this machine"
  CG=$m/$CGNAME
}

alive() { # the PID 1 that we booted still runs (guards against pid reuse with the start time)
  [ -s "$STATE/pid" ] || return 1
  local p t; read -r p t <"$STATE/pid"
  [ -r "/proc/$p/stat" ] && [ "$(start_time "$p")" = "$t" ]
}
start_time() { local s; read -r s <"/proc/$1/stat" || return 1; s=${s##*) }; set -- $s; echo "${20}"; }
ended() { # gone, or a zombie that its parent is slow to reap
  local s; s=$(cat "/proc/$1/stat" 2>/dev/null) || return 0; [[ ${s##*) } == Z* ]]
}
pid1() { local p _; read -r p _ <"$STATE/pid"; echo "$p"; }

populated() { grep -q '^populated 1' "$CG/cgroup.events" 2>/dev/null; }

do_stop() {
  need_cg
  if [ "${1:-}" = --graceful ] && alive; then
    kill -s RTMIN+4 "$(pid1)" 2>/dev/null || :   # poweroff.target
    for _ in $(seq 300); do alive || break; sleep .1; done
  fi
  if [ -d "$CG" ]; then
    for _ in $(seq 100); do
      [ -w "$CG/cgroup.kill" ] && echo 1 >"$CG/cgroup.kill" 2>/dev/null || :
      populated || break
      sleep .05
    done
    for _ in $(seq 100); do   # rmdir may be EBUSY for a moment after the last exit
      find "$CG" -depth -type d -exec rmdir {} + 2>/dev/null || :
      [ -d "$CG" ] || break
      sleep .05
    done
    [ ! -d "$CG" ] || die "could not remove $CG"
  fi
  if [ -s "$STATE/waiter" ]; then   # the unshare(1) that waits for PID 1: it ends by itself
    local w; w=$(cat "$STATE/waiter")
    for _ in $(seq 100); do ended "$w" && break; sleep .05; done
  fi
  if [ -s "$STATE/controllers" ]; then   # put back what --controllers switched on
    local c; for c in $(cat "$STATE/controllers"); do echo "-$c" 2>/dev/null >"${CG%/*}/cgroup.subtree_control" || :; done
  fi
  if [ -d "$STATE" ]; then
    rm -f "$STATE"/{controllers,pid,waiter,opts,boot.log,kmsg,lock}
    rmdir "$STATE/mnt" "$STATE" 2>/dev/null || :
    rmdir "$(dirname "$STATE")" 2>/dev/null || :
  fi
}

do_start() {
  [ "$(id -u)" = 0 ] || die "must be root"
  ROOT=/ UNIT=sandbox.target LEVEL=info PRIVNET='' CTRL='' BINDS=()
  while [ $# -gt 0 ]; do
    case $1 in
      --root) ROOT=$(readlink -f "$2"); shift 2;;
      --bind) BINDS+=("rw:$2"); shift 2;;
      --bind-ro) BINDS+=("ro:$2"); shift 2;;
      --private-net) PRIVNET=1; shift;;
      --controllers) CTRL=1; shift;;
      --unit) UNIT=$2; shift 2;;
      --log-level) LEVEL=$2; shift 2;;
      *) die "unknown option $1";;
    esac
  done
  need_cg
  do_stop
  mkdir -p "$STATE/mnt"
  declare -p ROOT UNIT LEVEL PRIVNET BINDS SIZE NAME CG >"$STATE/opts"
  if [ -n "$CTRL" ]; then
    local c; for c in $(cat "${CG%/*}/cgroup.controllers"); do
      grep -qw "$c" "${CG%/*}/cgroup.subtree_control" && continue
      echo "+$c" 2>/dev/null >"${CG%/*}/cgroup.subtree_control" && echo "$c" >>"$STATE/controllers" || :
    done
  fi
  mkdir "$CG"
  : >"$STATE/boot.log" ; : >"$STATE/kmsg"
  local ns=(--mount --pid --uts --ipc --fork --kill-child --propagation private)
  [ -z "$PRIVNET" ] || ns+=(--net)
  # A session of its own, no inherited stdio: a CI step can end while the sandbox runs on.
  setsid -f bash -c 'echo $$ >"$1/waiter"; exec unshare "${@:4}" bash "$2" __init "$1" "$3"' \
    _ "$STATE" "$SELF" "$CG" "${ns[@]}" </dev/null >>"$STATE/boot.log" 2>&1
  local deadline=$(( SECONDS + TIMEOUT )) st=
  while :; do
    if alive; then
      st=$(do_exec systemctl is-system-running 2>/dev/null) || :
      case $st in running|degraded) break;; esac
    fi
    if [ $SECONDS -ge $deadline ] || { [ -s "$STATE/waiter" ] && [ ! -d "/proc/$(cat "$STATE/waiter")" ]; }; then
      echo "systemd-sandbox: boot failed (state: ${st:-none})" >&2
      cat "$STATE/boot.log" "$STATE/kmsg" >&2
      alive && do_exec systemctl --no-pager list-jobs >&2 || :
      do_stop; exit 1
    fi
    sleep .05
  done
  [ "$st" = running ] || { echo "systemd-sandbox: state is $st" >&2; do_exec systemctl --no-pager --failed >&2 || :; }
}

do_exec() { # run inside, in all of its namespaces and inside its cgroup (so that stop gets it too)
  local user=()
  if [ "${1:-}" = -u ]; then user=(setpriv --reuid "$2" --regid "$2" --init-groups); shift 2; fi
  [ "${1:-}" != -- ] || shift
  alive || die "not running"
  . "$STATE/opts"
  local net=(); [ -z "$PRIVNET" ] || net=(--net)
  [ -d "$CG/exec" ] || mkdir -p "$CG/exec"
  # Only the child (a pid of the sandbox) may enter the cgroup: systemctl status fails with EIO on a
  # cgroup.procs that lists a pid from outside.  So: open here, write there, join the cgroup ns last.
  # shellcheck disable=SC2016
  nsenter --target "$(pid1)" --mount --uts --ipc --pid "${net[@]}" -- \
    /bin/sh -c 'echo 0 >&9; exec 9>&-; exec nsenter --cgroup=/proc/1/ns/cgroup -- "$@"' sh \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root \
    LANG=C.UTF-8 TERM="${TERM:-dumb}" SYSTEMD_PAGER= SYSTEMD_COLORS=0 "${user[@]}" "$@" 9>"$CG/exec/cgroup.procs"
}

# ---- from here on: inside the new namespaces, as their PID 1 -------------------------------
stage_init() {
  STATE=$1 CG=$2
  . "$STATE/opts"
  # The host's /proc is still mounted: it tells our pid as the host sees it.  The waiter stays
  # outside of $CG: systemd would trip over a pid from outside of its namespace in its root cgroup.
  local st; read -r st </proc/self/stat
  local p=${st%% *}; st=${st##*) }; set -- $st
  echo 0 >"$CG/cgroup.procs"
  echo "$p ${20}" >"$STATE/pid"
  exec unshare --cgroup bash "$SELF" __mount "$STATE"
}

bind_in() { # mode:src[:dst]
  local mode=${1%%:*} rest=${1#*:} src dst
  src=${rest%%:*}; dst=${rest#*:}
  if [ -d "$src" ]; then mkdir -p "$R$dst"; else mkdir -p "$(dirname "$R$dst")"; [ -e "$R$dst" ] || : >"$R$dst"; fi
  mount --bind "$src" "$R$dst"
  [ "$mode" = rw ] || mount -o remount,bind,ro "$R$dst"
}

stage_mount() {
  STATE=$1; . "$STATE/opts"
  local B=$STATE/mnt; R=$B/root
  mount -t tmpfs -o "size=$SIZE,mode=0755" sdbox "$B"
  mkdir "$B"/{upper,work,root}
  mount -t overlay sdbox -o "lowerdir=$ROOT,upperdir=$B/upper,workdir=$B/work" "$R"

  # A kernel-side view of our own: /proc (with a read-only /proc/sys), read-only /sys, cgroup2.
  mount -t proc -o nosuid,nodev,noexec proc "$R/proc"
  mount --bind "$R/proc/sys" "$R/proc/sys"; mount -o remount,bind,ro "$R/proc/sys"
  [ ! -e "$R/proc/sysrq-trigger" ] || mount --bind /dev/null "$R/proc/sysrq-trigger"
  mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$R/sys"
  mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$R/sys/fs/cgroup"

  # /dev: only harmless nodes.  /dev/kmsg is a plain file on the host: early log lines of PID 1.
  mount -t tmpfs -o nosuid,mode=0755,size=4m tmpfs "$R/dev"
  local n
  for n in null zero full random urandom tty; do : >"$R/dev/$n"; mount --bind "/dev/$n" "$R/dev/$n"; done
  : >"$R/dev/kmsg"; mount --bind "$STATE/kmsg" "$R/dev/kmsg"
  mkdir "$R"/dev/{pts,shm,mqueue}
  mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$R/dev/pts"
  ln -s pts/ptmx "$R/dev/ptmx"; ln -s /proc/self/fd "$R/dev/fd"
  ln -s /proc/self/fd/0 "$R/dev/stdin"; ln -s /proc/self/fd/1 "$R/dev/stdout"; ln -s /proc/self/fd/2 "$R/dev/stderr"
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$R/dev/shm"
  mount -t mqueue -o nosuid,nodev,noexec mqueue "$R/dev/mqueue"

  mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs "$R/run"
  mkdir -p "$R"/run/{lock,user,dbus,systemd/system}
  mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$R/tmp"
  [ ! -f "$ROOT/etc/resolv.conf" ] || { rm -f "$R/etc/resolv.conf"; cat /etc/resolv.conf >"$R/etc/resolv.conf"; }

  # Units: none of the machine's own, no generators, only what a service under test needs.
  local u=$R/etc/systemd/system v
  rm -rf "$u" "$R"/etc/systemd/{system.conf.d,journald.conf.d,system-generators,network} "$R/etc/machine-id"
  for v in "$R"/lib/systemd/system "$R"/usr/lib/systemd/system; do
    [ -d "$v" ] && find "$v/" -maxdepth 1 -name '*.wants' -exec rm -rf {} + || :
  done
  mkdir -p "$u"/{sandbox.target.wants,sysinit.target.wants,sockets.target.wants} "$R"/etc/systemd/{system.conf.d,journald.conf.d,system-generators}
  local g; for g in "$R"/usr/lib/systemd/system-generators/*; do
    [ -e "$g" ] && ln -s /dev/null "$R/etc/systemd/system-generators/${g##*/}"
  done
  printf '%s\n' '[Unit]' 'Description=Test sandbox' 'Requires=basic.target' 'After=basic.target' 'AllowIsolate=yes' >"$u/sandbox.target"
  local s=/lib/systemd/system
  ln -s /dev/null "$u/systemd-journald-audit.socket"
  ln -s $s/systemd-journald.service "$u/sysinit.target.wants/"
  for v in systemd-journald.socket systemd-journald-dev-log.socket dbus.socket; do
    [ ! -e "$R$s/$v" ] || ln -s $s/$v "$u/sockets.target.wants/"
  done
  printf '%s\n' '[Manager]' 'ShowStatus=no' 'LogColor=no' >"$R/etc/systemd/system.conf.d/sdbox.conf"
  printf '%s\n' '[Journal]' 'Storage=volatile' 'RateLimitIntervalSec=0' 'RateLimitBurst=0' 'ReadKMsg=no' 'Audit=' \
    'ForwardToSyslog=no' 'ForwardToKMsg=no' 'ForwardToConsole=no' 'ForwardToWall=no' >"$R/etc/systemd/journald.conf.d/sdbox.conf"
  tr -d - </proc/sys/kernel/random/uuid >"$R/etc/machine-id"
  echo "sdbox-$NAME" | tee "$R/etc/hostname" >/proc/sys/kernel/hostname
  [ -z "$PRIVNET" ] || ip link set lo up

  local b; for b in "${BINDS[@]}"; do bind_in "$b"; done

  mkdir -p "$R/oldroot"; cd "$R"
  pivot_root . oldroot
  mount --make-rprivate /oldroot      # the host's mounts: gone for the sandbox, untouched outside
  umount -l /oldroot; rmdir /oldroot
  mount --make-rshared /
  cd /
  local sd=/lib/systemd/systemd
  # What could reach beyond the namespaces is dropped for good (clock, modules, raw I/O, kernel log).
  exec env -i container=sdbox PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    setpriv --bounding-set -sys_time,-sys_module,-sys_rawio,-syslog,-audit_control,-audit_read,-mac_admin,-mac_override,-wake_alarm,-block_suspend \
    "$sd" --system --unit="$UNIT" --log-level="$LEVEL" --log-target=journal-or-kmsg --show-status=0
}

apt_mirror() { # the mirror that this machine's apt uses for Debian
  apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | grep -v security | head -n 1
}

install_debootstrap() {
  command -v debootstrap >/dev/null && [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] && return
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap debian-archive-keyring >&2
}

do_mkroot() { # SUITE DIR [PACKAGE...]
  local suite=$1 dir=$2 base=$1 packages=systemd,systemd-sysv,dbus
  shift 2
  if [ $# -gt 0 ]; then local IFS=,; packages+=,$*; unset IFS; else packages+=,iproute2,procps,libcap2-bin,nginx-light; fi
  case $suite in *-backports) base=${suite%-backports};; esac
  [ ! -e "$dir" ] || die "$dir exists"
  install_debootstrap
  local mirror=${SDBOX_MIRROR:-$(apt_mirror)}
  debootstrap --variant=minbase --include="$packages" "$base" "$dir" "$mirror" >"$dir.log" 2>&1 \
    || { tail -5 "$dir.log" >&2; die "debootstrap failed"; }
  if [ "$suite" != "$base" ]; then
    echo "deb $mirror $suite main" >"$dir/etc/apt/sources.list.d/bp.list"
    unshare --mount --propagation private bash -ec 'mount -t proc proc "$1/proc"; mount --bind /dev "$1/dev"
      printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"; chmod +x "$1/usr/sbin/policy-rc.d"
      chroot "$1" apt-get update; DEBIAN_FRONTEND=noninteractive chroot "$1" apt-get install -y --no-install-recommends -t "$2" systemd systemd-sysv' _ "$dir" "$suite" >>"$dir.log" 2>&1
  fi
  rm -rf "$dir"/var/cache/apt/archives/*.deb "$dir"/var/lib/apt/lists/* "$dir.log"
}

cmd=${1:-}; [ $# -eq 0 ] || shift
case $cmd in
  start) do_start "$@";;
  exec) do_exec "$@";;
  stop) do_stop "$@";;
  run)
    opts=(); while [ $# -gt 0 ] && [ "$1" != -- ]; do opts+=("$1"); shift; done; [ $# -eq 0 ] || shift
    trap 'do_stop' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM HUP
    do_start "${opts[@]}"; rc=0; do_exec -- "$@" || rc=$?; exit $rc;;
  status) need_cg; if alive; then echo "running pid=$(pid1) cgroup=$CG"; else echo stopped; exit 3; fi;;
  pid) alive && pid1;;
  cgroup) need_cg; echo "$CG";;
  kmsg) cat "$STATE/boot.log" "$STATE/kmsg";;
  mkroot) do_mkroot "$@";;
  __init) stage_init "$@";;
  __mount) stage_mount "$@";;
  *) sed -n '2,/^# shellcheck/{/^# shellcheck/!p}' "$SELF"; exit 2;;
esac
