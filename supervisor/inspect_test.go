package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// inspector is an Inspect that notes what it is asked.
type inspector struct {
	asked   []Inspection
	objects error
}

func newInspector(w *world) *inspector {
	in := &inspector{}
	plan := w.plan
	w.plan = func(p Plan) Plan {
		p = plan(p)
		p.Inspect = json.RawMessage(`{"what":"the project"}`)
		return p
	}
	w.options = func(o *Options) {
		o.Inspect = func(_ context.Context, i Inspection, line func(string)) (string, error) {
			in.asked = append(in.asked, i)
			line("looked at " + i.Plan.Release.Name)
			if in.objects != nil && !i.Force {
				return "", in.objects
			}
			return "fine", nil
		}
	}
	return in
}

// took returns which releases were inspected since the last call, each with what was live.
func (in *inspector) took() string {
	var all []string
	for _, i := range in.asked {
		text := string(i.Kind) + " " + i.Plan.Release.Name
		if i.Live != nil {
			text += " over " + i.Live.Release.Name
		}
		if i.Before {
			text += " with hooks"
		}
		all = append(all, text)
	}
	in.asked = nil
	return strings.Join(all, ", ")
}

func TestASwitchAndARollbackAreInspectedAndNothingElseIs(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		newHooked(w)
		in := newInspector(w)
		inner := w.plan
		w.plan = func(p Plan) Plan {
			p = inner(p)
			p.Standby = time.Hour
			return p
		}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		for _, c := range []struct {
			req  Request
			want string
		}{
			{Request{Kind: Switch, Release: "r1"}, "switch r1 with hooks"},
			{Request{Kind: Switch, Release: "r1"}, ""},
			{Request{Kind: Switch, Release: "r2"}, "switch r2 over r1 with hooks"},
			{Request{Kind: Rollback}, "rollback r1 over r2"}, // warm
			{Request{Kind: Reload}, ""},
			{Request{Kind: Restart, Process: "web"}, ""},
			{Request{Kind: Rollback}, "rollback r2 over r1"}, // cold
		} {
			if out := change1(t, s, c.req); out.Result != Done {
				t.Fatalf("%+v: %+v", c.req, out)
			}
			if got := in.took(); got != c.want {
				t.Errorf("%+v: inspected %q, want %q", c.req, got, c.want)
			}
		}
		want(t, s, switchTo(t, s, "dies"), Reverted, "r2")
		if got := in.took(); got != "switch dies over r2 with hooks" {
			t.Errorf("a revert: inspected %q", got)
		}
		stop()
		s, stop = w.supervisor(dir)
		defer stop()
		if got := in.took(); got != "" || s.Status().Release != "r2" {
			t.Errorf("a start: inspected %q", got)
		}
	})
}

func TestAnObjectionRefusesTheChangeBeforeAnythingIsBegunUnlessItIsForced(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		h := newHooked(w)
		in := newInspector(w)
		s, stop := w.supervisor(t.TempDir())
		defer stop()
		switchTo(t, s, "r1")
		in.objects = errors.New("it does not fit")
		h.took()
		started := len(w.procs)
		out := switchTo(t, s, "r2")
		want(t, s, out, Aborted, "r1")
		h.wants(t)
		if len(w.procs) != started || out.Error != "migrations: it does not fit" {
			t.Errorf("%d workers were started, error %q", len(w.procs)-started, out.Error)
		}
		if last := w.records[len(w.records)-1].Steps; !slices.Equal(
			last[len(last)-1].Output, []string{"looked at r2"},
		) {
			t.Errorf("recorded: %+v", last)
		}
		want(t, s, change1(t, s, Request{Kind: Switch, Release: "r2", Force: true}), Done, "r2")
	})
}
