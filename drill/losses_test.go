package drill

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"superctl/api"
	"superctl/config"
	"superctl/load"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// at returns a time in milliseconds since the load began.
func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

func window(began, ended int) load.Window { return load.Window{Began: at(began), Ended: at(ended)} }

// request returns a request that began and ended at those times.
func request(began, ended int, f load.Failure) load.Record {
	rec := load.Record{Due: at(began), Begun: at(began), Ended: at(ended), Failure: f}
	if f != load.None {
		rec.Err = f.String()
	}
	return rec
}

func kept(rec load.Record) load.Record { rec.Reused = true; return rec }

func answered(rec load.Record, status int) load.Record { rec.Status = status; return rec }

// aSwitchAt returns a switch of one second: the cutover after half a second, then the old workers
// end.
func aSwitchAt(began int) change {
	step := func(name string, from, to int) api.Step {
		return api.Step{Name: name, Began: at(began + from), Seconds: float64(to-from) / 1000}
	}
	return change{
		kind: aSwitch, what: "switch to r2", window: window(began, began+1000), reported: at(began + 602),
		steps: []api.Step{
			step("boot", 0, 100), step("prove", 100, 500), step("cutover", 500, 501),
			step("settle", 501, 600), step("retire", 600, 601),
		},
	}
}

type fakeSite struct {
	site
	to Target
}

func (f fakeSite) target() Target { return f.to }

// judged returns the report of a drill with those changes and requests.
func judged(opt Options, to Target, changes []change, records ...load.Record) *Report {
	opt.Config = &config.Config{App: "shop", Probation: 10 * time.Second}
	opt.Process = config.Process{Name: "web", Drain: 30 * time.Second}
	if opt.Server.Name == "" {
		opt.Server.Name, opt.Server.StopSignal = "gunicorn", "SIGTERM"
	}
	opt.Load = Load{Rate: 50, Clients: 8, Timeout: 30 * time.Second}
	d := &drill{opt: opt, site: fakeSite{to: to}, changes: changes}
	return d.judge(&load.Result{Shapes: []load.Shape{load.Get("/")}, Records: records, Began: start, Ended: at(10_000)})
}

var direct = Target{Network: "tcp", Address: "127.0.0.1:4711"}

func TestALossIsReportedWithChangeTimeAndCause(t *testing.T) {
	workerKill := change{kind: aWorkerKill, what: "kill -9 of a worker", window: window(3000, 4000), replaced: at(3100)}
	daemonKill := change{kind: aDaemonKill, what: "kill -9 of the daemon", window: window(3000, 4000)}
	proxy := Target{Network: "tcp", Address: "127.0.0.1:80", Proxy: true}
	for name, test := range map[string]struct {
		change  change
		rec     load.Record
		to      Target
		server  string
		hookOff bool
		where   string
		cause   string
		advice  string
	}{
		"hasty server": {
			change: aSwitchAt(1000), rec: request(1500, 1700, load.Closed),
			where: "switch to r2, when the old workers ended", cause: "(gunicorn) ended at SIGTERM without finishing",
			advice: "A copy has no probation. The probation of the app, 10s",
		},
		"unknown server": {
			change: aSwitchAt(1000), rec: request(1500, 1700, load.Reset), server: "generic",
			where: "when the old workers ended", cause: "(generic) ended at SIGTERM",
			advice: "set stop_signal in [process.web]",
		},
		"cut at the stop": {
			change: aSwitchAt(1000), rec: request(1500, 1700, load.Cut),
			where: "when the old workers ended", cause: "cut off its answer when it got SIGTERM",
			advice: "within drain (30s)",
		},
		"kept and closed": {
			change: aSwitchAt(1000), rec: kept(request(1700, 1701, load.Closed)),
			where: "when the old workers ended", cause: "closed its kept-alive connections at SIGTERM",
			advice: "docs/nginx.md",
		},
		"kept, without the hook": {
			change: aSwitchAt(1000), rec: kept(request(1700, 1701, load.Closed)), hookOff: true,
			where: "when the old workers ended", cause: "closed its kept-alive connections",
			advice: "remove drain_hook = false from [process.web]",
		},
		"kept, but in work": {
			change: aSwitchAt(1000), rec: kept(request(1500, 1700, load.Closed)),
			where: "when the old workers ended", cause: "ended at SIGTERM without finishing",
		},
		"shortly after": {
			change: aSwitchAt(1000), rec: request(1500, 2100, load.Closed),
			where: "when the old workers ended", cause: "ended at SIGTERM without finishing",
		},
		"before the cutover": {
			change: aSwitchAt(1000), rec: request(1100, 1200, load.Closed),
			where: "switch to r2, step prove", cause: "while the new one started", advice: "a port, a pid file",
		},
		"5xx": {
			change: aSwitchAt(1000), rec: answered(request(1500, 1520, load.ServerError), 500),
			where: "step settle", cause: "the app itself answered 5xx", advice: "--log FILE",
		},
		"502 of a proxy": {
			change: aSwitchAt(1000), rec: answered(request(1500, 1520, load.ServerError), 502),
			to: proxy, cause: "the proxy got no complete answer", advice: "docs/nginx.md",
		},
		"refused": {
			change: aSwitchAt(1000), rec: request(1500, 1520, load.Refused),
			cause: "no process listened", advice: "please report it",
		},
		"another answer": {
			change: aSwitchAt(1000), rec: answered(request(1700, 1720, load.Wrong), 404),
			cause: "differs from the one before the drill", advice: "choose another one",
		},
		"too slow": {
			change: aSwitchAt(1000), rec: request(1100, 1900, load.TimedOut),
			cause: "no complete answer within --timeout", advice: "lower --rate",
		},
		"no ports": {
			change: aSwitchAt(1000), rec: request(1100, 1101, load.ClientFault),
			cause: "ran out of ports", advice: "proves nothing",
		},
		"waited for a new one": {
			change: workerKill, rec: request(3050, 3950, load.TimedOut),
			where: "kill -9 of a worker", cause: "waited for the worker", advice: "instances = 2 in [process.web]",
		},
		"refused after a kill": {
			change: workerKill, rec: request(3050, 3051, load.Refused),
			cause: "no process listened",
		},
		"5xx after a kill": {
			change: workerKill, rec: answered(request(3050, 3060, load.ServerError), 502),
			cause: "the app itself answered 5xx",
		},
		"closed by the next one": {
			change: workerKill, rec: request(3200, 3300, load.Closed),
			where: "kill -9 of a worker", cause: "a worker ended",
		},
		"died with the daemon": {
			change: daemonKill, rec: request(2900, 3010, load.Reset),
			where: "kill -9 of the daemon", cause: "a worker ended although only the daemon was killed",
			advice: "when its parent does",
		},
		"without any change": {
			change: aSwitchAt(5000), rec: request(3050, 3060, load.Reset),
			where: "between the changes", cause: "while the app was not changed", advice: "without a change",
		},
	} {
		to := test.to
		if to == (Target{}) {
			to = direct
		}
		rep := judged(Options{Server: Server{Name: test.server, StopSignal: "SIGTERM", HookOff: test.hookOff}}, to,
			[]change{test.change}, request(0, 10, load.None), test.rec)
		if rep.OK || rep.Lost != 1 || rep.InKilledWorker != 0 || len(rep.Losses) != 1 {
			t.Errorf("%s: %+v", name, rep)
			continue
		}
		l := rep.Losses[0]
		if !strings.Contains(l.Where(), test.where) || !strings.Contains(l.Cause, test.cause) ||
			!strings.Contains(l.Advice, test.advice) {
			t.Errorf("%s: %s: %s: %s", name, l.Where(), l.Cause, l.Advice)
		}
		if !strings.HasPrefix(rep.Verdict, "1 of 2 requests was lost, in 1 change") {
			t.Errorf("%s: %s", name, rep.Verdict)
		}
	}
}

func TestLossesInAKilledWorkerAreCountedSeparately(t *testing.T) {
	kill := change{kind: aWorkerKill, what: "kill -9 of a worker", window: window(3000, 4000), replaced: at(3100)}
	rep := judged(Options{}, direct, []change{kill}, request(0, 10, load.None),
		request(2800, 3001, load.Reset), request(2900, 3002, load.Cut), kept(request(3040, 3050, load.Closed)))
	if !rep.OK || rep.Lost != 0 || rep.InKilledWorker != 3 || rep.Changes[0].InKilledWorker != 3 ||
		rep.Changes[0].Lost != 0 {
		t.Errorf("%+v", rep)
	}
	if rep.Verdict != "none of 4 requests was lost, in 1 change; 3 more ended with the killed worker" {
		t.Error(rep.Verdict)
	}
	if rep.Failed["reset"] != 1 || rep.Failed["cut short"] != 1 || rep.Failed["closed without an answer"] != 1 {
		t.Errorf("they are not counted as failed: %v", rep.Failed)
	}
	if !rep.separate[0] || !rep.separate[2] {
		t.Error("the plot shows them as lost")
	}
	proxied := judged(Options{}, Target{Address: "127.0.0.1:80", Proxy: true}, []change{kill},
		answered(request(2900, 3005, load.ServerError), 502))
	if proxied.InKilledWorker != 1 {
		t.Errorf("through a proxy: %+v", proxied)
	}
}

func TestLossesAreSortedByChangeAndGroupedByCause(t *testing.T) {
	rep := judged(Options{}, direct, []change{aSwitchAt(1000), aSwitchAt(4000)}, request(0, 10, load.None),
		request(4500, 4700, load.Closed), request(1500, 1700, load.Closed),
		request(1510, 1710, load.Closed), request(4500, 4701, load.Reset))
	var places []string
	for _, l := range rep.Losses {
		places = append(places, l.Where())
	}
	want := "+1.70 s to +1.71 s, switch to r2, when the old workers ended; +4.70 s, switch to r2, when the old " +
		"workers ended; +4.70 s, switch to r2, when the old workers ended"
	if got := strings.Join(places, "; "); got != want {
		t.Errorf("%s", got)
	}
	groups := rep.Groups()
	if len(groups) != 2 || groups[0].Count != 3 || len(groups[0].Each) != 2 || groups[1].Count != 1 {
		t.Errorf("%+v", groups)
	}
	if rep.Changes[0].Lost != 2 || rep.Changes[1].Lost != 2 || rep.Lost != 4 {
		t.Errorf("%+v", rep.Changes)
	}
}

func TestABrokenPromiseFailsADrillThatLostNothing(t *testing.T) {
	d := &drill{opt: Options{Config: &config.Config{App: "shop"}}, site: fakeSite{to: direct}}
	d.promiseBroken("a broken release: it went live")
	rep := d.judge(&load.Result{
		Shapes: []load.Shape{load.Get("/")}, Records: []load.Record{request(0, 10, load.None)},
		Began: start, Ended: at(100),
	})
	if rep.OK || rep.Verdict != "none of 1 requests was lost in 0 changes, but a promise was broken" {
		t.Errorf("%+v", rep)
	}
	empty := judged(Options{}, direct, nil)
	if empty.OK || empty.Verdict != "no request was sent, so the drill proves nothing" {
		t.Errorf("%+v", empty)
	}
}

func TestLatenciesSeparateChangesFromTheSteadyState(t *testing.T) {
	rep := judged(Options{}, direct, []change{aSwitchAt(1000)}, request(0, 10, load.None),
		request(990, 1200, load.None), request(1500, 1540, load.None), request(3000, 3020, load.None))
	if rep.Steady != (Latency{2, 10, 20, 20, 20}) || rep.During != (Latency{2, 40, 210, 210, 210}) {
		t.Errorf("steady %+v, during changes %+v", rep.Steady, rep.During)
	}
	if c := rep.Changes[0]; c.Requests != 2 || c.Slowest != 210 || c.At != 1 || c.Seconds != 1 {
		t.Errorf("%+v", c)
	}
}

func TestAnOverloadedAppIsReported(t *testing.T) {
	late := request(0, 500, load.None)
	late.Begun = at(400)
	rep := judged(Options{}, direct, nil, late, late, request(0, 10, load.None))
	if len(rep.Notes) != 1 ||
		!strings.Contains(rep.Notes[0], "did not keep up with 50 requests a second over 8 connections") || !rep.OK {
		t.Errorf("%v", rep.Notes)
	}
}

func TestTheReportIsAContractInJSON(t *testing.T) {
	rep := judged(Options{Version: "1.0"}, direct, []change{aSwitchAt(1000)}, request(0, 10, load.None),
		request(1500, 1700, load.Closed))
	data, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"app": `"shop"`, "mode": `"copy"`, "address": `"127.0.0.1:4711"`, "ok": "false", "sent": "2", "lost": "1",
		"in_killed_worker": "0", "seconds": "10",
		"failed": `{"closed without an answer":1}`, "broken_promises": "[]", "notes": "[]",
		"verdict": `"1 of 2 requests was lost, in 1 change"`,
		"load":    `{"requests":["GET /"],"rate":50,"sent":0.2,"clients":8,"keep_alive":false,"timeout_seconds":30}`,
		"steady":  `{"requests":1,"p50_ms":10,"p99_ms":10,"p999_ms":10,"slowest_ms":10}`,
		"changes": `[{"kind":"switch","what":"switch to r2","began":"2026-01-02T03:04:06Z","at_seconds":1,` +
			`"seconds":1,"ok":true,"requests":1,"lost":1,"slowest_ms":200}]`,
	} {
		if string(got[key]) != want {
			t.Errorf("%s is %s, want %s", key, got[key], want)
		}
	}
	clean, err := json.Marshal(judged(Options{}, direct, nil, request(0, 10, load.None)))
	if err != nil || !strings.Contains(string(clean), `"changes":[],"losses":[]`) {
		t.Errorf("empty lists are not lists: %s, %v", clean, err)
	}
}
