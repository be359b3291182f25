package fleet

import (
	"time"

	"superctl/api"
)

// fakeChange is the change in progress of a host.
type fakeChange struct {
	run, release string
	step         string
	cutOver      bool
	back         chan struct{} // closed by a rollback during the probation
	gone         chan struct{} // closed at its end
}

// rehearsed is a switch with --dry-run.
func (s *fakeSession) rehearsed(release string) error {
	h := s.host
	h.mu.Lock()
	defer h.mu.Unlock()
	out := api.Outcome{Kind: "switch", DryRun: true, Release: release, Previous: h.live, Result: api.Done}
	if h.refuses != "" {
		out.Result, out.Error = api.Aborted, h.refuses
		s.print(out)
		return &ExitError{Code: 1}
	}
	out.Changed = release != h.live
	s.print(out)
	return nil
}

func (s *fakeSession) outcome(o api.Outcome) error {
	s.print(o)
	if code := o.Result.Exit(); code != 0 {
		return &ExitError{Code: code, Stderr: o.Error}
	}
	return nil
}

// prepared is switch or rollback with --prepare.
func (s *fakeSession) prepared(release string, flags fakeFlags) error {
	h := s.host
	s.answers = true
	ch := &fakeChange{run: flags["--run"], release: release, step: "resolve", back: make(chan struct{}), gone: make(chan struct{})}
	if flags["--prepare"] == "" || flags["--json"] == "" || flags["--by"] == "" {
		s.fleet.t.Errorf("%s: incomplete: %v", h.name, flags)
	}
	h.mu.Lock()
	was := h.live
	expected := flags["--expect"]
	if from := flags["--from"]; from != "" {
		expected = from
	}
	switch {
	case h.change != nil, h.lease != "" && h.lease != ch.run:
		h.mu.Unlock()
		return &ExitError{Code: 4, Stderr: "another change is in progress"}
	case was != release && expected != was:
		h.mu.Unlock()
		return s.outcome(api.Outcome{Kind: "switch", Result: api.Aborted, Error: "expected " + expected + ", " + was + " is live"})
	case h.trees[release] == "":
		h.mu.Unlock()
		return s.outcome(api.Outcome{Kind: "switch", Result: api.Aborted, Error: "no release " + release})
	}
	h.change = ch
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.change = nil
		h.mu.Unlock()
		close(ch.gone)
	}()
	out := api.Outcome{Kind: "switch", Release: release, Previous: was, Result: api.Aborted}
	if out.Error = s.prepare(ch, flags); out.Error != "" {
		return s.outcome(out)
	}
	return s.outcome(s.cutover(ch, out))
}

func (s *fakeSession) step(ch *fakeChange, step string) {
	s.host.mu.Lock()
	ch.step = step
	s.host.mu.Unlock()
	s.fleet.event("%s %s", s.host.name, step)
	s.print(api.Event{Type: "begin", Step: step})
}

// prepare returns why the host does not cut over, or "".
func (s *fakeSession) prepare(ch *fakeChange, flags fakeFlags) string {
	h, beat := s.host, s.duration(flags, "--heartbeat")
	s.step(ch, api.StepBefore)
	if flags["--follower"] == "" {
		s.fleet.mu.Lock()
		s.fleet.migrations[ch.run]++
		s.fleet.mu.Unlock()
		if w := s.word(beat, time.After(time.Second)); w != "timer" {
			return "aborted: the client is gone"
		}
	}
	if h.refuses == "before" {
		return "the hook failed"
	}
	s.step(ch, api.StepBoot)
	if w := s.word(beat, time.After(h.boot)); w != "timer" {
		return "aborted: the client is gone"
	}
	s.step(ch, api.StepProve)
	if h.refuses == "prove" {
		return "the health check failed"
	}
	s.fleet.event("%s ready", h.name)
	s.print(map[string]any{"ready": true, "release": ch.release})
	limit := time.After(s.duration(flags, "--prepare"))
	if h.refuses == "ready" {
		limit = time.After(3 * time.Second)
	}
	if w := s.word(beat, limit); w != "go" {
		return "aborted while ready: " + w
	}
	return ""
}

// cutover makes the release live and watches it.
func (s *fakeSession) cutover(ch *fakeChange, out api.Outcome) api.Outcome {
	h := s.host
	out.Result = api.Done
	if out.Release == out.Previous {
		return out // there is nothing to do
	}
	time.Sleep(h.turn)
	s.step(ch, api.StepCutover)
	h.mu.Lock()
	was, wasPrevious, wasRun, wasSince := h.live, h.previous, h.run, h.since
	h.live, h.previous, h.run, h.since, ch.cutOver = ch.release, h.live, ch.run, time.Now(), true
	h.taken = false
	h.mu.Unlock()
	out.Changed = true
	out.Steps = []api.Step{{Name: api.StepCutover, Began: time.Now()}}
	s.step(ch, api.StepProbation)
	half := time.After(h.probation)
	if h.reverts {
		half = time.After(h.probation / 2)
	}
	reverted := h.reverts
	select {
	case <-half:
	case <-ch.back:
		reverted = true
	}
	s.fleet.event("%s judged", h.name)
	h.mu.Lock()
	if reverted {
		h.live, h.previous, h.run, h.since = was, wasPrevious, wasRun, wasSince
		out.Result, out.Error = api.Reverted, "the probation failed"
	}
	h.mu.Unlock()
	if !reverted {
		s.step(ch, api.StepRetire)
		time.Sleep(2 * time.Second)
	}
	return out
}

// rollback is rollback --from RELEASE, without --prepare.
func (s *fakeSession) rollback(flags fakeFlags) error {
	h := s.host
	s.fleet.event("%s rollback", h.name)
	h.mu.Lock()
	ch, out := h.change, api.Outcome{Kind: "rollback", Result: api.Done, Release: h.live, Previous: h.live}
	switch {
	case h.live != flags["--from"]:
		h.mu.Unlock()
		return s.outcome(out)
	case ch != nil && ch.step == api.StepProbation:
		select {
		case <-ch.back:
		default:
			close(ch.back)
		}
		h.mu.Unlock()
		<-ch.gone
		out.Changed = true
		return s.outcome(out)
	case ch != nil, h.lease != "" && h.lease != flags["--run"]:
		h.mu.Unlock()
		return &ExitError{Code: 4, Stderr: "another change is in progress"}
	}
	h.taken = h.run == flags["--run"]
	h.live, h.previous, h.run, h.since = h.previous, h.live, flags["--run"], time.Now()
	out.Release, out.Changed = h.live, true
	h.mu.Unlock()
	return s.outcome(out)
}
