package daemon

import (
	"testing"
	"time"

	"superctl/config"
	"superctl/servers"
)

func TestAWorkerWithTheHookDrainsForItsKeepAliveTime(t *testing.T) {
	for _, tt := range []struct {
		keep, drain time.Duration
		atOnce      bool
		wait        time.Duration
	}{
		{2 * time.Second, 30 * time.Second, false, 4 * time.Second},
		{75 * time.Second, 30 * time.Second, false, 30 * time.Second},
		{75 * time.Second, 30 * time.Second, true, 0},
	} {
		p := config.Process{Listen: []string{"web"}, DrainHook: true, Drain: tt.drain, StopsAtOnce: tt.atOnce}
		if got := hookWait(p, servers.Applied{Hook: true, KeepAlive: tt.keep}); got != tt.wait {
			t.Errorf("%+v: %s", tt, got)
		}
	}
	if got := hookWait(
		config.Process{Listen: []string{"web"}, DrainHook: true, Drain: time.Minute}, servers.Applied{},
	); got != time.Minute {
		t.Errorf("a program with the flag drains for %s", got)
	}
}

func TestAServerThatCutsAnswersGetsTheWholeDrainTime(t *testing.T) {
	web, uwsgi := config.Process{
		Listen: []string{"web"}, DrainHook: true, Drain: time.Minute,
	}, servers.Applied{Cuts: true}
	if got := hookWait(web, uwsgi); got != time.Minute {
		t.Errorf("it waits for %s", got)
	}
	web.StopsAtOnce = true
	if got := hookWait(web, uwsgi); got != 0 {
		t.Errorf("with drain_connections = 0 it waits for %s", got)
	}
	if got := hookWait(config.Process{DrainHook: true, Drain: time.Minute}, uwsgi); got != 0 {
		t.Errorf("without listeners it waits for %s", got)
	}
}

func TestOnlyAProcessWithListenersHasTheHook(t *testing.T) {
	web := config.Process{Listen: []string{"web"}, DrainHook: true}
	known := servers.Applied{Server: "uvicorn", Hook: true}
	if !Hooked(web, known) || Hooked(web, servers.Applied{}) || Hooked(config.Process{DrainHook: true}, known) {
		t.Error("the wrong processes have it")
	}
	without := web
	without.DrainHook = false
	if Hooked(without, known) {
		t.Error("drain_hook = false does not leave it out")
	}
	if !flagged(web, servers.Applied{}) || flagged(web, known) || flagged(web, servers.Applied{Cuts: true}) ||
		flagged(without, servers.Applied{}) || flagged(config.Process{DrainHook: true}, servers.Applied{}) {
		t.Error("the wrong programs are told that they drain")
	}
	uwsgi := servers.Applied{Server: "uwsgi", Cuts: true}
	if !counts(web, uwsgi) || counts(web, known) || counts(without, uwsgi) || counts(config.Process{DrainHook: true}, uwsgi) {
		t.Error("the wrong programs only count")
	}
}
