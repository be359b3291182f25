// Package cgroup keeps each worker in a control group of its own, below the one that systemd has handed to the service
// (Delegate=yes): gN/PROCESS.INSTANCE for a worker of generation N, and one group for the daemon itself, because a group
// with controllers for its children must not have processes of its own (cgroups(7), "no internal processes").
//
// What is in a group cannot leave it by forking, by a session of its own or by changing its environment, so that cgroup.kill
// ends all of it at once. Where nothing is delegated there is no Tree, and a nil *Tree does nothing.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// daemonGroup is where the daemon is; DelegateSubgroup= of systemd 254 starts it there.
	daemonGroup = "supervisor"
	// controlGroup is where systemd runs ExecReload= and ExecStopPost= of a service that is delegated.
	controlGroup = ".control"
	// delegated is what systemd marks a group with that it has handed over (systemd.resource-control(5), Delegate=).
	delegated = "user.delegate"
)

// ErrNotDelegated says that there is no group which this process may divide.
var ErrNotDelegated = errors.New("no control group is delegated to the daemon (Delegate=yes in the unit)")

// Tree is the delegated group.
type Tree struct {
	dir  string
	mu   sync.Mutex      // between the making of a group and the removal of one
	made map[string]bool // the workers' and commands' groups; guarded by mu
}

// Limits are what the kernel holds a worker and all that it starts to. 0 = none.
type Limits struct {
	MemoryMax uint64 // bytes; memory.max
	CPUWeight uint64 // 1 to 10,000, where 100 is everybody's; cpu.weight
}

// Find finds the group that is delegated to this process. The error is ErrNotDelegated where there is none.
func Find() (*Tree, error) {
	path, err := groupOf("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	mount, root, err := mounted()
	if err != nil {
		return nil, err
	}
	below, err := filepath.Rel(root, path)
	if err != nil || strings.HasPrefix(below, "..") {
		return nil, ErrNotDelegated
	}
	dir := filepath.Join(mount, below)
	if name := filepath.Base(dir); name == daemonGroup || name == controlGroup {
		dir = filepath.Dir(dir)
	}
	return At(dir)
}

// At is the tree below a group, which must be marked as delegated.
func At(dir string) (*Tree, error) {
	var mark [1]byte
	n, err := unix.Getxattr(dir, delegated, mark[:])
	if err != nil || n != 1 || mark[0] != '1' {
		return nil, ErrNotDelegated
	}
	return &Tree{dir: dir, made: make(map[string]bool)}, nil
}

// groupOf reads the group in the unified hierarchy out of a proc_pid_cgroup file.
func groupOf(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n"), nil
		}
	}
	return "", ErrNotDelegated
}

// mounted is where the unified hierarchy is mounted, and which group is seen there (proc_pid_mountinfo(5)).
func mounted() (mount, root string, err error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(data)) {
		what, fstype, ok := strings.Cut(line, " - ")
		f := strings.Fields(what)
		if ok && strings.HasPrefix(fstype, "cgroup2 ") && len(f) > 4 {
			return f[4], f[3], nil
		}
	}
	return "", "", ErrNotDelegated
}

// Enter moves this process into the daemon's own group.
func (t *Tree) Enter() error {
	if t == nil {
		return nil
	}
	dir := filepath.Join(t.dir, daemonGroup)
	if err := makeGroup(dir); err != nil {
		return err
	}
	return Join(dir)
}

// Join moves this process into a group.
func Join(dir string) error {
	if err := write(dir, "cgroup.procs", "0"); err != nil {
		return fmt.Errorf("enter control group: %w", err)
	}
	return nil
}

// Make makes the group of a worker, or takes the one that is there, and sets its limits. A limit whose controller is not
// available is an error, but the group is there all the same. It returns the group's directory.
func (t *Tree) Make(gen int, worker string, l Limits) (string, error) {
	if t == nil {
		return "", nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	parent := filepath.Join(t.dir, "g"+strconv.Itoa(gen))
	dir := filepath.Join(parent, worker)
	if err := makeGroup(parent); err != nil {
		return "", err
	}
	if err := makeGroup(dir); err != nil {
		return "", err
	}
	t.made[dir] = true
	return dir, t.limit(dir, l)
}

// Limit sets the limits of a group anew: after a crash of the daemon its controllers were off for a moment (see Release).
func (t *Tree) Limit(dir string, l Limits) error {
	if t == nil || dir == "" {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.limit(dir, l)
}

func (t *Tree) limit(dir string, l Limits) error {
	enable(t.dir)
	enable(filepath.Dir(dir))
	return errors.Join(
		set(dir, "memory.max", l.MemoryMax),
		set(dir, "cpu.weight", l.CPUWeight),
	)
}

func set(dir, file string, value uint64) error {
	if value == 0 {
		return nil
	}
	err := write(dir, file, strconv.FormatUint(value, 10))
	if errors.Is(err, fs.ErrNotExist) {
		controller, _, _ := strings.Cut(file, ".")
		return fmt.Errorf("the %s controller is not available, so that %s is not limited", controller, file)
	}
	return err
}

// Of is the group of a worker that an earlier daemon has started, or "" when it is in none of this tree. From then on the group
// is a worker's (see Worker).
func (t *Tree) Of(pid int) string {
	if t == nil {
		return ""
	}
	path, err := groupOf(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	mount, root, err := mounted()
	if err != nil {
		return ""
	}
	below, err := filepath.Rel(root, path)
	if err != nil {
		return ""
	}
	dir := filepath.Join(mount, below)
	if rel, err := filepath.Rel(t.dir, dir); err != nil || !isWorker(rel) {
		return ""
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.made[dir] = true
	return dir
}

// isWorker tells whether a path below the tree is that of a worker's group.
func isWorker(rel string) bool {
	parent, name, ok := strings.Cut(rel, "/")
	return ok && strings.HasPrefix(parent, "g") && name != "" && !strings.Contains(name, "/")
}

// Sweep ends all that is in a worker's group which is not kept, and removes it.
func (t *Tree) Sweep(kept func(dir string) bool) error {
	if t == nil {
		return nil
	}
	all, err := filepath.Glob(filepath.Join(t.dir, "g*", "*.*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range all {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() || kept(dir) {
			continue
		}
		errs = append(errs, Kill(dir), t.Remove(dir))
	}
	return errors.Join(errs...)
}

// Remove removes a worker's group, which must be empty, and that of its generation when it was the last.
func (t *Tree) Remove(dir string) error {
	if t == nil || dir == "" {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := removeAll(dir); err != nil {
		return fmt.Errorf("remove control group: %w", err)
	}
	delete(t.made, dir)
	err := unix.Rmdir(filepath.Dir(dir))
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOENT) {
		return nil // other workers of the generation
	}
	return err
}

// removeAll removes a group and those that a worker has made in it.
func removeAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}

// Release turns all controllers off, so that systemd can start the daemon in the group itself: with them on, each restart
// after a crash would fail with status=219/CGROUP (systemd before 254, which has DelegateSubgroup=).
func (t *Tree) Release() error {
	if t == nil {
		return nil
	}
	generations, err := filepath.Glob(filepath.Join(t.dir, "g*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range append(generations, t.dir) {
		on, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		if err != nil {
			continue
		}
		for _, c := range strings.Fields(string(on)) {
			errs = append(errs, write(dir, "cgroup.subtree_control", "-"+c))
		}
	}
	return errors.Join(errs...)
}

// enable turns on what there is of controllers for the groups below dir. One that cannot be turned on is missed by who
// needs it, in set and in Use.
func enable(dir string) {
	there, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, c := range strings.Fields(string(there)) {
		_ = write(dir, "cgroup.subtree_control", "+"+c)
	}
}

func makeGroup(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as the kernel makes them
		return fmt.Errorf("make control group: %w", err)
	}
	return nil
}

// write writes into a file of a group. It never makes one.
func write(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
