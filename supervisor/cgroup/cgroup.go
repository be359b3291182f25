// Package cgroup keeps each worker in its own control group, below the one that systemd delegated
// to the service (Delegate=yes): workers/gN/PROCESS.INSTANCE for a worker of generation N, and one
// group for the daemon itself, because a group whose children have controllers must not contain
// processes (cgroups(7), "no internal processes"). What limits all workers together is set on the
// group of the workers, so that some of the unit's limits is left for the daemon.
//
// A process cannot leave its group by forking, starting a session or changing its environment, so
// cgroup.kill ends a whole worker at once. Without delegation there is no Tree, and a nil *Tree
// does nothing.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"superctl/proc"

	"golang.org/x/sys/unix"
)

const (
	// daemonGroup is the daemon's group; systemd 254 and later start it there (DelegateSubgroup=).
	daemonGroup = "supervisor"
	// workersGroup holds the groups of all generations. Earlier daemons had them in the tree
	// itself.
	workersGroup = "workers"
	// controlGroup is where systemd runs ExecReload= and ExecStopPost= of a delegated service.
	controlGroup = ".control"
	// delegateXattr is the extended attribute by which systemd marks a delegated group
	// (systemd.resource-control(5), Delegate=).
	delegateXattr = "user.delegate"
)

// ErrNotDelegated is the error when systemd delegated no group to this process.
var ErrNotDelegated = errors.New("no control group is delegated to the daemon (Delegate=yes in the unit)")

// Tree is the delegated group and the groups below it.
type Tree struct {
	dir  string
	mu   sync.Mutex      // serializes creating and removing groups
	made map[string]bool // guarded by mu: the groups of workers and commands
}

// Limits are the resource limits of a worker and its children. 0 = no limit.
type Limits struct {
	MemoryMax uint64 // bytes; memory.max
	CPUWeight uint64 // 1 to 10,000, default 100; cpu.weight
}

// Find returns the group delegated to this process. The error is ErrNotDelegated if there is none.
func Find() (*Tree, error) {
	path, err := groupOf(os.Getpid())
	if err != nil {
		return nil, err
	}
	mount, root, err := findMount()
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
	return Open(dir)
}

// Open returns the tree below a group, which must be marked as delegated.
func Open(dir string) (*Tree, error) {
	var mark [1]byte
	n, err := unix.Getxattr(dir, delegateXattr, mark[:])
	if err != nil || n != 1 || mark[0] != '1' {
		return nil, ErrNotDelegated
	}
	return &Tree{dir: dir, made: make(map[string]bool)}, nil
}

// groupOf returns the group of a process in the unified hierarchy.
func groupOf(pid int) (string, error) {
	groups, err := proc.Cgroups(pid)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(groups, func(g proc.Cgroup) bool { return g.Unified })
	if i < 0 {
		return "", ErrNotDelegated
	}
	return groups[i].Path, nil
}

// findMount returns where the unified hierarchy is mounted, and which group is its root there.
func findMount() (mount, root string, err error) {
	mounts, err := proc.Mounts()
	if err != nil {
		return "", "", err
	}
	i := slices.IndexFunc(mounts, func(m proc.Mount) bool { return m.Type == "cgroup2" })
	if i < 0 {
		return "", "", ErrNotDelegated
	}
	return mounts[i].Point, mounts[i].Root, nil
}

// Enter moves this process into the daemon's group.
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

// Make creates the group of a worker, or reuses an existing one, sets its limits and returns its
// directory. If the controller of a limit is not available, it returns the directory together with
// the error.
func (t *Tree) Make(gen int, worker string, l Limits) (string, error) {
	if t == nil {
		return "", nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	dir := t.dir
	for _, name := range []string{workersGroup, "g" + strconv.Itoa(gen), worker} {
		dir = filepath.Join(dir, name)
		if err := makeGroup(dir); err != nil {
			return "", err
		}
	}
	t.made[dir] = true
	return dir, t.limit(dir, l)
}

// Limit sets the limits of a group again: after a crash of the daemon its controllers were off for
// a moment (see DisableControllers).
func (t *Tree) Limit(dir string, l Limits) error {
	if t == nil || dir == "" {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.limit(dir, l)
}

func (t *Tree) limit(dir string, l Limits) error {
	enableControllers(t.dir)
	enableControllers(filepath.Join(t.dir, workersGroup))
	enableControllers(filepath.Dir(dir))
	return errors.Join(
		t.limitTasks(),
		setLimit(dir, "memory.max", l.MemoryMax),
		setLimit(dir, "cpu.weight", l.CPUWeight),
	)
}

func setLimit(dir, file string, value uint64) error {
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

// GroupOf returns the group of a worker that an earlier daemon started, or "" if it is not in this
// tree. From then on the group counts as a worker's (see Worker).
func (t *Tree) GroupOf(pid int) string {
	if t == nil {
		return ""
	}
	path, err := groupOf(pid)
	if err != nil {
		return ""
	}
	mount, root, err := findMount()
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

// isWorker reports whether a path below the tree is a worker's group.
func isWorker(rel string) bool {
	rel = strings.TrimPrefix(rel, workersGroup+"/")
	parent, name, ok := strings.Cut(rel, "/")
	return ok && strings.HasPrefix(parent, "g") && name != "" && !strings.Contains(name, "/")
}

// Sweep kills the processes in all workers' groups except the kept ones, and removes those groups.
func (t *Tree) Sweep(kept func(dir string) bool) error {
	if t == nil {
		return nil
	}
	var errs []error
	for _, dir := range t.find("g*", "*.*") {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() || kept(dir) {
			continue
		}
		errs = append(errs, Kill(dir), t.Remove(dir))
	}
	return errors.Join(errs...)
}

// find returns the groups below the workers' group, and below the tree itself, whose names match.
func (t *Tree) find(names ...string) []string {
	pattern := filepath.Join(names...)
	now, _ := filepath.Glob(filepath.Join(t.dir, workersGroup, pattern)) // fails for a bad pattern only
	earlier, _ := filepath.Glob(filepath.Join(t.dir, pattern))
	return append(now, earlier...)
}

// Remove removes a worker's group, which must be empty, and the groups above it that are empty
// then.
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
	for dir = filepath.Dir(dir); len(dir) > len(t.dir); dir = filepath.Dir(dir) {
		err := unix.Rmdir(dir)
		if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENOENT) {
			return nil // other workers
		}
		if err != nil {
			return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
	return nil
}

// removeAll removes a group and the groups that a worker created in it.
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

// DisableControllers turns all controllers off, so that systemd can start the daemon in the
// delegated group itself: with controllers on, each restart after a crash would fail with
// status=219/CGROUP (systemd before 254, which has DelegateSubgroup=).
func (t *Tree) DisableControllers() error {
	if t == nil {
		return nil
	}
	var errs []error
	for _, dir := range append(t.find("g*"), filepath.Join(t.dir, workersGroup), t.dir) {
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

// enableControllers turns on all available controllers for the groups below dir. It ignores errors:
// setLimit and ReadUsage report a missing controller.
func enableControllers(dir string) {
	there, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, c := range strings.Fields(string(there)) {
		_ = write(dir, "cgroup.subtree_control", "+"+c)
	}
}

func makeGroup(dir string) error {
	err := os.Mkdir(dir, 0o755) // the mode that the kernel gives to groups
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create control group: %w", err)
	}
	return nil
}

// write writes to an existing file of a group.
func write(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
