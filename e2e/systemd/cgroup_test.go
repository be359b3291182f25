package systemd

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

const group = "/sys/fs/cgroup/system.slice/system-superctl.slice/" + unit

// groups lists the control groups below the group of the service.
func (s *Site) groups() []string {
	out := s.Run("find", group, "-mindepth", "1", "-type", "d", "-not", "-name", ".*", "-printf", "%P\n")
	names := strings.Fields(out.Stdout)
	slices.Sort(names)
	return names
}

func TestEachWorkerHasItsOwnControlGroup(t *testing.T) {
	s := newSite(t, Options{}, "r1", "r2")
	s.Start(t, "r1")
	st := s.Status(t)
	if g := st.Generations[0]; st.Containment != "control groups" || g.CPUSeconds == 0 || g.MemoryBytes == 0 {
		t.Errorf("%+v", st)
	}
	first := path.Dir(slices.Max(s.groups()))
	if got, want := s.groups(), []string{"supervisor", "workers", first, first + "/web.0"}; !slices.Equal(got, want) {
		t.Fatalf("control groups %q, want %q", got, want)
	}
	s.Superctl("switch", "r2").Want(0)
	harness.Eventually(t, "the old generation is gone", func() bool { return len(s.Status(t).Generations) == 1 })
	harness.Eventually(t, "its control group is gone", func() bool { return !slices.Contains(s.groups(), first) })
	daemon, workers := s.MainPID(t), s.workers(t)
	s.Signal("KILL")
	s.another(t, daemon)
	if got := s.groups(); len(got) != 4 || !slices.Equal(s.workers(t), workers) {
		t.Errorf("after a crash: control groups %q, workers %v became %v", got, workers, s.workers(t))
	}
	s.Run("systemctl", "stop", unit).Want(0)
	s.nothingLeft(t)
	if left := s.groups(); len(left) > 0 {
		t.Errorf("control groups are left over: %q", left)
	}
}

// Each leaves a process behind that ignores SIGTERM, has left its process group, and has no mark in
// its environment.
var escapes = map[string]string{
	"ignores SIGTERM": `import signal, time
for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)
while True: time.sleep(1000)`,
	"daemon": `import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os._exit(0)
while True: time.sleep(1000)`,
	"leaves its control group": `import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        own = open("/proc/self/cgroup").read().split("0::")[1].strip()
        open("/sys/fs/cgroup" + own.rsplit("/", 3)[0] + "/supervisor/cgroup.procs", "w").write("0")
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os._exit(0)
while True: time.sleep(1000)`,
	"fork bomb": `import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(8):
    if os.fork() == 0:
        os.setsid()
        for _ in range(100_000):
            if os.fork(): os._exit(0)
        os._exit(0)
while True: time.sleep(1000)`,
}

func TestNoChildOfAWorkerOutlivesItsDrainLimit(t *testing.T) {
	for name, program := range escapes {
		t.Run(name, func(t *testing.T) {
			s := escaping(t, program, Options{})
			harness.Eventually(t, "nothing of the program is left", func() bool { return s.escaped() == "" })
			s.Run("systemctl", "stop", unit).Want(0)
			s.nothingLeft(t)
		})
	}
}

func TestNoChildOfAHookOutlivesIt(t *testing.T) {
	s := newSite(t, Options{}, "r1", "r2")
	must(
		t,
		os.WriteFile(
			filepath.Join(s.dir, "srv", "odd.py"),
			[]byte(strings.ReplaceAll(escapes["daemon"], "while True: time.sleep(1000)", "")), 0o644,
		),
	)
	s.Start(t, "r1")
	s.Edit(t, "[process.web.health]", "[hooks]\nbefore = [\"python /srv/shop/odd.py\"]\n[process.web.health]")
	s.Superctl("switch", "r2").Want(0)
	if left := s.escaped(); left != "" {
		t.Errorf("left over:\n%s", left)
	}
	if groups := s.groups(); slices.Contains(groups, "workers/g0") {
		t.Errorf("control groups %q", groups)
	}
	s.Run("systemctl", "stop", unit).Want(0)
	s.nothingLeft(t)
}

// The fork bomb is left out: without a control group, processes that fork and exit faster than
// /proc can be read cannot be killed.
func TestWithoutDelegationNoChildOutlivesItsWorker(t *testing.T) {
	for _, name := range []string{"ignores SIGTERM", "daemon"} {
		t.Run(name, func(t *testing.T) {
			s := escaping(t, escapes[name], Options{Units: dropIn(t, "[Service]\nDelegate=no\n")})
			if st := s.Status(t); st.Containment != "process groups" {
				t.Errorf("contained in %s", st.Containment)
			}
			harness.Eventually(t, "nothing of the program is left", func() bool { return s.escaped() == "" })
			s.Run("systemctl", "stop", unit).Want(0)
			s.nothingLeft(t)
		})
	}
}

// escaping returns a site after a switch from a release with a process that runs the program to one
// without it.
func escaping(t *testing.T, program string, opt Options) *Site {
	t.Helper()
	s := newSite(t, opt, "r1", "r2")
	must(t, os.WriteFile(filepath.Join(s.dir, "srv", "odd.py"), []byte(program), 0o644))
	const process = "[process.odd]\ncommand = \"python /srv/shop/odd.py\"\ndrain = \"1s\"\n"
	s.Edit(t, "[process.web.health]", process+"[process.web.health]")
	s.Start(t, "r1")
	if s.escaped() == "" {
		t.Fatal("the program does not run")
	}
	s.Edit(t, process, "")
	requests := s.Load(t)
	s.Superctl("switch", "r2").Want(0)
	harness.Eventually(t, "the old generation is gone", func() bool { return len(s.Status(t).Generations) == 1 })
	s.lossless(t, requests)
	return s
}

// escaped lists the running processes of the program.
func (s *Site) escaped() string {
	return s.Run("pgrep", "--uid", "shop", "--full", "--list-full", "odd.py|sleep 1000").Stdout
}

// If a controller is enabled for the workers' groups, systemd cannot start the daemon in the group
// of the service. superctl disables the controller in time or, with systemd 254 and newer, the
// daemon starts in the supervisor group; older versions ignore this drop-in.
func TestADaemonRestartsWithControllersEnabled(t *testing.T) {
	for name, units := range map[string][]Bind{
		"by superctl itself": nil,
		"by DelegateSubgroup": {{
			From: filepath.Join(sources(), "..", "..", "packaging", "systemd", "examples", "systemd-254.conf"),
			To:   "/etc/systemd/system/superctl@.service.d/systemd-254.conf",
		}},
	} {
		t.Run(name, func(t *testing.T) { startedAgainWithControllers(t, Options{Alone: true, Units: units}) })
	}
}

func startedAgainWithControllers(t *testing.T, opt Options) {
	s := newSite(t, opt, "r1", "r2")
	s.Run("systemctl", "start", unit).Want(0)
	for _, dir := range []string{
		"/sys/fs/cgroup", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/system.slice/system-superctl.slice",
	} {
		s.Run(
			"sh", "-c", "for c in $(cat "+dir+"/cgroup.controllers); do echo +$c >"+dir+"/cgroup.subtree_control; done",
		).Want(0)
	}
	s.Superctl("switch", "r1").Want(0)
	on := func() string { return strings.TrimSpace(s.Run("cat", group+"/cgroup.subtree_control").Stdout) }
	if on() == "" {
		t.Skip("needs a controller that cgroup2 may have: all of this machine's are cgroup1's")
	}
	requests := s.Load(t)
	workers, daemon := s.workers(t), s.MainPID(t)
	for range 3 {
		s.Signal("KILL")
		daemon = s.another(t, daemon)
	}
	s.Run("systemctl", "restart", unit).Want(0)
	s.another(t, daemon)
	if now := s.workers(t); !slices.Equal(now, workers) {
		t.Errorf("workers %v became %v", workers, now)
	}
	s.Superctl("switch", "r2").Want(0)
	s.lossless(t, requests)
	if on() == "" {
		t.Error("the controllers were not turned on again")
	}
}
