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

// way is how clients get to a server, and whether nginx keeps its connections to it.
type way struct {
	front harness.Front
	kept  int
}

// String is the way in a table.
func (w way) String() string {
	if w.kept > 0 {
		return w.front.String() + "-kept"
	}
	return w.front.String()
}

// ways are all that the server can be reached by. The protocol of uWSGI is nginx's affair, and
// knows no kept connections; and where there is no hook for a program, nginx should keep none.
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

// fewSwitches is how often CI switches; `make switches` does it a hundred times, of every server in
// every way.
const fewSwitches = 3

// inCI is what the other tests have least of: servers that keep connections, each in another way.
func inCI(s harness.Server, w way) bool {
	return map[string]string{
		"gunicorn-asgi": "tcp", "uwsgi-http": "nginx-unix-kept", "puma": "unix",
	}[s.Name] == w.String()
}

func TestAMixedLoadLosesNothingWithoutAWarning(t *testing.T) {
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

// switchUnderAMixedLoad switches to and fro, until the last old generation is gone. warned says
// whether `check` has warned of the loss of a request: one over a connection that is kept to a
// server which superctl cannot have say when it closes it.
func switchUnderAMixedLoad(
	t *testing.T, s harness.Server, w way, times int,
) (res *load.Result, warned func(load.Record) bool) {
	a := harness.New(t, run, harness.Options{
		Server: s.Bare(), Front: w.front, Kept: w.kept, Web: "drain = \"20s\"\nstart_timeout = \"60s\"",
	})
	a.Releases("r1", "r2")
	a.Start("r1")
	stake := strings.Contains(a.Command("check").Text(), "may lose the request")
	requests := a.Load(harness.Mixed())
	for i := range times {
		a.Command("switch", fmt.Sprintf("r%d", 2-i%2)).Want(0)
		a.More(requests, 10)
	}
	eventually(t, "the old generations are gone", func() bool {
		a.More(requests, 10)
		return len(a.Status().Generations) == 1
	})
	return requests.Stop(), func(r load.Record) bool {
		return stake && (r.Reused && a.Via() == load.Direct || w.kept > 0)
	}
}
