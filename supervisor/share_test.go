package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSharedPathsAreLinkedBeforeAReleaseBootsAndWhoSeesThemIsTold(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		w.releases["r1"], w.releases["r2"], w.releases["r3"] = behaviour{}, behaviour{}, behaviour{}
		var shared []string
		var objection error
		w.plan = func(p Plan) Plan {
			p.Shared, p.Standby = map[string]string{"media": "/srv/media"}, time.Hour
			return p
		}
		w.options = func(o *Options) {
			o.Share = func(p Plan, inUse bool) (string, error) {
				shared = append(shared, fmt.Sprintf("%s in use: %v, %d workers", p.Release.Name, inUse, len(w.procs)))
				return "media -> /srv/media", objection
			}
		}
		dir := t.TempDir()
		s, stop := w.supervisor(dir)
		for _, c := range []struct {
			req  Request
			want string
		}{
			{Request{Kind: Switch, Release: "r1"}, "r1 in use: false, 0 workers"},
			{Request{Kind: Switch, Release: "r1"}, ""},
			{Request{Kind: Switch, Release: "r2"}, "r2 in use: false, 1 workers"},
			{Request{Kind: Rollback}, ""}, // warm
			{Request{Kind: Reload}, "r1 in use: true, 2 workers"},
			{Request{Kind: Restart, Process: "web"}, ""},
		} {
			shared = nil
			if out := change1(t, s, c.req); out.Result != Done {
				t.Fatalf("%+v: %+v", c.req, out)
			}
			if got := strings.Join(shared, "; "); got != c.want {
				t.Errorf("%+v: shared %q, want %q", c.req, got, c.want)
			}
		}
		objection = errors.New("there is something")
		out := switchTo(t, s, "r3")
		want(t, s, out, Aborted, "r1")
		if out.Error != "share: there is something" {
			t.Errorf("error %q", out.Error)
		}
		stop()

		// Nothing is live, and that must not stay so for a link.
		shared = nil
		s, stop = w.supervisor(dir)
		defer stop()
		if st := s.Status(); st.Release != "r1" || st.Health != "ok" || len(shared) != 1 ||
			!strings.HasPrefix(shared[0], "r1 in use: false") {
			t.Errorf("%s is live, %s; shared %q", st.Release, st.Health, shared)
		}
		last := w.records[len(w.records)-1]
		if !slices.Equal(last.Warnings, []string{"share: there is something; the release is started nevertheless"}) {
			t.Errorf("it warns %q", last.Warnings)
		}
	})
}
