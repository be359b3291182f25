package site

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"superctl/e2e/harness"
)

// onDisk returns an app whose state is on a separate file system, which a test can fill and make
// read-only.
func onDisk(t *testing.T) *harness.App {
	a := harness.New(t, run, harness.Options{})
	mount(t, a.Path("state"), 0, "size=256k,mode=755")
	t.Cleanup(func() {
		if a.Daemon != nil && !a.Daemon.Ended() {
			a.Daemon.Stop()
		}
		unmount(t, a.Path("state"))
	})
	a.Releases("r1", "r2")
	a.Start("r1")
	return a
}

func mount(t *testing.T, dir string, flags uintptr, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Fatalf("mount %s: %v", dir, err)
	}
}

func unmount(t *testing.T, dir string) {
	t.Helper()
	if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
		t.Error(err)
	}
}

func TestASwitchOnAFullDiskIsRefused(t *testing.T) {
	t.Parallel()
	a := onDisk(t)
	worker := a.Live(a.Status()).Workers[0].PID
	requests := a.Load(requestsOfAFewUsers())
	ballast := a.Path("state", "ballast")
	fill(t, ballast)
	a.Command("check").Want(1).Says("FAIL", "the file system of "+a.Path("state")+" is full")
	if st := a.Status(); st.Health != "degraded" || !strings.Contains(st.Reason, "is full") {
		t.Errorf("with a full disk the status is %+v", st)
	}
	a.Command("switch", "r2").Want(1).Says("no space left on device")
	// A daemon that crashes now is followed by one that still adopts the workers.
	a.Daemon.Kill()
	if err := a.Launch().Ready(); err != nil {
		t.Fatalf("%v\n%s", err, a.Daemon.Output())
	}
	if st := a.Status(); st.Release != "r1" || a.Live(st).Workers[0].PID != worker ||
		!strings.Contains(st.Reason, "no space left") {
		t.Errorf("%+v", st)
	}
	a.Command("switch", "r2").Want(1).Says("no space left on device")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	a.Command("switch", "r2").Want(0)
	// A rollback is refused too, and works as soon as there is space.
	fill(t, ballast)
	a.Command("rollback").Want(1).Says("no space left on device", "r2 is still live, untouched")
	a.Command("prune").Want(0)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	a.Command("rollback").Want(0)
	a.Lossless(requests)
}

func TestAChangeOnAFullDiskIsInTheHistoryOnceThereIsRoom(t *testing.T) {
	t.Parallel()
	a := onDisk(t)
	ballast := a.Path("state", "ballast")
	fill(t, ballast)
	a.Command("switch", "r2").Want(1).Says("no space left on device")
	if st := a.Status(); st.Health != "degraded" {
		t.Errorf("with a full disk the status is %+v", st)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the app is well again", func() bool { return a.Status().Health == "ok" })
	if history := a.Command("history").Want(0).Text(); strings.Count(history, "aborted") != 1 {
		t.Errorf("the history is\n%s", history)
	}
}

func TestAWorkerMissingInTheStateFileIsAdopted(t *testing.T) {
	t.Parallel()
	a := onDisk(t)
	web := func() harness.Worker { return a.Live(a.Status()).Workers[0] }
	first := web()
	ballast := a.Path("state", "ballast")
	fill(t, ballast)
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var respawned harness.Worker
	harness.Eventually(t, "it is started again", func() bool {
		respawned = web()
		return respawned.PID != 0 && respawned.PID != first.PID && respawned.State == "ready"
	})
	requests := a.Load(requestsOfAFewUsers())
	a.Daemon.Kill()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := a.Launch().Ready(); err != nil {
		t.Fatalf("%v\n%s", err, a.Daemon.Output())
	}
	harness.Eventually(t, "it is adopted", func() bool { return web().State == "ready" })
	if now := web(); now.PID != respawned.PID {
		t.Errorf("worker %d became %d\n%s", respawned.PID, now.PID, a.Daemon.Output())
	}
	a.Command("switch", "r2").Want(0)
	a.Lossless(requests)
}

func TestWorkersServeOnAReadOnlyDisk(t *testing.T) {
	t.Parallel()
	a := onDisk(t)
	worker := a.Live(a.Status()).Workers[0].PID
	requests := a.Load(requestsOfAFewUsers())
	a.Daemon.Kill()
	mount(t, a.Path("state"), syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
	a.Command("check").Want(1).Says("FAIL", a.Path("state")+" is read-only for the service")
	a.Command("daemon").Want(1).Says(a.Path("state"), "read-only file system")
	a.More(requests, 10)
	mount(t, a.Path("state"), syscall.MS_REMOUNT, "")
	if err := a.Launch().Ready(); err != nil {
		t.Fatalf("%v\n%s", err, a.Daemon.Output())
	}
	if st := a.Status(); a.Live(st).Workers[0].PID != worker {
		t.Errorf("%+v", st)
	}
	a.Command("switch", "r2").Want(0)
	a.Lossless(requests)
}

// fill writes until the file system is full.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for size := 4096; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
