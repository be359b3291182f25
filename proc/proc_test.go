package proc

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary is also the program whose files are read: it says that it runs, and waits for the
// end of its input.
func TestMain(m *testing.M) {
	switch what := os.Getenv("PROC_TEST"); what {
	case "":
		os.Exit(m.Run())
	case "waits":
		_, _ = os.Stdout.WriteString("runs\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
	default: // another user reads the files of the process that what names
		if HidesOthers() {
			_, _ = os.Stdout.WriteString("hidden\n")
		}
		_, err := Environ(os.Getppid())
		_, errFiles := Descriptors(os.Getppid())
		_, errExe := Exe(os.Getppid())
		forbidden := !slices.ContainsFunc([]error{err, errFiles, errExe}, func(err error) bool {
			return !errors.Is(err, fs.ErrPermission)
		})
		if forbidden {
			_, _ = os.Stdout.WriteString("forbidden\n")
		}
	}
}

// started is a process of the test binary, at a path of the test's choice.
func started(t *testing.T, path string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "one", "two words", "")
	if path != "" {
		program, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, program, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Path = path
	}
	cmd.Env, cmd.Dir = append(env, "PROC_TEST=waits"), t.TempDir()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	if _, err := io.ReadFull(out, make([]byte, len("runs\n"))); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestANameCanHoldAnyByte(t *testing.T) {
	const name = "a) Z 1\n(b\\"
	path := filepath.Join(t.TempDir(), name)
	pid := started(t, path).Process.Pid
	s, err := ReadStat(pid)
	if err != nil || s.PID != pid || s.Parent != os.Getpid() || s.Ended() || s.Start == 0 || s.RSS == 0 {
		t.Errorf("stat: %+v, %v", s, err)
	}
	if st, err := ReadStatus(pid); err != nil || st.UID != uint32(os.Geteuid()) || st.Memory == 0 {
		t.Errorf("status: %+v, %v", st, err)
	}
	if got, err := Name(pid); got != name || err != nil {
		t.Errorf("name: %q, %v", got, err)
	}
	if exe, err := Exe(pid); exe != path || err != nil {
		t.Errorf("program: %q, %v", exe, err)
	}
	if files, err := Mapped(pid); !slices.Contains(files, path) || err != nil {
		t.Errorf("mapped: %q, %v", files, err)
	}
}

func TestARemovedFileKeepsItsPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "program")
	cmd := started(t, path)
	for _, gone := range []string{path, cmd.Dir} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
	}
	pid := cmd.Process.Pid
	exe, errExe := Exe(pid)
	dir, errDir := Dir(pid)
	if exe != path || dir != cmd.Dir || errors.Join(errExe, errDir) != nil {
		t.Errorf("program %q, directory %q, %v, %v", exe, dir, errExe, errDir)
	}
	if files, err := Mapped(pid); !slices.Contains(files, path) || err != nil {
		t.Errorf("mapped: %q, %v", files, err)
	}
}

func TestAProcessIsAsItWasStarted(t *testing.T) {
	cmd := started(t, "", "EMPTY=", "A=b=c", "AB=d")
	pid := cmd.Process.Pid
	if args, err := Args(pid); err != nil || !slices.Equal(args[:3], cmd.Args[:3]) {
		t.Errorf("arguments: %q, %v", args, err)
	}
	env, err := Environ(pid)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"EMPTY": "", "A": "b=c", "AB": "d"} {
		if value, ok := env.Lookup(name); !ok || value != want {
			t.Errorf("%s: %q, %v", name, value, ok)
		}
	}
	if _, ok := env.Lookup("B"); ok {
		t.Error("B is set")
	}
	var names []string
	for name := range env.All() {
		names = append(names, name)
	}
	if want := []string{"EMPTY", "A", "AB", "PROC_TEST"}; !slices.Equal(names, want) {
		t.Errorf("variables: %q, want %q", names, want)
	}
	if pids, err := PIDs(); !slices.Contains(pids, pid) || !slices.Contains(pids, os.Getpid()) || err != nil {
		t.Errorf("all processes: %d, %v", pids, err)
	}
	if st, err := ReadStatus(pid); err != nil || !st.Handles(syscall.SIGTERM) || st.Handles(syscall.SIGKILL) {
		t.Errorf("a Go program handles SIGTERM, and none SIGKILL: %+v, %v", st, err)
	}
	threads, err := Threads(pid)
	if !slices.Contains(threads, pid) || err != nil {
		t.Errorf("threads: %d, %v", threads, err)
	}
	switches := 0 // a thread that has just begun has none
	for _, thread := range threads {
		st, err := ReadStatus(thread)
		if err != nil {
			t.Errorf("thread %d: %v", thread, err)
		}
		switches += st.Switches
	}
	if switches == 0 {
		t.Errorf("none of the threads %d was ever given a processor", threads)
	}
	if uid, err := UID(pid); uid != uint32(os.Geteuid()) || err != nil {
		t.Errorf("user %d, %v", uid, err)
	}
	if size, err := ProportionalSize(pid); size == 0 || err != nil {
		t.Errorf("proportional size %d, %v", size, err)
	}
}

func TestALongEnvironmentIsReadToItsEnd(t *testing.T) {
	var env []string
	for range 12 {
		env = append(env, "LONG="+strings.Repeat("x", 100_000))
	}
	got, err := Environ(started(t, "", env...).Process.Pid)
	if value, ok := got.Lookup("PROC_TEST"); value != "waits" || !ok || err != nil {
		t.Errorf("the last variable of %d bytes: %q, %v, %v", len(got), value, ok, err)
	}
}

func TestTheChildrenOfAProcessAreListed(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sleep 1000 & echo $!; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	list, err := Children(cmd.Process.Pid)
	if err != nil || len(list) != 1 {
		t.Fatalf("children %d, %v", list, err)
	}
	if s, err := ReadStat(list[0]); err != nil || s.Parent != cmd.Process.Pid || s.Group != cmd.Process.Pid {
		t.Errorf("child: %+v, %v", s, err)
	}
}

func TestAZombieHasNoProgramAndHasEnded(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if s, err := ReadStat(pid); err != nil || !s.Ended() {
		t.Errorf("stat: %+v, %v", s, err)
	}
	if st, err := ReadStatus(pid); err != nil || st.Memory != 0 {
		t.Errorf("status: %+v, %v", st, err)
	}
	if args, err := Args(pid); len(args) > 0 || err != nil {
		t.Errorf("arguments: %q, %v", args, err)
	}
	if env, err := Environ(pid); len(env) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("environment: %q, %v", env, err)
	}
	if _, err := Exe(pid); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("program: %v", err)
	}
	_ = cmd.Wait()
}

func TestAnEndedProcessDoesNotExist(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	for name, read := range map[string]func() error{
		"stat":        func() error { _, err := ReadStat(pid); return err },
		"status":      func() error { _, err := ReadStatus(pid); return err },
		"name":        func() error { _, err := Name(pid); return err },
		"arguments":   func() error { _, err := Args(pid); return err },
		"environment": func() error { _, err := Environ(pid); return err },
		"program":     func() error { _, err := Exe(pid); return err },
		"descriptors": func() error { _, err := Descriptors(pid); return err },
		"mapped":      func() error { _, err := Mapped(pid); return err },
		"cgroups":     func() error { _, err := Cgroups(pid); return err },
		"children":    func() error { _, err := Children(pid); return err },
		"user":        func() error { _, err := UID(pid); return err },
		"listeners":   func() error { _, err := Listeners(pid); return err },
	} {
		if err := read(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A process can end between the open of its file and the read, which then fails with ESRCH.
func TestAProcessThatEndsWhileItIsReadDoesNotExist(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(Path(cmd.Process.Pid, "stat"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if _, err = f.Read(make([]byte, 1)); err == nil || !errors.Is(gone(err), fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestAnotherUsersProcessIsForbidden(t *testing.T) {
	if out := asOther(t, ""); out != "forbidden\n" {
		t.Errorf("%q", out)
	}
}

func TestAMountThatHidesProcessesIsNoticed(t *testing.T) {
	if HidesOthers() {
		t.Error("this machine's /proc hides processes")
	}
	if out := asOther(t, "mount -t proc -o hidepid=invisible proc /proc && "); !strings.HasPrefix(out, "hidden\n") {
		t.Errorf("%q", out)
	}
}

// asOther is what the test binary says of its parent when another user runs it, after a command of
// root in a mount namespace of its own.
func asOther(t *testing.T, command string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	dir, err := os.MkdirTemp("/tmp", "superctl-proc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "other")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(copied, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	// The shell that remains is root's, and the parent of the one that reads.
	cmd := exec.Command("unshare", "--mount", "sh", "-c", command+"setpriv --reuid 65534 --regid 65534 --clear-groups "+copied+"; true")
	cmd.Env = append(os.Environ(), "PROC_TEST=other")
	var said strings.Builder
	cmd.Stderr = &said // with coverage, the other user says that it cannot write its data
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, said.String())
	}
	return string(out)
}

func TestDescriptorsSayWhatIsOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "two  blanks"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	all, err := Descriptors(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	inodes := make(map[uint64]bool)
	for _, d := range all {
		if inode, ok := d.Socket(); ok {
			inodes[inode] = true
		}
	}
	if !slices.Contains(all, Descriptor{int(f.Fd()), path}) {
		t.Errorf("%v lacks the file", all)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if d, err := ReadDescriptor(os.Getpid(), int(f.Fd())); d.Target != path+" (deleted)" || d.Path() != path || err != nil {
		t.Errorf("removed: %+v, %v", d, err)
	}
	listeners, err := Listeners(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, at := range listeners {
		if inodes[at.Inode] {
			own = append(own, at.Path+at.Addr.String())
		}
	}
	slices.Sort(own)
	want := []string{l.Addr().String() + netip.AddrPort{}.String(), tcp.Addr().String()}
	slices.Sort(want)
	if !slices.Equal(own, want) {
		t.Errorf("this process listens on %q, want %q", own, want)
	}
}

func TestAPidfdNamesItsProcess(t *testing.T) {
	cmd := started(t, "")
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if pid := PIDOf(fd); pid != cmd.Process.Pid {
		t.Errorf("pid %d, want %d", pid, cmd.Process.Pid)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if pid := PIDOf(fd); pid != -1 {
		t.Errorf("after its end: %d", pid)
	}
	if pid := PIDOf(0); pid != 0 {
		t.Errorf("not a pidfd: %d", pid)
	}
}

func TestTheKernelsOwnThreadsAreTold(t *testing.T) {
	s, err := ReadStat(os.Getpid())
	if err != nil || s.KernelThread() {
		t.Errorf("this process: %+v, %v", s, err)
	}
	s, err = parseStat([]byte("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 3 0 0 20 0 1 0 7 0 0"))
	if err != nil || !s.KernelThread() || s.Start != 7 {
		t.Errorf("kthreadd: %+v, %v", s, err)
	}
}

func TestMountsAreReadWithTheirEscapes(t *testing.T) {
	got := parseMounts(`24 1 0:22 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 24 0:27 /unit\134x /sys/fs/cgroup\040two ro,nosuid shared:9 master:1 - cgroup2 cgroup2 rw
short - line
32 24 0:28 / /with\12 rw - proc proc rw
`)
	want := []Mount{
		{Root: "/", Point: "/", Type: "ext4"},
		{Root: `/unit\x`, Point: "/sys/fs/cgroup two", Type: "cgroup2", ReadOnly: true},
		{Root: "/", Point: `/with\12`, Type: "proc"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	all, err := Mounts()
	if err != nil || !slices.ContainsFunc(all, func(m Mount) bool { return m.Point == "/proc" && m.Type == "proc" }) {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestTheSocketsTablesAreRead(t *testing.T) {
	tcp := "   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A " +
		"00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0"
	if l, ok := parseTCP(tcp); !ok || l.Inode != 4711 || l.Addr != netip.MustParseAddrPort("[::1]:8080") {
		t.Errorf("%+v, %v", l, ok)
	}
	for line, want := range map[string]Listener{
		"0000000000000000: 00000002 00000000 00010000 0001 01 22 /a  b ":  {Inode: 22, Path: "/a  b "},
		"0000000000000000: 00000002 00000000 00010000 0001 01    7 @name": {Inode: 7, Path: "@name"},
		"0000000000000000: 00000002 00000000 00010000 0001 01 12":         {Inode: 12},
	} {
		if l, ok := parseUnix(line); !ok || l != want {
			t.Errorf("%q: %+v, %v", line, l, ok)
		}
	}
	for _, line := range []string{
		"", "Num RefCount Protocol Flags Type St Inode Path", "0: 2 0 00000000 0001 01 22 /a", "0: 2 0 00010000 0001 01",
	} {
		if l, ok := parseUnix(line); ok {
			t.Errorf("%q: %+v", line, l)
		}
	}
}

func FuzzProc(f *testing.F) {
	for _, path := range []string{"stat", "status", "mountinfo"} {
		data, err := os.ReadFile("/proc/self/" + path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseStat([]byte(text)); err == nil && s.State == 0 {
			t.Errorf("%q has no state", text)
		}
		_, _ = parseStatus([]byte(text))
		_ = parseMounts(text)
		_, _ = parseTCP(text)
		if l, ok := parseUnix(text); ok && !strings.HasSuffix(text, l.Path) {
			t.Errorf("%q has the path %q", text, l.Path)
		}
		_ = unescape(text)
	})
}

func BenchmarkReadStat(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadStat(os.Getpid()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestOpenFilesCountsWhatThisProcessHasOpen(t *testing.T) {
	before, err := OpenFiles()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	if after, err := OpenFiles(); err != nil || after != before+3 {
		t.Errorf("%d files, and 3 more are %d: %v", before, after, err)
	}
}
