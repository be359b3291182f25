package fleet

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
)

func deployPlan(f *fakeFleet) Plan {
	hosts := slices.Sorted(maps.Keys(f.hosts))
	return Plan{
		Run: "run-1", By: "anna@desk", App: "shop", Why: "deploy of 2", Kind: api.Switch,
		Bundle: &Bundle{Path: "shop-2.tar.zst", Release: "2", SHA256: "b2"}, Hosts: hosts, Canary: hosts[0],
	}
}

// sequence records the news of a run as lines.
type sequence struct{ lines []string }

func (s *sequence) observe(p Progress) {
	if p.Step == "" {
		s.lines = append(s.lines, strings.TrimSpace(p.Host+" "+string(p.State)+" "+p.Detail))
	}
}

// inVirtualTime runs a test with three hosts.
func inVirtualTime(t *testing.T, f func(t *testing.T, fleet *fakeFleet)) {
	synctest.Test(t, func(t *testing.T) { f(t, newFakeFleet(t, "web1", "web2", "web3")) })
}

func deploy(f *fakeFleet, change func(*Plan)) *Result {
	plan := deployPlan(f)
	if change != nil {
		change(&plan)
	}
	return Do(context.Background(), plan, f, Limits{}, func(Progress) {})
}

// ends checks how a run ended, and what is live on the hosts, in their order.
func ends(t *testing.T, f *fakeFleet, res *Result, exit int, live ...string) {
	t.Helper()
	synctest.Wait()
	if res.Exit != exit || len(res.Warnings) > 0 {
		t.Errorf("exit %d instead of %d: %s %v", res.Exit, exit, res.Error, res.Warnings)
	}
	for i, name := range slices.Sorted(maps.Keys(f.hosts)) {
		if h := f.hosts[name]; h.live != live[i] {
			t.Errorf("%s is live on %s instead of %s", h.live, name, live[i])
		}
	}
}

// idle checks that the hosts are free for another run.
func idle(t *testing.T, f *fakeFleet) {
	t.Helper()
	time.Sleep(time.Minute)
	synctest.Wait()
	for name, h := range f.hosts {
		if h.lease != "" || h.change != nil {
			t.Errorf("%s is still busy: %q %+v", name, h.lease, h.change)
		}
	}
}

func TestAllHostsTurnTogether(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		res := deploy(f, nil)
		ends(t, f, res, api.ExitDone, "2", "2", "2")
		synctest.Wait()
		if !res.Changed || res.Release != "2" || res.SkewSeconds > 0.1 || f.migrations["run-1"] != 1 {
			t.Errorf("%+v, %d migrations", res, f.migrations["run-1"])
		}
		again := deploy(f, func(p *Plan) { p.Run = "run-2" })
		ends(t, f, again, api.ExitDone, "2", "2", "2")
		if again.Changed {
			t.Error("the second run changed something")
		}
		idle(t, f)
	})
}

func TestTheCanaryHostIsJudgedBeforeTheOthersTurn(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		deploy(f, func(p *Plan) { p.Canary, p.Bake = "web2", time.Minute })
		synctest.Wait()
		judged, first := slices.Index(f.log, "web2 judged"), slices.Index(f.log, "web1 cutover")
		if judged < 0 || first < judged {
			t.Errorf("%q", f.log)
		}
	})
}

func TestABatchWaitsForTheOneBefore(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		ends(t, f, deploy(f, func(p *Plan) { p.Batch = 1 }), api.ExitDone, "2", "2", "2")
		if slices.Index(f.log, "web3 cutover") < slices.Index(f.log, "web2 judged") {
			t.Errorf("%q", f.log)
		}
	})
}

// TestNothingBeginsOnAnUnfitFleet has the rows of the failure table before a run has begun.
func TestNothingBeginsOnAnUnfitFleet(t *testing.T) {
	for name, one := range map[string]struct {
		breaks func(*fakeFleet)
		exit   int
		says   string
	}{
		"down": {func(f *fakeFleet) { f.hosts["web2"].cutNow(); f.hosts["web3"].cutNow() }, api.ExitUnreachable, "web2 and web3: connect: timed out"},
		"busy": {func(f *fakeFleet) { f.hosts["web2"].change = &fakeChange{release: "7"} }, api.ExitBusy, "web2: another change"},
		"leased": {
			func(f *fakeFleet) { f.hosts["web3"].lease, f.hosts["web3"].leaseBy = "run-9", "bob@desk" }, api.ExitBusy, "web3: locked for run run-9 by bob@desk",
		},
		"unwell": {func(f *fakeFleet) { f.hosts["web2"].health = "degraded" }, api.ExitAborted, "web2: it is degraded"},
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
				one.breaks(f)
				res := deploy(f, nil)
				ends(t, f, res, one.exit, "1", "1", "1")
				if !strings.Contains(res.Error, one.says) || len(f.log) > 0 {
					t.Errorf("%s; %q", res.Error, f.log)
				}
			})
		})
	}
}

func TestAHostThatIsLeftOutIsBehind(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.hosts["web2"].cutNow()
		res := deploy(f, func(p *Plan) { p.Hosts, p.Without = []string{"web1", "web3"}, []string{"web2"} })
		ends(t, f, res, api.ExitBehind, "2", "1", "2")
		f.hosts["web2"].mend()
		v := Look(t.Context(), "shop", []string{"web1", "web2", "web3"}, f, time.Minute)
		if v.Mix != "1 on web2, 2 on web1 and web3" || !v.Hosts[1].Behind || v.Exit != api.ExitBehind {
			t.Errorf("%+v", v)
		}
		again := deploy(f, func(p *Plan) { p.Run = "run-2" })
		ends(t, f, again, api.ExitDone, "2", "2", "2")
	})
}

// TestNobodyTurnsWhenOneRefuses has the rows of the failure table before the first word.
func TestNobodyTurnsWhenOneRefuses(t *testing.T) {
	for name, breaks := range map[string]func(*fakeFleet){
		"install": func(f *fakeFleet) { f.hosts["web3"].installs = "the disk is full" },
		"tree": func(f *fakeFleet) {
			f.hosts["web3"].trees["2"], f.hosts["web3"].bundles["2"] = "other", "of another bundle"
			f.hosts["web3"].keeps = true
		},
		"migration": func(f *fakeFleet) { f.hosts["web1"].refuses = "before" },
		"proof":     func(f *fakeFleet) { f.hosts["web2"].refuses = "prove" },
		"ready":     func(f *fakeFleet) { f.hosts["web2"].refuses, f.hosts["web3"].boot = "ready", time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
				breaks(f)
				res := deploy(f, nil)
				ends(t, f, res, api.ExitAborted, "1", "1", "1")
				if res.Error == "" || slices.ContainsFunc(f.log, func(s string) bool { return strings.HasSuffix(s, "cutover") }) {
					t.Errorf("%q; %q", res.Error, f.log)
				}
				idle(t, f)
			})
		})
	}
}

func TestOneBundleMayHaveOtherFilesOnAHost(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.hosts["web3"].trees["2"] = "with another Python"
		res := deploy(f, nil)
		if res.Exit != api.ExitDone || len(res.Warnings) != 1 || !strings.HasPrefix(res.Warnings[0], "the files of 2 differ on web1") {
			t.Errorf("%d: %q", res.Exit, res.Warnings)
		}
	})
}

func TestAllAbortWhenTheOperatorDiesBeforeTheWord(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.aboutTo = func(what string) {
			if what == "web3 ready" {
				f.kill()
			}
		}
		deploy(f, nil)
		time.Sleep(20 * time.Second)
		ends(t, f, &Result{}, 0, "1", "1", "1")
		idle(t, f)
	})
}

func TestAllAbortWhenACableIsCutBeforeTheWord(t *testing.T) {
	for _, when := range []string{"web3 boot", "web3 ready"} { // at "web3 ready" web2 has been ready for long
		t.Run(when, func(t *testing.T) {
			inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
				f.hosts["web3"].boot = 10 * time.Second
				var at time.Time
				f.aboutTo = func(what string) {
					if what == when {
						at = time.Now()
						f.hosts["web2"].cutNow()
					}
				}
				res := deploy(f, nil)
				ends(t, f, res, api.ExitUnreachable, "1", "1", "1")
				if took := time.Since(at); took > 20*time.Second {
					t.Errorf("over after %s", took)
				}
				idle(t, f)
			})
		})
	}
}

func TestCtrlCBeforeTheWordAbortsAll(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		ctx, interrupt := context.WithCancel(t.Context())
		f.aboutTo = func(what string) {
			if what == "web1 ready" {
				interrupt()
			}
		}
		res := Do(ctx, deployPlan(f), f, Limits{}, func(Progress) {})
		ends(t, f, res, api.ExitAborted, "1", "1", "1")
		idle(t, f)
	})
}

func TestCtrlCAfterTheWordSaysWhatGoesOn(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		ctx, interrupt := context.WithCancel(t.Context())
		f.aboutTo = func(what string) {
			if what == "web1 probation" {
				interrupt()
			}
		}
		var seen sequence
		res := Do(ctx, deployPlan(f), f, Limits{}, seen.observe)
		ends(t, f, res, api.ExitDone, "2", "2", "2")
		if !strings.Contains(strings.Join(seen.lines, "\n"), "interrupted after the word: web1 cannot be stopped") {
			t.Errorf("%q", seen.lines)
		}
	})
}

func TestAHostThatDiesAfterTheWordIsBehind(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.aboutTo = func(what string) {
			if what == "web3 word" {
				f.hosts["web3"].cutNow()
			}
		}
		res := deploy(f, nil)
		ends(t, f, res, api.ExitBehind, "2", "2", "1")
		if h := res.Hosts[2]; h.State != Unknown || h.Error == "" {
			t.Errorf("%+v", h)
		}
		f.hosts["web3"].mend()
		f.aboutTo = func(string) {}
		idle(t, f)
		ends(t, f, deploy(f, func(p *Plan) { p.Run = "run-2" }), api.ExitDone, "2", "2", "2")
	})
}

func TestACanaryHostThatIsLostStopsTheRun(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		var at time.Time
		f.aboutTo = func(what string) {
			if what == "web1 probation" {
				at = time.Now()
				f.hosts["web1"].cutNow()
			}
		}
		res := deploy(f, nil)
		ends(t, f, res, api.ExitBehind, "2", "1", "1")
		if took := time.Since(at); took > 20*time.Second {
			t.Errorf("over after %s", took)
		}
	})
}

func TestOfTwoOperatorsOneWins(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		results := make(chan *Result, 2)
		for _, who := range []string{"anna", "bob"} {
			go func() {
				results <- deploy(f, func(p *Plan) { p.Run, p.By = "run-"+who, who })
			}()
		}
		a, b := <-results, <-results
		if a.Exit > b.Exit {
			a, b = b, a
		}
		ends(t, f, a, api.ExitDone, "2", "2", "2")
		if b.Exit != api.ExitBusy || !strings.Contains(b.Error, a.By) {
			t.Errorf("%d: %s", b.Exit, b.Error)
		}
	})
}

func TestARollbackGoesTogether(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		back := func(p *Plan) { p.Kind, p.Bundle = api.Rollback, nil }
		f.hosts["web2"].health = "down" // a rollback is for a fleet that is not well
		ends(t, f, deploy(f, back), api.ExitDone, "0", "0", "0")
		f.hosts["web1"].live = "2"
		res := deploy(f, back)
		ends(t, f, res, api.ExitAborted, "2", "0", "0")
		if !strings.Contains(res.Error, "web1 runs 2 and web2 runs 0") {
			t.Error(res.Error)
		}
	})
}

func TestHostsWithDifferentReleasesOfOneNameAreRefused(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, f *fakeFleet) {
		f.hosts["web3"].previous = "2"
		res := deploy(f, func(p *Plan) { p.Kind, p.Bundle = api.Rollback, nil })
		ends(t, f, res, api.ExitAborted, "1", "1", "1")
		if want := "web1 would make 0 live, and web3 2"; !strings.Contains(res.Error, want) {
			t.Error(res.Error)
		}
	})
}
