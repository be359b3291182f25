package drill

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"time"

	"superctl/api"
	"superctl/config"
	"superctl/load"
)

// judge finds out when and why each failed request was lost.
type judge struct {
	changes []change
	server  Server
	process config.Process
	proxy   bool
	live    bool
	bake    time.Duration // the probation of the app, which a copy does not have
	rep     *Report
}

// The points of a change at which requests are lost, in addition to the names of the daemon's
// steps.
const (
	phaseStop   = "when the old workers ended"
	phaseKill   = "at the kill"
	phaseAround = "around its end"
)

// clockSlack is the tolerance between the clocks of the load and of the daemon.
const clockSlack = 5 * time.Millisecond

// midway is the duration from which a request was certainly being worked on. One that fails sooner
// may have met a connection that was being closed.
const midway = 20 * time.Millisecond

// afterglow is how long after a change a loss is attributed to it.
const afterglow = 300 * time.Millisecond

// losses groups and counts the failed requests.
func (j *judge) losses(res *load.Result) {
	for i := range j.changes {
		c := &j.changes[i]
		j.rep.Changes = append(j.rep.Changes, ChangeReport{
			Kind: c.kind, What: c.what, Began: c.window.Began, At: c.window.Began.Sub(res.Began).Seconds(),
			Seconds: c.window.Ended.Sub(c.window.Began).Seconds(), Detail: c.detail, OK: c.err == "", Error: c.err,
		})
	}
	at := make(map[Loss]int)
	for n, rec := range res.Failed() {
		key, i := j.place(&rec)
		j.rep.separate[n] = key.InKilledWorker
		switch {
		case key.InKilledWorker:
			j.rep.InKilledWorker++
			j.rep.Changes[i].InKilledWorker++
		default:
			j.rep.Lost++
			if i >= 0 {
				j.rep.Changes[i].Lost++
			}
		}
		when := rec.Ended.Sub(res.Began).Seconds()
		known, ok := at[key]
		if !ok {
			known = len(j.rep.Losses)
			at[key] = known
			l := key
			l.First, l.Example = when, fmt.Sprintf("%s: %s", res.Shapes[rec.Shape].Name, rec.Err)
			l.Cause, l.Advice = j.explain(&l, rec.Failure)
			j.rep.Losses = append(j.rep.Losses, l)
		}
		l := &j.rep.Losses[known]
		l.Count++
		l.First, l.Last = min(l.First, when), max(l.Last, when)
	}
	slices.SortStableFunc(j.rep.Losses, func(a, b Loss) int { return cmp.Compare(a.First, b.First) })
}

// place returns the change and the point of it at which a request was lost. i is the change's
// index, or -1.
func (j *judge) place(rec *load.Record) (key Loss, i int) {
	key = Loss{Kind: rec.Failure.String(), Connection: "new"}
	if rec.Reused {
		key.Connection = "kept"
	}
	i = slices.IndexFunc(j.changes,
		func(c change) bool { return within(rec.Ended, c.window.Began, c.window.Ended.Add(afterglow)) })
	if i < 0 { // it ended outside of all changes, but may have run during one
		i = slices.IndexFunc(j.changes,
			func(c change) bool { return rec.Begun.Before(c.window.Ended) && rec.Ended.After(c.window.Began) })
	}
	if i < 0 {
		return key, i
	}
	c := &j.changes[i]
	key.Change, key.Number, key.Phase = c.what, i+1, c.phase(rec.Ended)
	key.Midway = rec.Ended.Sub(rec.Begun) >= midway
	key.InKilledWorker = j.inKilled(c, rec)
	return key, i
}

func within(t, began, ended time.Time) bool { return !t.Before(began) && !t.After(ended) }

// phase returns the point of a change at a moment.
func (c *change) phase(at time.Time) string {
	if c.kind == aWorkerKill || c.kind == aDaemonKill {
		return phaseKill
	}
	at = at.Round(0) // the steps come from another process, without a monotonic clock
	for _, s := range c.steps {
		ended := s.Began.Add(time.Duration(s.Seconds * float64(time.Second)))
		if !within(at, s.Began.Round(0), ended.Round(0)) || s.Name == api.StepRetire {
			continue
		}
		// strategies that stop old workers in a step of their own
		if slices.Contains([]string{api.StepQuiesce, api.StepDrain, api.StepRoll}, s.Name) {
			return phaseStop
		}
		return s.Name
	}
	for _, s := range c.steps {
		if s.Name == api.StepRetire && !at.Before(s.Began.Round(0)) {
			return phaseStop
		}
	}
	return phaseAround
}

// inKilled reports whether a request was in the worker that was killed: it ran at the kill, or
// began while the last processes of that worker were ending, and its connection ended without a
// complete response. Only the client can save such a request. A request that was refused, timed out
// or got a wrong response was not lost in this way.
func (j *judge) inKilled(c *change, rec *load.Record) bool {
	if c.kind != aWorkerKill || rec.Begun.After(c.replaced) || rec.Ended.Add(clockSlack).Before(c.window.Began) {
		return false
	}
	switch rec.Failure {
	case load.Reset, load.Closed, load.Cut:
		return true
	case load.ServerError:
		return j.proxy && rec.Status == http.StatusBadGateway
	default:
		return false
	}
}

// explain returns why a request was probably lost, and what to do.
func (j *judge) explain(l *Loss, f load.Failure) (cause, advice string) {
	switch {
	case f == load.ClientFault:
		return "the client that sends the load ran out of ports or descriptors",
			"this proves nothing about the app: lower --rate and --clients, or raise ulimit -n"
	case l.InKilledWorker:
		return "the worker had it when it got SIGKILL",
			"only the client can retry it; with more and smaller workers, each has fewer requests"
	case l.Change == "":
		return "it was lost while the app was not changed",
			"the app loses requests without a change: " + j.logHint()
	}
	switch f {
	case load.Wrong:
		return "the app's answer differs from the one before the drill",
			"compare the answers; if the releases differ in this page, choose another one (--path, --post)"
	case load.ServerError:
		return j.explainServerError()
	case load.Refused:
		return "no process listened at that moment",
			"this is a bug in superctl: please report it with the output of --json"
	case load.TimedOut:
		return j.explainTimeout(l)
	case load.Reset, load.Closed, load.Cut:
		return j.explainBreak(l, f)
	default:
		return j.unexplained()
	}
}

func (j *judge) unexplained() (cause, advice string) {
	return "the server closed the connection", j.logHint()
}

func (j *judge) explainServerError() (cause, advice string) {
	if j.proxy {
		return "the proxy got no complete answer from the app, or could not reach it",
			"docs/nginx.md shows how nginx opens a connection for each request, or retries"
	}
	return "the app itself answered 5xx", j.logHint() +
		"; check whether the releases conflict in something that they share (a migration, a cache, a file)"
}

func (j *judge) explainTimeout(l *Loss) (cause, advice string) {
	if l.Phase == phaseKill {
		return "it waited for the worker that replaces the killed one",
			fmt.Sprintf("set instances = 2 in [process.%s], so that another worker answers meanwhile", j.process.Name)
	}
	return "there was no complete answer within --timeout", fmt.Sprintf(
		"check whether the app is overloaded, by this load or while it starts; lower --rate or raise --timeout; "+
			"requests that take longer than drain (%s) are cut", j.process.Drain)
}

// explainBreak is explain for a connection that ended before its answer was complete.
func (j *judge) explainBreak(l *Loss, f load.Failure) (cause, advice string) {
	switch l.Phase {
	case phaseStop:
		return j.explainStopped(l, f)
	case phaseKill:
		return "a worker ended although only the daemon was killed",
			"check whether the server ends when its parent does; " + j.logHint()
	case api.StepBoot, api.StepProve:
		return "a worker of the live release ended or closed its connections while the new one started",
			"check whether the two share a port, a pid file or a socket; " + j.logHint()
	}
	return j.unexplained()
}

// explainStopped is explainStop, with advice about the probation that a copy does not have.
func (j *judge) explainStopped(l *Loss, f load.Failure) (cause, advice string) {
	cause, advice = j.explainStop(l, f)
	if !j.live && j.bake > 0 && (l.Midway || l.Connection == "new") {
		advice += fmt.Sprintf(". A copy has no probation. The probation of the app, %s, saves shorter requests, "+
			"but none at a restart or a scale", j.bake)
	}
	return cause, advice
}

// logHint returns where to find the app's output of that moment.
func (j *judge) logHint() string {
	if j.live {
		return "superctl logs shows its output of that moment"
	}
	return "--log FILE writes the output of the copy to a file"
}

// explainStop is explain for a request that was lost when the old workers were stopped.
func (j *judge) explainStop(l *Loss, f load.Failure) (cause, advice string) {
	signal := cmp.Or(j.server.StopSignal, "its stop signal")
	closed := fmt.Sprintf("the server (%s) closed its kept-alive connections at %s, while a client sent its next "+
		"request on one", j.server.Name, signal)
	switch {
	case l.Connection == "kept" && !l.Midway && j.server.HookOff:
		return closed, fmt.Sprintf("remove drain_hook = false from [process.%s]: with the hook, the server announces "+
			"the close to its clients", j.process.Name)
	case l.Connection == "kept" && !l.Midway:
		return closed, "the client or proxy must retry such requests (docs/nginx.md shows how for nginx); " +
			"drain_connections gives clients time to close their connections first (docs/long-lived-connections.md)"
	case f == load.Cut:
		return fmt.Sprintf("the server (%s) cut off its answer when it got %s", j.server.Name, signal),
			fmt.Sprintf("it must finish its requests within drain (%s): check whether an option of the server ends "+
				"them sooner; else %s", j.process.Drain, j.drainHint())
	}
	return fmt.Sprintf("the server (%s) ended at %s without finishing its requests", j.server.Name, signal),
		"at this signal it must accept no new connections, finish its requests, and only then exit: " + j.drainHint()
}

// drainHint returns where to look if a server does not drain.
func (j *judge) drainHint() string {
	if j.server.Name == "generic" {
		return fmt.Sprintf("superctl does not know this server; if another signal drains it, set stop_signal in "+
			"[process.%s]; if a wrapper starts it, make the wrapper pass the signal on", j.process.Name)
	}
	return "superctl check shows which options of the command prevent that; docs/config.md explains " +
		"stop_signal and drain"
}
