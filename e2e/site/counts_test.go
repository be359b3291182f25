package site

import (
	_ "embed"
	"testing"

	"superctl/e2e/harness"
	"superctl/load"
)

//go:embed counts.py
var countsApps []byte

func TestNoRequestIsForgottenOrCountedTwiceByChangesAndDeaths(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{
		"gunicorn-gthread": "gunicorn --worker-class gthread --workers 2 --threads 4 counts:wsgi",
		"uvicorn":          "uvicorn counts:asgi --fd {fd.web} --no-access-log --lifespan off",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{Server: harness.Server{Name: name, Command: command}})
			a.Releases("r1", "r2")
			for _, release := range []string{"r1", "r2"} {
				a.WriteFile("releases/"+release+"/counts.py", string(countsApps))
			}
			a.Start("r1")
			const clients = 8
			r := a.Load(load.Config{
				Clients: clients, Rate: 150, KeepAlive: true, FreshClients: clients / 2,
				Shapes: []load.Shape{load.Get("/"), load.Get("/missing"), load.Get("/error"), load.Get("/stream")},
			})
			for _, change := range [][]string{{"switch", "r2"}, {"rollback"}, {"switch", "r2"}} {
				a.Command(change...).Want(0)
				a.More(r, 50)
			}
			killed := a.Live(a.Status()).Workers[0].PID
			kill(t, killed)
			harness.Eventually(t, "the worker that was killed is replaced", func() bool {
				w := a.Live(a.Status()).Workers[0]
				return w.PID != killed && w.State == "ready"
			})
			a.More(r, 50)
			compareCounts(t, a, r.Stop(), clients)
			loseOne(t, a)
		})
	}
}

// compareCounts compares the counts of all generations with what the clients got. Only what was in
// flight in a killed worker, at most one request of each client, may differ: its client got no
// answer, or a part of one.
func compareCounts(t *testing.T, a *harness.App, res *load.Result, clients uint64) {
	t.Helper()
	var got [6]uint64
	var cut uint64
	for i := range res.Records {
		rec := &res.Records[i]
		if rec.Status == 0 || rec.Failure != load.None && rec.Failure != load.Wrong && rec.Failure != load.ServerError {
			cut++
			continue
		}
		got[rec.Status/100]++
	}
	st := a.Status()
	all := uint64(len(res.Records))
	harness.Eventually(t, "nothing is in flight", func() bool {
		st = a.Status() // of up to a second ago
		return st.Requests != nil && st.Requests.InFlight == 0 && st.Requests.Started+cut >= all
	})
	c := st.Requests
	t.Logf("clients got %v and %d without a whole answer; counted %+v", got, cut, *c)
	for class, n := range map[int]uint64{2: c.Status2xx, 4: c.Status4xx, 5: c.Status5xx} {
		if n < got[class] || n > got[class]+cut || got[class] == 0 {
			t.Errorf("%dxx: %d counted, clients got %d", class, n, got[class])
		}
	}
	ended := c.Status1xx + c.Status2xx + c.Status3xx + c.Status4xx + c.Status5xx + c.Broken + c.Aborted
	if c.Started != ended+c.Lost || c.Started > all || c.Lost > cut || cut > clients {
		t.Errorf("%d started, %d ended, %d lost; clients sent %d, %d had no whole answer", c.Started, ended, c.Lost, all, cut)
	}
	if c.Status1xx+c.Status3xx > 0 {
		t.Errorf("%+v", c)
	}
}

// loseOne kills a worker while one request is in flight, which is all that is lost.
func loseOne(t *testing.T, a *harness.App) {
	t.Helper()
	before := *a.Status().Requests
	requestInFlight(t, a, "/never")
	harness.Eventually(t, "it is in flight", func() bool { return a.Status().Requests.InFlight == 1 })
	kill(t, a.Live(a.Status()).Workers[0].PID)
	after := before
	harness.Eventually(t, "it is lost", func() bool {
		after = *a.Status().Requests
		return after.InFlight == 0
	})
	if after.Lost != before.Lost+1 || after.Started != before.Started+1 || after.Status2xx != before.Status2xx {
		t.Errorf("%+v, before %+v", after, before)
	}
}
