package supervisor

import (
	"context"
	"testing"
	"time"

	"superctl/api"
	"superctl/supervisor/worker"
)

func TestAnOutcomeNamesTheStepAndTheCulprit(t *testing.T) {
	exits := func(context.Context, worker.Command) error {
		return &worker.ExitError{Exit: worker.Exit{Known: true, Code: 3}}
	}
	for name, tc := range map[string]struct {
		how     behaviour
		before  bool
		canary  bool
		step    string
		culprit api.Culprit
		exit    int
	}{
		"a hook":   {before: true, step: api.StepBefore, culprit: api.Hook, exit: 3},
		"a check":  {canary: true, step: api.StepCanary, culprit: api.Check, exit: 3},
		"a worker": {how: behaviour{exitAfter: time.Millisecond}, step: api.StepProve, culprit: api.Worker},
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, w *world) {
				w.releases["r1"], w.releases["r2"], w.hooks = behaviour{}, tc.how, exits
				w.plan = func(p Plan) Plan {
					p.Hooks.Timeout = time.Minute
					if tc.before && p.Release.Name == "r2" {
						p.Hooks.Before = [][]string{{"migrate"}}
					}
					return p
				}
				s, stop := w.supervisor(t.TempDir())
				defer stop()
				if first := switchTo(t, s, "r1"); first.CutoverSeconds < 0 || first.FailedStep != "" ||
					first.Culprit != "" {
					t.Errorf("of a switch that went well: %+v", first)
				}
				req := Request{Kind: Switch, Release: "r2"}
				if tc.canary {
					req.Canary = threeSteps()
					req.Canary.Check = []string{"/bin/sh", "-c", "exit 3"}
				}
				out, err := s.Change(t.Context(), req, func(Event) {})
				if err != nil {
					t.Fatal(err)
				}
				if out.FailedStep != tc.step || out.Culprit != tc.culprit || (out.ExitCode != nil) != (tc.exit != 0) ||
					out.ExitCode != nil && *out.ExitCode != tc.exit {
					t.Errorf("%q failed by %q, exit %v: %s", out.FailedStep, out.Culprit, out.ExitCode, out.Error)
				}
			})
		})
	}
}
