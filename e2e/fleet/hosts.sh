#!/usr/bin/env bash
# hosts.sh - a fleet on one machine: hosts web1..webN, each a real systemd as PID 1 with a real sshd,
# a journal, sudo and an address of its own, and the operator, who reaches them over a bridge: ssh,
# ansible, fab, salt-ssh and a load balancer run there.
#
#   hosts.sh up [N]             boot N hosts (default 3) and the operator
#   hosts.sh down               end everything; nothing is left on the machine
#   hosts.sh ctl CMD...         run CMD as the operator, for whom the names web1.. resolve
#   hosts.sh on HOST CMD...     run CMD on a host as root, without ssh: to look, or to break something
#   hosts.sh cut HOST           pull its cable: packets vanish, and ssh times out
#   hosts.sh refuse HOST        stop its sshd: new connections are refused, open ones stay
#   hosts.sh mend HOST          undo both
#   hosts.sh address HOST       print its address
#
# FLEET_DIR    where its files are: required, and absolute. `up` creates it, `down` empties it.
# FLEET_BINDS  "SRC[:DST] ..." files and directories that every host sees read-only
#
# The operator is a process with a network and a mount namespace of its own: its /etc/hosts and
# /etc/ssh/ssh_config are files of FLEET_DIR. No namespace has a name, and none has a way out, not
# even to this machine, so several fleets can run at once, and one ends with its processes.
#
# It needs root, what ../systemd/sandbox.sh needs, and Debian's iproute2, openssh-server,
# openssh-client and sudo (scripts/deps installs them).
set -euo pipefail

SELF=$(readlink -f "${BASH_SOURCE[0]}")
SANDBOX=${SELF%/*}/../systemd/sandbox.sh
NET=10.77.0
PATH=$PATH:/usr/sbin:/sbin

die() {
	echo "hosts.sh: $*" >&2
	exit 1
}

DIR=${FLEET_DIR:-}
[[ $DIR == /* ]] || die "FLEET_DIR must be an absolute path"

address() {
	local number=${1#web}
	[[ $number =~ ^[0-9]+$ ]] || die "$1 is not a host: they are web1, web2, ..."
	echo "$NET.$((10 + number))"
}

hosts() {
	[[ -s $DIR/count ]] || die "no fleet runs in $DIR: hosts.sh up"
	seq -f 'web%g' 1 "$(cat "$DIR/count")"
}

# The sandbox's name is the name of a control group of this machine.
box() {
	local host=$1
	shift
	SDBOX_NAME=${DIR##*/}-$host SDBOX_STATE=$DIR/box SDBOX_SIZE=1g SDBOX_TIMEOUT=60 \
		bash "$SANDBOX" "$@"
}

on() {
	local host=$1
	shift
	box "$host" exec -- "$@"
}

operator_pid() { cat "$DIR/operator.pid" 2>/dev/null || die "no fleet runs in $DIR: hosts.sh up"; }

ctl() { nsenter --target "$(operator_pid)" --net --mount --wdns="$PWD" -- "$@"; }

# The files by which the operator knows the hosts. All hosts have one host key.
files() {
	local h
	ssh-keygen -q -t ed25519 -N '' -C operator -f "$DIR/key"
	ssh-keygen -q -t ed25519 -N '' -C host -f "$DIR/host_key"
	{
		echo "127.0.0.1 localhost"
		echo "$NET.1 control"
		for h in "$@"; do echo "$(address "$h") $h"; done
	} >"$DIR/hosts"
	echo "web*,$NET.* $(cat "$DIR/host_key.pub")" >"$DIR/known_hosts"
	{
		echo "Host web* $NET.*"
		printf '  %s\n' "User deploy" "IdentityFile $DIR/key" "IdentitiesOnly yes" "UserKnownHostsFile $DIR/known_hosts" \
			"LogLevel ERROR" "KexAlgorithms curve25519-sha256" # the default one takes half a second of the processor
	} >"$DIR/ssh_config"
	cat >"$DIR/sshd_config" <<-END
		PasswordAuthentication no
		UsePAM yes
		PidFile none
		UseDNS no
		Subsystem sftp internal-sftp
		MaxStartups 100
	END
	cat >"$DIR/sshd.service" <<-END
		[Service]
		RuntimeDirectory=sshd
		ExecStart=/usr/sbin/sshd -D -e -f /root/fleet/sshd_config
		KillMode=process
		Restart=on-failure
	END
}

# Becomes the operator: a process that holds the namespaces, and waits to be ended.
become_operator() {
	ip link set lo up
	ip link add br0 type bridge
	ip addr add "$NET.1/24" dev br0
	ip link set br0 up
	mount --bind "$DIR/hosts" /etc/hosts
	mount --bind "$DIR/ssh_config" /etc/ssh/ssh_config
	[[ ! -e /etc/resolv.conf ]] || mount --bind /dev/null /etc/resolv.conf
	echo $$ >"$DIR/operator.pid"
	exec sleep infinity
}

start_operator() {
	setsid -f unshare --net --mount --propagation private bash "$SELF" __operator </dev/null >>"$DIR/operator.log" 2>&1
	for _ in $(seq 100); do
		[[ ! -s $DIR/operator.pid ]] || return 0
		sleep .05
	done
	die "the operator's namespaces: $(cat "$DIR/operator.log")"
}

boot() {
	local host=$1 b binds=() pid
	for b in ${FLEET_BINDS:-}; do binds+=(--bind-ro "$b"); done
	for b in key.pub host_key sshd_config sshd.service hosts; do binds+=(--bind-ro "$DIR/$b:/root/fleet/$b"); done
	box "$host" start --private-net "${binds[@]}"
	pid=$(box "$host" pid)
	ctl ip link add "$host" type veth peer name eth0 netns "$pid"
	ctl ip link set "$host" master br0 up
	nsenter --target "$pid" --net ip addr add "$(address "$host")/24" dev eth0
	nsenter --target "$pid" --net ip link set eth0 up
	# shellcheck disable=SC2016 # expanded on the host
	on "$host" bash -euc '
		hostname "$1"; echo "$1" >/etc/hostname; cat /root/fleet/hosts >/etc/hosts
		useradd --create-home --shell /bin/bash deploy
		echo "deploy ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/deploy
		chmod 440 /etc/sudoers.d/deploy
		install -d -m 700 -o deploy -g deploy /home/deploy/.ssh
		install -m 600 -o deploy -g deploy /root/fleet/key.pub /home/deploy/.ssh/authorized_keys
		rm -f /etc/ssh/ssh_host_*
		install -m 600 /root/fleet/host_key /etc/ssh/ssh_host_ed25519_key
		install -m 644 /root/fleet/sshd.service /etc/systemd/system/sshd.service
		systemctl daemon-reload
		systemctl start sshd
	' bash "$host"
}

# Waits until the operator reaches a host; sshd listens a moment after systemd has started it.
await_ssh() {
	local said
	for _ in $(seq 100); do
		said=$(ctl ssh -o BatchMode=yes -o ConnectTimeout=5 "$1" sudo -n hostname 2>&1) && return
		sleep .1
	done
	die "$1 does not answer over ssh: $said"
}

up() {
	[[ $EUID == 0 ]] || die "only root can boot hosts"
	[[ ! -e $DIR/count ]] || die "a fleet runs in $DIR: hosts.sh down"
	local h all boots=() pid
	mkdir -p "$DIR"
	echo "${1:-3}" >"$DIR/count"
	mapfile -t all < <(hosts)
	files "${all[@]}"
	start_operator
	for h in "${all[@]}"; do
		boot "$h" &
		boots+=($!)
	done
	for pid in "${boots[@]}"; do wait "$pid" || die "a host did not boot"; done
	for h in "${all[@]}"; do await_ssh "$h"; done
}

# Ends the operator and all that it has started, such as the master connections of ssh.
end_operator() {
	local namespace pid process
	pid=$(operator_pid)
	namespace=$(readlink "/proc/$pid/ns/net") || return 0 # it has ended
	for _ in $(seq 100); do
		for process in /proc/[0-9]*; do
			[[ $(readlink "$process/ns/net" 2>/dev/null) != "$namespace" ]] || kill "${process#/proc/}" 2>/dev/null || true
		done
		[[ $(readlink "/proc/$pid/ns/net" 2>/dev/null) == "$namespace" ]] || return 0
		sleep .05
	done
	die "the operator does not end"
}

down() {
	local h pid ends=()
	if [[ -s $DIR/count ]]; then
		for h in $(hosts); do
			box "$h" stop &
			ends+=($!)
		done
		for pid in "${ends[@]}"; do wait "$pid" || die "a host did not end"; done
	fi
	if [[ -s $DIR/operator.pid ]]; then end_operator; fi
	rm -rf "${DIR:?}"/{box,count,hosts,operator.pid,operator.log,key,key.pub,host_key,host_key.pub,known_hosts} \
		"${DIR:?}"/{ssh_config,sshd_config,sshd.service}
}

mend() {
	ctl ip link set "$1" up
	on "$1" systemctl start sshd
	await_ssh "$1"
}

command=${1:-}
(($# == 0)) || shift
case $command in
up) up "$@" ;;
down) down ;;
ctl) exec nsenter --target "$(operator_pid)" --net --mount --wdns="$PWD" -- "$@" ;; # one process, which a caller can kill
on) on "$@" ;;
cut) ctl ip link set "$1" down ;;
refuse) on "$1" systemctl stop sshd ;;
mend) mend "$1" ;;
address) address "$1" ;;
__operator) become_operator ;;
*)
	sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' "$SELF"
	exit 2
	;;
esac
