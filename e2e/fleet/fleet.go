// Package fleet runs superctl on several hosts, and the tools that operators use on them, for the
// end-to-end tests.
//
// The hosts are real systemds with a real sshd, booted in namespaces of this machine by hosts.sh.
// The operator has namespaces of its own, from which only the hosts can be reached. The fleet is
// booted once for the package, and each test begins on hosts that Reset has put back.
//
// It needs root; systemd.Unavailable reports what is missing.
package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"superctl/e2e/harness"
)

// Fleet is a set of hosts and their operator.
type Fleet struct {
	Hosts []*Host // web1, web2, ...
	Dir   string  // of the fleet's files on this machine: the operator sees it at the same path

	env []string // of hosts.sh
}

// Bind is a file or directory of this machine that every host sees read-only.
type Bind struct{ From, To string }

// Boot boots n hosts. dir is an empty directory whose name is unique on this machine.
func Boot(dir string, n int, binds ...Bind) (*Fleet, error) {
	f := &Fleet{Dir: dir}
	list := make([]string, 0, len(binds))
	for _, b := range binds {
		list = append(list, b.From+":"+b.To)
	}
	f.env = append(os.Environ(), "FLEET_DIR="+dir, "FLEET_BINDS="+strings.Join(list, " "))
	if err := f.script("up", fmt.Sprint(n)); err != nil {
		return nil, fmt.Errorf("boot the hosts: %w", err)
	}
	for i := range n {
		f.Hosts = append(f.Hosts, &Host{Name: fmt.Sprintf("web%d", i+1), Address: fmt.Sprintf("10.77.0.%d", 11+i), fleet: f})
	}
	return f, nil
}

// Close ends the hosts and the operator.
func (f *Fleet) Close() error {
	if err := f.script("down"); err != nil {
		return fmt.Errorf("end the hosts: %w", err)
	}
	return nil
}

// script runs a command of hosts.sh that changes the fleet itself.
func (f *Fleet) script(args ...string) error {
	ctx, cancel := harness.Limited(context.Background())
	defer cancel()
	cmd := f.command(ctx, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("hosts.sh %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (f *Fleet) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(sources(), "hosts.sh"), args...)
	cmd.Env = f.env
	return cmd
}

// Operator starts a command in the operator's namespaces, as root.
func (f *Fleet) Operator(t harness.T, args ...string) *Command {
	t.Helper()
	return f.begin(t, strings.Join(args, " "), append([]string{"ctl"}, args...)...)
}

// Each calls do for every host, all at once, and ends the test if one of the calls failed it.
func (f *Fleet) Each(t harness.T, do func(*Host)) {
	t.Helper()
	var all sync.WaitGroup
	for _, h := range f.Hosts {
		all.Go(func() { do(h) })
	}
	if all.Wait(); t.Failed() {
		t.Fatalf("not on every host: see above")
	}
}

// statuses returns the status of each host, in order.
func (f *Fleet) statuses(t harness.T) []harness.Status {
	t.Helper()
	all := make([]harness.Status, len(f.Hosts))
	f.Each(t, func(h *Host) { all[slices.Index(f.Hosts, h)] = h.Status(t) })
	return all
}

// Live returns the live releases of the hosts, in order, such as "2 2 1".
func (f *Fleet) Live(t harness.T) string {
	t.Helper()
	live := make([]string, len(f.Hosts))
	for i, st := range f.statuses(t) {
		live[i] = st.Release
	}
	return strings.Join(live, " ")
}

// sources returns the directory of this file.
func sources() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

func must(t harness.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}
