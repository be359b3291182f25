package worker

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"superctl/proc"
	"superctl/supervisor/cgroup"
)

func TestAStrayIsWhatNoRunningWorkerCanHaveStarted(t *testing.T) {
	const web, hook = "/tree/g2/web.0", "/tree/g0/hook.0"
	worker := func(dir string) string {
		for _, of := range []string{web, hook} {
			if dir == of || strings.HasPrefix(dir, of+"/") {
				return of
			}
		}
		return ""
	}
	born := map[string]uint64{web: 50}
	for _, tt := range []struct {
		name    string
		all     []proc.Stat
		dir     string
		trusted bool
		want    []int
	}{
		{"a worker, and what it has started", []proc.Stat{{PID: 100, Start: 50}, {PID: 101, Start: 51}}, web, false, nil},
		{
			"a process in a group that a worker has made in its own",
			[]proc.Stat{{PID: 101, Start: 51}},
			web + "/mine",
			false, nil,
		},
		{
			"a process in a worker's group that is older than the worker",
			[]proc.Stat{{PID: 90, Start: 49}},
			web, false,
			[]int{90},
		},
		{"a command in its group", []proc.Stat{{PID: 120, Start: 40}}, hook, false, nil},
		{"a process in the daemon's group", []proc.Stat{{PID: 90, Start: 49}}, "/tree/supervisor", false, []int{90}},
		{"systemd's command in its group", []proc.Stat{{PID: 90, Start: 49}}, "/tree/.control", true, nil},
		{"a process in the tree itself", []proc.Stat{{PID: 90, Start: 49}}, "/tree", false, []int{90}},
		{"a process in a group of its own making", []proc.Stat{{PID: 90, Start: 49}}, "/tree/g2/web.7", false, []int{90}},
		{"its zombie", []proc.Stat{{PID: 90, Start: 49, State: 'Z'}}, "/tree/supervisor", false, nil},
		{"this process", []proc.Stat{{PID: os.Getpid(), Start: 10}}, "/tree/supervisor", false, nil},
		{"a process outside of the tree", []proc.Stat{{PID: 90, Start: 49}}, "", false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			members := make(map[int]string)
			for _, s := range tt.all {
				if tt.dir != "" {
					members[s.PID] = tt.dir
				}
			}
			got := scan{all: tt.all}.strays(members, worker, born, func(proc.Stat) bool { return !tt.trusted })
			if !slices.Equal(pidsOf(got), tt.want) {
				t.Errorf("strays are %v, want %v", pidsOf(got), tt.want)
			}
		})
	}
}

// stray is what a worker has started that nothing about itself tells: no environment, a session of
// its own and another parent.
const stray = `(setsid env -i /bin/sh -c 'echo $$ >> "$0"; exec /bin/sleep 1000' "$0" &); read _ < "$0.hold"`

// straying starts a worker that has left a stray behind, and returns both.
func straying(t *testing.T, script, group string) (*Worker, int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pids")
	if err := unix.Mkfifo(path+".hold", 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Start(t.Context(), Spec{
		App: "shop", Process: "web", Command: []string{"/bin/sh", "-c", script, path}, Dir: "/", Cgroup: group,
		Env: []string{"PATH=/usr/bin:/bin", "TREE=" + filepath.Dir(filepath.Dir(filepath.Dir(group)))},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, w) })
	pid := started(t, path, 1)[0]
	t.Cleanup(func() { _ = unix.Kill(pid, unix.SIGKILL) })
	return w, pid
}

func end(t *testing.T, w *Worker) {
	t.Helper()
	if err := w.KillAll(); err != nil {
		t.Error(err)
	}
	<-w.Done()
}

func TestAnOrphanEndsThatIsOlderThanAllThatRuns(t *testing.T) {
	if err := AdoptOrphans(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil {
			t.Error(err)
		}
	}()
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	first, left := straying(t, stray, "")
	old, err := startTime(left)
	if err != nil {
		t.Fatal(err)
	}
	next, kept := straying(t, stray, "")
	for next.StartTime() <= old { // in the same tick of the clock
		end(t, next)
		next, kept = straying(t, stray, "")
	}
	if err := EndStrays(nil, []Running{{Start: first.StartTime()}, {Start: next.StartTime()}}); err != nil {
		t.Fatal(err)
	}
	if gone(left) {
		t.Error("it was ended while its worker runs")
	}
	end(t, first)
	if gone(left) {
		t.Fatal("the hunt for the worker's family finds it: this test needs a better stray")
	}
	if err := EndStrays(nil, []Running{{Start: next.StartTime()}}); err != nil {
		t.Fatal(err)
	}
	if !gone(left) || gone(kept) || gone(next.PID()) {
		t.Errorf(
			"the stray has ended: %v, that of the worker that runs: %v, this worker: %v", gone(left), gone(kept),
			gone(next.PID()),
		)
	}
	reap()
}

// tree is a real group of this machine, marked as systemd marks one that it delegates.
func tree(t *testing.T) (*cgroup.Tree, string) {
	t.Helper()
	mounts, err := proc.Mounts()
	if err != nil {
		t.Fatal(err)
	}
	var dir string
	if i := slices.IndexFunc(mounts, func(m proc.Mount) bool { return m.Type == "cgroup2" }); i >= 0 {
		dir, err = os.MkdirTemp(mounts[i].Point, "superctl-test")
	}
	if dir == "" || err != nil {
		t.Skip("needs a cgroup2 mount that can be written: ", err)
	}
	t.Cleanup(func() {
		if err := cgroup.Kill(dir); err != nil {
			t.Error(err)
		}
		removeGroups(t, dir)
	})
	if err := unix.Setxattr(dir, "user.delegate", []byte("1"), 0); err != nil {
		t.Skip("needs a cgroup2 mount with extended attributes: ", err)
	}
	groups, err := cgroup.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return groups, dir
}

func removeGroups(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			removeGroups(t, filepath.Join(dir, e.Name()))
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Error(err)
	}
}

func TestAProcessThatLeavesItsControlGroupEndsWithItsWorker(t *testing.T) {
	t.Setenv(invocationVar, "1b4e28ba2fa111d2883f0016d3cca427")
	for _, where := range []string{"supervisor", "workers/g1/other", "", "workers/g2/web.0"} {
		t.Run("to the group "+where, func(t *testing.T) {
			groups, dir := tree(t)
			makeGroup := func(gen int) string {
				group, err := groups.Make(gen, "web.0", cgroup.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				return group
			}
			if err := os.Mkdir(filepath.Join(dir, "supervisor"), 0o755); err != nil {
				t.Fatal(err)
			}
			moves := fmt.Sprintf(
				`mkdir -p "$TREE/%[1]s"; (setsid sh -c 'echo 0 > "$TREE/%[1]s/cgroup.procs"; echo $$ >> "$0"; exec env -i /bin/sleep 1000' "$0" &); read _ < "$0.hold"`,
				where,
			)
			home := makeGroup(1)
			first, left := straying(t, moves, home)
			old, err := startTime(left)
			if err != nil {
				t.Fatal(err)
			}
			group := makeGroup(2)
			next, kept := straying(t, stray, group)
			for next.StartTime() <= old { // in the same tick of the clock
				end(t, next)
				next, kept = straying(t, stray, group)
			}
			end(t, first)
			if where == "supervisor" && gone(left) {
				t.Error("the hunt for the worker's family finds it: this test needs a better stray")
			}
			if err := EndStrays(groups, []Running{{Start: next.StartTime(), Cgroup: group}}); err != nil {
				t.Fatal(err)
			}
			if !gone(left) || gone(kept) || gone(next.PID()) {
				t.Errorf(
					"the stray has ended: %v, that of the worker that runs: %v, this worker: %v", gone(left),
					gone(kept), gone(next.PID()),
				)
			}
		})
	}
}

// With a daemon of root's and `user` in the config the tree is root's: the kernel keeps the app in
// its groups.
func TestAWorkerOfAnotherUserCannotLeaveItsControlGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to start a worker as another user")
	}
	groups, dir := tree(t)
	if err := os.Mkdir(filepath.Join(dir, "supervisor"), 0o755); err != nil {
		t.Fatal(err)
	}
	home, err := groups.Make(1, "web.0", cgroup.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	script := `{ echo 0 > "$TREE/supervisor/cgroup.procs" || mkdir "$TREE/workers/g1/web.0/mine" || mkdir "$TREE/mine"; } 2>/dev/null && echo moved || echo stayed`
	w, lines := runScript(
		t,
		Spec{Cgroup: home, Env: []string{"PATH=/bin", "TREE=" + dir}, Dir: "/", User: &Credential{
			UID: 65534, GID: 65534,
		}},
		script,
	)
	if !slices.Equal(lines, []string{"stayed"}) {
		t.Errorf("%q (%s)", lines, w.Exit())
	}
}

func TestWhatSystemdRunsInTheTreeIsNoStray(t *testing.T) {
	t.Setenv(invocationVar, "1b4e28ba2fa111d2883f0016d3cca427")
	groups, dir := tree(t)
	control := filepath.Join(dir, ".control")
	if err := os.Mkdir(control, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pids")
	// By a process that this package knows nothing of, as of systemd's.
	attr := &os.ProcAttr{Env: append(os.Environ(), "GROUP="+control)}
	p, err := os.StartProcess(
		"/bin/sh", []string{"sh", "-c", `echo 0 > "$GROUP/cgroup.procs"; echo $$ >> "$0"; exec /bin/sleep 1000`, path},
		attr,
	)
	if err != nil {
		t.Fatal(err)
	}
	pid := started(t, path, 1)[0]
	if err := EndStrays(groups, nil); err != nil {
		t.Error(err)
	}
	if gone(pid) {
		t.Error("it was ended")
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if members, err := groups.Members(); err != nil || len(members) == 0 {
			break
		}
	}
}
