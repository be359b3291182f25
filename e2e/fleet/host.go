package fleet

import (
	"strings"

	"superctl/e2e/harness"
)

// Host is one server of the fleet.
type Host struct {
	Name    string // web1, ...: its host name, and what the operator calls it
	Address string
	fleet   *Fleet
	first   int // the live generation after Reset
}

// Run starts a command on the host as root, without ssh.
func (h *Host) Run(t harness.T, args ...string) *Command {
	t.Helper()
	return h.fleet.begin(t, h.Name+": "+strings.Join(args, " "), append([]string{"on", h.Name}, args...)...)
}

// Superctl starts superctl on the host as root, without ssh.
func (h *Host) Superctl(t harness.T, args ...string) *Command {
	t.Helper()
	return h.Run(t, append([]string{"superctl", "--app", app}, args...)...)
}

// SSH starts a command on the host over the operator's ssh, as a user who may use sudo.
func (h *Host) SSH(t harness.T, command string) *Command {
	t.Helper()
	return h.fleet.Operator(t, "ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "ServerAliveInterval=1", "-o",
		"ServerAliveCountMax=3", h.Name, command)
}

// Status returns the status of the host's site.
func (h *Host) Status(t harness.T) (st harness.Status) {
	t.Helper()
	h.Superctl(t, "status", "--json").Want(0).JSON(&st)
	return st
}

// Read returns a file of the host.
func (h *Host) Read(t harness.T, path string) string {
	t.Helper()
	return h.Run(t, "cat", path).Want(0).Stdout()
}

// Write writes a file on the host, which everybody may read.
func (h *Host) Write(t harness.T, path, text string) {
	t.Helper()
	h.Run(t, "sh", "-c", `mkdir -p "$(dirname "$1")" && cat >"$1"`, "sh", path).Type(text).Want(0)
}

// Fault makes a release misbehave on this host: it refuses to start ("refuse"), does not become
// ready ("hang"), or fails its health check once it has answered a request ("fade").
func (h *Host) Fault(t harness.T, release, fault string) {
	t.Helper()
	h.Run(t, "sh", "-c", `echo "$2" >/srv/shop/fault-"$1"`, "sh", release, fault).Want(0)
}

// Cut pulls the host's cable.
func (h *Host) Cut(t harness.T) {
	t.Helper()
	must(t, h.fleet.script("cut", h.Name))
}

// Refuse stops the host's sshd: new connections are refused, and open ones stay.
func (h *Host) Refuse(t harness.T) {
	t.Helper()
	must(t, h.fleet.script("refuse", h.Name))
}

// Mend undoes Cut and Refuse.
func (h *Host) Mend(t harness.T) {
	t.Helper()
	must(t, h.fleet.script("mend", h.Name))
}
