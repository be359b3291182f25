package systemd

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

// another waits until a daemon other than old runs, and returns its pid.
func (s *Site) another(t *testing.T, old int) int {
	t.Helper()
	pid := 0
	harness.Eventually(t, "another daemon runs", func() bool {
		pid = s.MainPID(t)
		return pid != 0 && pid != old && s.Property("ActiveState") == "active"
	})
	return pid
}

func TestWorkersServeOnWhileTheDaemonIsKilledAgainAndAgain(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	workers := s.workers(t)
	requests := s.Load(t)
	daemon := s.MainPID(t)
	for range 20 {
		s.Signal("KILL")
		daemon = s.another(t, daemon)
	}
	s.lossless(t, requests)
	if now := s.workers(t); !slices.Equal(now, workers) {
		t.Errorf("workers %v became %v", workers, now)
	}
	if st := s.Status(t); st.Health != "ok" || len(st.Generations) != 1 {
		t.Errorf("%+v", st)
	}
}

func TestASwitchADrainAndAProbationOutliveTheDaemon(t *testing.T) {
	s := newSite(t, Options{Django: true}, "r1", "r2") // so that its start can be met
	s.Edit(t, `probation = "0s"`, `probation = "3s"`)
	s.Start(t, "r1")
	requests := s.Load(t)
	for i, step := range []string{"probation", "prove", "probation"} {
		to := []string{"r2", "r1", "r1"}[i]
		before := s.Status(t)
		switched := make(chan Result, 1)
		go func() { switched <- s.Superctl("switch", to) }()
		harness.Eventually(t, "the switch is at "+step, func() bool { return strings.Contains(s.Property("StatusText"), step) })
		daemon := s.MainPID(t)
		s.Signal("KILL")
		s.another(t, daemon)
		<-switched
		harness.Eventually(t, "the change has come to its end", func() bool {
			st := s.Status(t)
			return st.Changing == nil && len(st.Generations) == 1
		})
		after := s.Status(t)
		want := to
		if step == "prove" {
			want = before.Release
		}
		if after.Release != want || after.Health != "ok" {
			t.Errorf("killed at %s: %s is live (%s), want %s", step, after.Release, after.Health, want)
		}
	}
	s.lossless(t, requests)
}

func TestARestartOfTheServiceKeepsTheWorkers(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	workers := s.workers(t)
	requests := s.Load(t)
	for range 10 {
		s.Run("systemctl", "restart", unit).Want(0)
	}
	s.lossless(t, requests)
	if now := s.workers(t); !slices.Equal(now, workers) {
		t.Errorf("workers %v became %v", workers, now)
	}
	// All changes still work with the adopted workers.
	s.Run("systemctl", "stop", unit).Want(0)
	s.nothingLeft(t)
}

func TestTheWatchdogReplacesAStuckDaemon(t *testing.T) {
	s := newSite(t, Options{Units: dropIn(t, "[Service]\nWatchdogSec=1s\n")}, "r1")
	s.Start(t, "r1")
	workers, daemon := s.workers(t), s.MainPID(t)
	requests := s.Load(t)
	s.Signal("STOP")
	s.another(t, daemon)
	s.lossless(t, requests)
	if now := s.workers(t); !slices.Equal(now, workers) {
		t.Errorf("workers %v became %v", workers, now)
	}
	s.journalHas(t, "watchdog")
}

func dropIn(t *testing.T, text string) []Bind {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.conf")
	must(t, os.WriteFile(path, []byte(text), 0o644))
	return []Bind{{From: path, To: "/etc/systemd/system/superctl@.service.d/test.conf"}}
}

// installed returns a site, and a function that replaces its superctl like an operator: by a
// rename.
func installed(t *testing.T, releases ...string) (s *Site, install func(path string)) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	install = func(path string) {
		data, err := os.ReadFile(path)
		must(t, err)
		must(t, apps.WriteExecutable(filepath.Join(dir, "new"), data))
		must(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "superctl")))
	}
	install(run.Binary)
	binds := append(dropIn(t, "[Service]\nExecStart=\nExecStart=/opt/superctl/superctl --app %i daemon\n"), Bind{
		From: dir, To: "/opt/superctl",
	})
	return newSite(t, Options{Units: binds}, releases...), install
}

func TestUpgradesInARowLoseNothingAndKeepTheWorkers(t *testing.T) {
	s, _ := installed(t, "r1", "r2")
	s.Start(t, "r1")
	workers, daemon := s.workers(t), s.MainPID(t)
	requests := s.Load(t)
	for range 20 {
		s.Superctl("upgrade").Want(0)
		now := s.MainPID(t)
		if now == daemon || s.Property("ActiveState") != "active" {
			t.Fatalf("the main process is %d, and was %d; the service is %s", now, daemon, s.Property("ActiveState"))
		}
		daemon = now
	}
	if now := s.workers(t); !slices.Equal(now, workers) {
		t.Errorf("workers %v became %v", workers, now)
	}
	// All changes still work after it.
	s.Superctl("switch", "r2").Want(0)
	s.Superctl("rollback").Want(0)
	s.Signal("KILL")
	s.another(t, daemon)
	s.lossless(t, requests)
	s.Run("systemctl", "stop", unit).Want(0)
	s.nothingLeft(t)
}

func TestARequestInFlightOutlivesAnUpgrade(t *testing.T) {
	s, _ := installed(t, "r1")
	s.Start(t, "r1")
	slow, err := load.Start(load.Config{
		Network: "tcp", Address: s.Address, Clients: 1, MaxRequests: 1, Shapes: []load.Shape{load.Get("/slow?s=5")},
	})
	must(t, err)
	harness.Eventually(t, "the request is in flight", func() bool { return s.Status(t).Generations[0].Connections > 0 })
	s.Superctl("upgrade").Want(0)
	if failed := finished(t, slow); len(failed) > 0 {
		t.Errorf("the request was lost: %v", failed)
	}
}

func TestAFailedUpgradeKeepsTheOldDaemon(t *testing.T) {
	for name, program := range map[string]struct{ script, reason string }{
		"it is no program": {"no program\n", "format"},
		"it exits":         {"#!/bin/sh\necho too old >&2; exit 3\n", "too old"},
		"it exits when it is to serve": {
			"#!/bin/sh\ncase \"$*\" in *--dry-run) echo v9;; *) echo cannot serve >&2; exit 3;; esac\n", "exit",
		},
		"it hangs when it is to serve": {
			"#!/bin/sh\ncase \"$*\" in *--dry-run) echo v9;; *) exec sleep 1000;; esac\n", "timed out",
		},
		"it crashes": {
			"#!/bin/sh\ncase \"$*\" in *--dry-run) echo v9;; *) kill -SEGV $$;; esac\n", "segmentation fault",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, install := installed(t, "r1", "r2")
			s.Start(t, "r1")
			workers, daemon := s.workers(t), s.MainPID(t)
			requests := s.Load(t)
			path := filepath.Join(t.TempDir(), "superctl")
			must(t, apps.WriteExecutable(path, []byte(program.script)))
			install(path)
			r := s.Superctl("upgrade").Want(1)
			if !strings.Contains(strings.ToLower(r.Text()), program.reason) {
				t.Errorf("the reason is missing:\n%s", r.Text())
			}
			if now := s.workers(t); s.MainPID(t) != daemon || !slices.Equal(now, workers) {
				t.Errorf("daemon %d and workers %v became %d and %v", daemon, workers, s.MainPID(t), now)
			}
			// The next attempt with a working binary succeeds, and the old daemon worked in
			// between.
			s.Superctl("switch", "r2").Want(0)
			install(run.Binary)
			s.Superctl("upgrade").Want(0)
			s.Superctl("switch", "r1").Want(0)
			s.lossless(t, requests)
		})
	}
}

func TestATooSmallDescriptorStoreIsReported(t *testing.T) {
	s := newSite(t, Options{Units: dropIn(t, "[Service]\nFileDescriptorStoreMax=2\n")}, "r1")
	s.Start(t, "r1")
	s.journalHas(t, "raise FileDescriptorStoreMax=")
}

func TestWorkersThatDiedWithoutADaemonAreReplaced(t *testing.T) {
	s := newSite(t, Options{Units: dropIn(t, "[Service]\nRestart=no\n")}, "r1")
	s.Start(t, "r1")
	worker := s.workers(t)[0]
	s.Signal("KILL")
	harness.Eventually(t, "the daemon is gone", func() bool { return s.Property("MainPID") == "0" })
	s.Run("kill", "-KILL", strconv.Itoa(worker)).Want(0)
	s.Run("systemctl", "start", unit).Want(0)
	harness.Eventually(t, "the app serves", func() bool { return s.Status(t).Health == "ok" && s.workers(t)[0] != worker })
	s.lossless(t, s.Load(t))
}

func TestWhatIsQueuedForACanaryThatDiedWithoutADaemonIsServed(t *testing.T) {
	s := newSite(t, Options{Units: dropIn(t, "[Service]\nRestartSec=5s\n")}, "r1", "r2")
	s.Start(t, "r1")
	switched := make(chan Result, 1)
	go func() { switched <- s.Superctl("switch", "r2", "--canary", "50%", "--for", "1h") }()
	harness.Eventually(t, "the canary gets connections", func() bool {
		return strings.Contains(s.Property("StatusText"), ": canary")
	})
	st := s.Status(t)
	s.Signal("KILL")
	<-switched
	for _, g := range st.Generations {
		if g.ID == st.Generation {
			continue
		}
		for _, w := range g.Workers {
			s.Run("pkill", "-KILL", "-P", strconv.Itoa(w.PID)).Want(0)
			s.Run("kill", "-KILL", strconv.Itoa(w.PID)).Want(0)
		}
	}
	// Half of them wait for the canary, or else the test passes by a chance of 1 to 4 billion.
	var clients []net.Conn
	for range 32 {
		conn, err := net.DialTimeout("tcp", s.Address, harness.Patience)
		must(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		must(t, err)
		clients = append(clients, conn)
	}
	for i, conn := range clients {
		must(t, conn.SetReadDeadline(time.Now().Add(harness.Patience)))
		if answer, err := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
			t.Errorf("client %d got %q, %v", i, answer, err)
		}
	}
}

func TestAStopAfterADaemonKillEndsTheWorkersGracefully(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	slow, err := load.Start(load.Config{
		Network: "tcp", Address: s.Address, Clients: 1, MaxRequests: 1, Shapes: []load.Shape{load.Get("/slow?s=3")},
	})
	must(t, err)
	harness.Eventually(t, "the request is in flight", func() bool { return s.Status(t).Generations[0].Connections > 0 })
	s.killAndStop()
	if failed := finished(t, slow); len(failed) > 0 {
		t.Errorf("the request in flight was lost: %v", failed)
	}
	s.nothingLeft(t)
	if n := s.Property("NFileDescriptorStore"); n != "0" {
		t.Errorf("%s descriptors are stored", n)
	}
}

func TestADaemonStartsWithTheLastValidConfig(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	workers, daemon := s.workers(t), s.MainPID(t)
	requests := s.Load(t)
	s.Edit(t, "probation", "probatoin")
	s.Signal("KILL")
	s.another(t, daemon)
	s.lossless(t, requests)
	if now := s.workers(t); !slices.Equal(now, workers) {
		t.Errorf("workers %v became %v", workers, now)
	}
	if st := s.Status(t); st.Health != "degraded" || !strings.Contains(st.Reason, "probatoin") {
		t.Errorf("%s: %s", st.Health, st.Reason)
	}
}

func TestNothingThatAWorkerWritesIsLostWhileNoDaemonReads(t *testing.T) {
	s := newSite(t, Options{Units: dropIn(t, "[Service]\nRestart=no\n")}, "r1")
	s.Start(t, "r1")
	master := strconv.Itoa(s.workers(t)[0])
	child := strings.Fields(s.Run("cat", "/proc/"+master+"/task/"+master+"/children").Want(0).Stdout)[0]
	s.Run("kill", "-KILL", strconv.Itoa(s.MainPID(t)), child).Want(0) // the daemon first
	said := "Worker (pid:" + child + ") was sent SIGKILL"
	harness.Eventually(t, "gunicorn has started another child", func() bool {
		return !strings.Contains(s.Run("cat", "/proc/"+master+"/task/"+master+"/children").Stdout, child)
	})
	s.Run("systemctl", "start", unit).Want(0)
	s.journalHas(t, said)
}

// finished waits for the only request of a load and returns its result.
func finished(t *testing.T, r *load.Run) []load.Record {
	t.Helper()
	ctx, cancel := harness.Limited(t.Context())
	defer cancel()
	must(t, r.Wait(ctx, func(records []load.Record) bool { return len(records) == 1 }))
	return r.Stop().Failed()
}
