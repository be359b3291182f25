package systemd

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

func TestTheServiceRunsUnprivileged(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	if state := s.Property("ActiveState") + "/" + s.Property("SubState"); state != "active/running" {
		t.Errorf("the service is %s", state)
	}
	for _, pid := range append(s.workers(t), s.MainPID(t)) {
		status := s.Run("cat", "/proc/"+strconv.Itoa(pid)+"/status").Want(0).Stdout
		user := strings.TrimSpace(s.Run("stat", "--format=%U", "/proc/"+strconv.Itoa(pid)).Want(0).Stdout)
		if user != "shop" || !strings.Contains(status, "CapEff:\t0000000000000000") ||
			!strings.Contains(status, "NoNewPrivs:\t1") {
			t.Errorf("pid %d runs as %s:\n%s", pid, user, status)
		}
	}
}

func TestAStartedServiceComesBackToTheReleaseThatWasLive(t *testing.T) {
	s := newSite(t, Options{}, "r0", "r1", "r2")
	s.Run("systemctl", "start", unit).Want(0)
	s.Run("env", "SSH_CONNECTION=203.0.113.7 50000 192.0.2.1 22", "superctl", "--app", "shop", "switch", "r1").Want(0)
	s.Run("systemctl", "restart", unit).Want(0)
	st := s.Status(t)
	if st.Release != "r1" || st.Health != "ok" {
		t.Errorf("%q is live, %s", st.Release, st.Health)
	}
	// The unit hides other users' processes from the daemon (ProtectProc=), so this is the claim of
	// the client.
	if st.LiveOrigin.From != "203.0.113.7" || !strings.Contains(st.LiveBy, "root") || !st.LiveSince.Before(st.Since) {
		t.Errorf("live since %s by %s, %+v", st.LiveSince, st.LiveBy, st.LiveOrigin)
	}
	if out := s.Superctl("prune", "--keep", "1").Want(0).Stdout; !strings.Contains(out, "removed 1 release") ||
		!strings.Contains(out, "kept: live") {
		t.Errorf("%s", out)
	}
}

func TestTheStatusTextFollowsTheState(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	must(t, s.Release("slow", apps.Behaviour{ImportSeconds: 5}))
	s.Run("systemctl", "start", unit).Want(0)
	s.says(t, "no release is live")
	s.Superctl("switch", "r1").Want(0)
	s.says(t, "r1 (generation 1) is live")

	switched := make(chan Result, 1)
	go func() { switched <- s.Superctl("switch", "slow") }()
	s.says(t, "switch to slow")
	(<-switched).Want(0)
	s.says(t, "slow (generation 2) is live")
}

func TestAReloadAppliesTheConfigAndLosesNoRequest(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	before := s.Status(t)
	requests := s.Load(t)
	s.Edit(t, "--workers 2", "--workers 3")
	s.Run("systemctl", "reload", unit).Want(0)
	s.Superctl("history", "show").Want(0).Says("systemctl (uid ") // and not the user of the unit
	after := s.Status(t)                                          // at once: the reload has waited for the outcome
	s.lossless(t, requests)
	if after.Release != "r1" || after.Generation <= before.Generation || s.Property("ActiveState") != "active" {
		t.Errorf("before: %+v\nafter: %+v", before, after)
	}
	if command := s.commandOf(t, s.workers(t)[0]); !strings.Contains(command, "--workers 3") {
		t.Errorf("the worker is still %s", command)
	}
}

func TestARefusedReloadFailsAndChangesNothing(t *testing.T) {
	for name, wrong := range map[string]struct{ old, new, reason string }{
		"a config that cannot be read": {`drain   = "10s"`, `drian   = "10s"`, `unknown key "process.web.drian"`},
		"a program that is not there":  {`"gunicorn`, `"gunicron`, "gunicron"},
		"an app that does not import":  {`bare.wsgi`, `bare.wsgy`, "bare.wsgy"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, Options{}, "r1")
			s.Start(t, "r1")
			before := s.Status(t)
			requests := s.Load(t)
			s.Edit(t, wrong.old, wrong.new)
			if r := s.Run("systemctl", "reload", unit); r.Code == 0 {
				t.Error("systemctl reload succeeded")
			}
			s.lossless(t, requests)
			if after := s.Status(t); after.Generation != before.Generation || after.PID != before.PID ||
				after.Health != "ok" {
				t.Errorf("before: %+v\nafter: %+v", before, after)
			}
			if state := s.Property("ActiveState"); state != "active" {
				t.Errorf("the service is %s", state)
			}
			s.journalHas(t, wrong.reason)
		})
	}
}

func TestSIGHUPReloads(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	generation := s.Status(t).Generation
	s.Edit(t, "--workers 2", "--workers 3")
	s.Signal("HUP")
	harness.Eventually(t, "a new generation is live", func() bool {
		st := s.Status(t)
		return st.Generation > generation && st.Changing == nil
	})
	if command := s.commandOf(t, s.workers(t)[0]); !strings.Contains(command, "--workers 3") {
		t.Errorf("the worker is still %s", command)
	}
}

func TestStopLetsRequestsFinishAndLeavesNothing(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	slow, err := load.Start(load.Config{
		Network: "tcp", Address: s.Address, Clients: 1, MaxRequests: 1, Shapes: []load.Shape{load.Get("/slow?s=3")},
	})
	must(t, err)
	harness.Eventually(t, "the request is in flight", func() bool {
		for _, g := range s.Status(t).Generations {
			if g.Connections > 0 {
				return true
			}
		}
		return false
	})
	s.Run("systemctl", "stop", unit).Want(0)
	if failed := slow.Stop().Failed(); len(failed) > 0 {
		t.Errorf("the request in flight was lost: %v", failed)
	}
	if state := s.Property("ActiveState") + "/" + s.Property("Result"); state != "inactive/success" {
		t.Errorf("the service is %s", state)
	}
	s.nothingLeft(t)
}

func TestASecondSIGTERMStopsAtOnce(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Edit(t, `drain   = "10s"`, `drain   = "5m"`)
	s.Start(t, "r1")
	slow, err := load.Start(load.Config{
		Network: "tcp", Address: s.Address, Clients: 1, MaxRequests: 1, Timeout: 5 * time.Minute,
		Shapes: []load.Shape{load.Get("/slow?s=200")},
	})
	must(t, err)
	t.Cleanup(func() { slow.Stop() })
	harness.Eventually(t, "the request is in flight", func() bool { return s.Status(t).Generations[0].Connections > 0 })
	s.Run("systemctl", "stop", "--no-block", unit).Want(0)
	s.says(t, "stopping")
	s.Signal("TERM")
	harness.Eventually(t, "the service has stopped", func() bool { return s.Property("ActiveState") == "inactive" })
	s.nothingLeft(t)
}

// killAndStop stops the service right after its daemon was killed: superctl end, which systemd runs
// then, asks for a moment whether there is a stop.
func (s *Site) killAndStop() {
	s.Run("sh", "-c", "systemctl kill --signal=KILL --kill-whom=main "+unit+" && systemctl stop "+unit).Want(0)
}

func TestAStopAfterADaemonKillLeavesNoProcess(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Start(t, "r1")
	s.killAndStop()
	s.noProcess(t)
	s.Run("systemctl", "start", unit).Want(0)
	if st := s.Status(t); st.Release != "r1" || st.Health != "ok" {
		t.Errorf("%q is live, %s", st.Release, st.Health)
	}
	s.Run("systemctl", "stop", unit).Want(0)
	s.nothingLeft(t)
}

func TestAStartWithAnInvalidConfigReportsItAndIsRetried(t *testing.T) {
	s := newSite(t, Options{}, "r1")
	s.Edit(t, "probation", "probatoin")
	if r := s.Run("systemctl", "start", unit); r.Code == 0 {
		t.Error("systemctl start succeeded")
	}
	s.journalHas(t, "shop.toml:4")
	s.Edit(t, "probatoin", "probation")
	harness.Eventually(t, "the service has started", func() bool { return s.Property("ActiveState") == "active" })
}

func TestSIGUSR1ReopensTheLogFile(t *testing.T) {
	const file = "/var/log/superctl/shop/shop.log"
	s := newSite(t, Options{}, "r1", "r2")
	s.Edit(t, "probation", "log       = \""+file+"\"\nprobation")
	s.Start(t, "r1")
	s.Run("mv", file, file+".1").Want(0)
	s.Signal("USR1")
	harness.Eventually(t, "the new log file is there", func() bool { return s.Run("test", "-e", file).Code == 0 })
	s.Superctl("switch", "r2").Want(0)
	if log := s.Run("cat", file).Want(0).Stdout; !strings.Contains(log, "r2") {
		t.Errorf("the switch is not in the new file:\n%s", log)
	}
}

// workers returns the main processes of the live generation's workers.
func (s *Site) workers(t *testing.T) []int {
	t.Helper()
	var pids []int
	st := s.Status(t)
	for _, g := range st.Generations {
		if g.ID == st.Generation {
			for _, w := range g.Workers {
				pids = append(pids, w.PID)
			}
		}
	}
	if len(pids) == 0 {
		t.Fatalf("no workers: %+v", st)
	}
	return pids
}

func (s *Site) commandOf(t *testing.T, pid int) string {
	t.Helper()
	return strings.ReplaceAll(s.Run("cat", "/proc/"+strconv.Itoa(pid)+"/cmdline").Want(0).Stdout, "\x00", " ")
}

// says waits until the service's status text contains the words.
func (s *Site) says(t *testing.T, words string) {
	t.Helper()
	var said string
	harness.Eventually(t, "the status text says "+words, func() bool {
		said = s.Property("StatusText")
		return strings.Contains(said, words)
	})
}

// journalHas waits until the journal of the service contains the words.
func (s *Site) journalHas(t *testing.T, words string) {
	t.Helper()
	harness.Eventually(t, "the journal says "+words, func() bool {
		return strings.Contains(s.Run("journalctl", "--no-pager", "--output=cat", "--unit="+unit).Stdout, words)
	})
}

// lossless waits for some more requests, stops the load, and fails the test if any was lost.
func (s *Site) lossless(t *testing.T, r *load.Run) {
	t.Helper()
	ctx, cancel := harness.Limited(t.Context())
	defer cancel()
	if err := r.WaitMore(ctx, 30); err != nil {
		t.Error(err)
	}
	if res := r.Stop(); len(res.Failed()) > 0 || res.LimitReached {
		t.Errorf("requests were lost: %s", res)
	}
}

// nothingLeft fails the test if a process or a runtime file of the stopped service is left.
func (s *Site) nothingLeft(t *testing.T) {
	t.Helper()
	s.noProcess(t)
	left := s.Run(
		"find", "/run/superctl", "/var/lib/superctl", "/srv/shop", "(", "-type", "s", "-o", "-type", "p", ")", "-print",
	).Want(0)
	if left.Stdout != "" {
		t.Errorf("sockets and FIFOs are left over:\n%s", left.Stdout)
	}
	client := http.Client{Timeout: harness.Patience}
	if res, err := client.Get("http://" + s.Address + "/"); err == nil {
		_ = res.Body.Close()
		t.Error("somebody still serves")
	}
}

func (s *Site) noProcess(t *testing.T) {
	t.Helper()
	if left := s.Run("ps", "--user", "shop", "--format", "pid,args", "--no-headers"); left.Stdout != "" {
		t.Errorf("processes are left over:\n%s", left.Stdout)
	}
}
