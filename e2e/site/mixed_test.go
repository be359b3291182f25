package site

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"superctl/e2e/harness"
	"superctl/load"
)

// way is the path from clients to a server, and whether nginx keeps its connections to it alive.
type way struct {
	front harness.Front
	kept  int
}

// String returns the name of the way in a table.
func (w way) String() string {
	if w.kept > 0 {
		return w.front.String() + "-kept"
	}
	return w.front.String()
}

// ways returns all ways to reach the server. nginx speaks the uwsgi protocol without kept-alive
// connections, and should keep none to a program without the drain hook.
func ways(s harness.Server) []way {
	if s.UWSGI {
		return []way{{harness.NginxTCP, 0}, {harness.NginxUnix, 0}}
	}
	all := []way{{harness.TCP, 0}, {harness.Unix, 0}, {harness.NginxTCP, 16}, {harness.NginxUnix, 16}}
	if slices.Contains([]string{"node", "puma", "go"}, s.Name) {
		all = append(all, way{harness.NginxTCP, 0}, way{harness.NginxUnix, 0})
	}
	return all
}

func everyServer(t *testing.T) []harness.Server {
	t.Helper()
	return []harness.Server{
		harness.GunicornSync(), harness.GunicornThreads(), harness.GunicornGevent(), harness.GunicornASGI(),
		harness.GunicornUvicorn(),
		harness.UWSGIHTTP(), harness.UWSGISocket(), harness.UWSGILazy(), harness.Uvicorn(), harness.UvicornWorkers(),
		harness.Hypercorn(),
		harness.GranianASGI(), harness.GranianWSGI(), harness.Daphne(), harness.Waitress(), harness.Cheroot(),
		harness.Node(), harness.Puma(), run.Go(t),
	}
}

// fewSwitches is the number of switches in CI; `make switches` does a hundred for every server on
// every way.
const fewSwitches = 3

// inCI selects what the other tests cover least: servers that keep connections, each on another
// way.
func inCI(s harness.Server, w way) bool {
	return map[string]string{
		"gunicorn-asgi": "tcp", "uwsgi-http": "nginx-unix-kept", "puma": "unix",
	}[s.Name] == w.String()
}

func TestAMixedLoadLosesNothingWithoutAWarning(t *testing.T) {
	t.Parallel()
	n, _ := strconv.Atoi(os.Getenv("SUPERCTL_SWITCHES"))
	figures := openFigures()
	for _, s := range everyServer(t) {
		for _, w := range ways(s) {
			if n == 0 && !inCI(s, w) {
				continue
			}
			t.Run(s.Name+"/"+w.String(), func(t *testing.T) {
				t.Parallel()
				times := cmp.Or(n, fewSwitches)
				res, warned := switchUnderAMixedLoad(t, s, w, times)
				if err := figures.add(t, s, w, times, res); err != nil {
					t.Error(err)
				}
				if lost := res.Failed(); len(lost) > 0 &&
					!slices.ContainsFunc(lost, func(r load.Record) bool { return !warned(r) }) {
					t.Logf("check warns of it: %s", res)
				} else if len(lost) > 0 || res.LimitReached || len(res.Records) == 0 {
					t.Errorf("requests were lost: %s", res)
				}
			})
		}
	}
}

// switchUnderAMixedLoad switches back and forth, until the last old generation is gone. warned
// reports whether `check` has warned of a lost request: on a kept-alive connection to a server that
// superctl has no drain hook for.
func switchUnderAMixedLoad(
	t *testing.T, s harness.Server, w way, times int,
) (res *load.Result, warned func(load.Record) bool) {
	a := harness.New(t, run, harness.Options{
		Server: s.Bare(), Front: w.front, Kept: w.kept, Web: "drain = \"20s\"\nstart_timeout = \"60s\"",
	})
	a.Releases("r1", "r2")
	a.Start("r1")
	stake := strings.Contains(a.Command("check").Text(), "a request on a kept-alive connection")
	requests := a.Load(harness.Mixed())
	for i := range times {
		a.Command("switch", fmt.Sprintf("r%d", 2-i%2)).Want(0)
		a.More(requests, 10)
	}
	harness.Eventually(t, "the old generations are gone", func() bool {
		a.More(requests, 10)
		return len(a.Status().Generations) == 1
	})
	return requests.Stop(), func(r load.Record) bool {
		return stake && (r.Reused && a.Via() == load.Direct || w.kept > 0)
	}
}
