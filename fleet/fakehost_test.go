package fleet

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"superctl/api"
	"superctl/releases/delta"
)

// fakeHost is one host. Its fields are guarded by its mutex.
type fakeHost struct {
	name string

	mu       sync.Mutex
	live     string
	previous string
	run      string
	since    time.Time
	health   string
	// behindPage is the health of the app if users get a maintenance page.
	behindPage string
	trees      map[string]string
	bundles    map[string]string
	page       string // the words of the maintenance page and its text; "" = users reach the app
	lease      string // the run that has it
	leaseBy    string
	change     *fakeChange
	taken      bool // the live release is live again because its run was taken back

	cut *signal // of the cable

	// what goes wrong
	refuses   string // step at which a change is refused: "before", "prove"; "ready": after it was ready
	reverts   bool   // the release fails its probation
	installs  string // why an install is refused
	keeps     bool   // an install says that it is of the bundle that the host had before
	boot      time.Duration
	turn      time.Duration // between the word and the cutover
	probation time.Duration
}

// fakeChange is the change in progress of a host.
type fakeChange struct {
	run, release string
	step         string
	cutOver      bool
	back         chan struct{} // closed by a rollback during the probation
	gone         chan struct{} // closed at its end
}

func (h *fakeHost) mend() { h.cut = newSignal() }

func (h *fakeHost) cutNow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut.raise()
}

// fakeFlags are the options of a command.
type fakeFlags map[string]string

// parse checks a command against the options that it may have; those that end with = take a value.
func (s *fakeSession) parse(args []string, words int, options ...string) ([]string, fakeFlags) {
	flags, rest := fakeFlags{}, []string{}
	for i := 1; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		switch {
		case !strings.HasPrefix(name, "--"):
			rest = append(rest, args[i])
		case slices.Contains(options, name+"="):
			if !joined {
				i++
				value = args[i]
			}
			if value == "" {
				s.fleet.t.Errorf("%s: %s has no value: %q", s.host.name, name, args)
			}
			flags[name] = value
		case slices.Contains(options, name) && !joined:
			flags[name] = "yes"
		default:
			s.fleet.t.Errorf("%s: unknown option %s: %q", s.host.name, name, args)
		}
	}
	if len(rest) != words {
		s.fleet.t.Errorf("%s: %d arguments instead of %d: %q", s.host.name, len(rest), words, args)
		rest = append(rest, "?", "?")
	}
	return rest, flags
}

func (s *fakeSession) serve(args []string) error {
	switch args[0] {
	case "status":
		s.parse(args, 0, "--json")
		return s.status()
	case "releases":
		s.parse(args, 0, "--json")
		var list []listed
		s.host.mu.Lock()
		for name, tree := range s.host.trees {
			list = append(list, listed{Name: name, Tree: tree, Bundle: s.host.bundles[name]})
		}
		s.host.mu.Unlock()
		s.print(list)
		return nil
	case "install":
		if slices.Contains(args, "--kept") {
			s.parse(args, 0, "--kept")
			s.print(delta.Base{})
			return nil
		}
		s.parse(args, 1, "--json", "--keep")
		return s.install()
	case "prune":
		s.parse(args, 0, "--json")
		s.print("{}")
		return nil
	case "lock":
		_, flags := s.parse(args, 0, "--run=", "--by=", "--why=", "--heartbeat=")
		return s.lock(flags)
	case "notify":
		_, flags := s.parse(args, 0, "--run=", "--by=", "--kind=", "--maintenance=", "--fleet=", "--outcome=", "--hosts=", "--seconds=",
			"--release=", "--previous=", "--behind=", "--error=")
		return s.notify(flags)
	case "maintenance":
		words, flags := s.parse(args, 1, "--run=", "--by=", "--json", "--follower", "--retry-after=", "--page=", "--page-sha256=",
			"--allow=")
		return s.maintenance(words[0], flags)
	case "switch":
		if slices.Contains(args, "--dry-run") {
			words, _ := s.parse(args, 1, "--dry-run", "--json", "--force")
			return s.rehearsed(words[0])
		}
		words, flags := s.parse(args, 1, "--expect=", "--prepare=", "--heartbeat=", "--run=", "--by=", "--json", "--follower",
			"--force")
		return s.prepared(words[0], flags)
	case "rollback":
		if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--prepare") }) {
			_, flags := s.parse(args, 0, "--from=", "--prepare=", "--heartbeat=", "--run=", "--by=", "--json", "--follower",
				"--force")
			s.host.mu.Lock()
			previous := s.host.previous
			s.host.mu.Unlock()
			return s.prepared(previous, flags)
		}
		_, flags := s.parse(args, 0, "--from=", "--run=", "--by=", "--json", "--follower")
		return s.rollback(flags)
	}
	s.fleet.t.Errorf("%s: unknown command %q", s.host.name, args)
	return &ExitError{Code: 2, Stderr: "unknown command"}
}

func (s *fakeSession) status() error {
	h := s.host
	h.mu.Lock()
	st := api.Status{Run: h.run, TakenBack: h.taken}
	st.App, st.Release, st.Previous, st.Health, st.LiveSince, st.LiveBy = "shop", h.live, h.previous, h.health, h.since, "anna"
	if h.behindPage != "" {
		st.Maintenance = &api.MaintenanceStatus{Health: h.behindPage}
	}
	if h.lease != "" {
		st.Lock = &api.LockStatus{
			Lock: api.Lock{Why: "deploy", Who: "root", Origin: api.Origin{Run: h.lease, Behalf: h.leaseBy}}, Since: time.Now(),
		}
	}
	if ch := h.change; ch != nil {
		st.Changing = &api.ChangeStatus{Kind: "switch", Release: ch.release, Step: ch.step, Committed: ch.cutOver}
	}
	h.mu.Unlock()
	s.print(st)
	return nil
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

func (s *fakeSession) install() error {
	time.Sleep(3 * time.Second)
	h := s.host
	s.fleet.event("%s install", h.name)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.installs != "" {
		s.print(made{Result: api.Aborted, Release: "2", Error: h.installs})
		return &ExitError{Code: 1}
	}
	if !h.keeps {
		h.bundles["2"] = "b2"
	}
	s.print(made{Changed: true, Result: api.Done, Release: "2", Bundle: h.bundles["2"], Tree: h.trees["2"]})
	return nil
}

// word waits for a line, the end of stdin, or the end of the signs of life; "" = give up.
func (s *fakeSession) word(heartbeat time.Duration, more <-chan time.Time) string {
	silent := time.NewTimer(heartbeat)
	defer silent.Stop()
	for {
		select {
		case line := <-s.in:
			if line == "wait" {
				silent.Reset(heartbeat)
				if s.answers {
					s.print(map[string]any{"waiting": true})
				}
				continue
			}
			return line
		case <-s.eof:
			return ""
		case <-silent.C:
			return ""
		case <-more:
			return "timer"
		}
	}
}

func (s *fakeSession) duration(flags fakeFlags, name string) time.Duration {
	d, err := time.ParseDuration(flags[name])
	if err != nil {
		s.fleet.t.Errorf("%s: %s: %v", s.host.name, name, err)
	}
	return d
}

func (s *fakeSession) lock(flags fakeFlags) error {
	h := s.host
	s.fleet.event("%s lock", h.name)
	h.mu.Lock()
	if h.lease != "" {
		by := h.leaseBy
		h.mu.Unlock()
		return &ExitError{Code: 4, Stderr: "locked by " + by}
	}
	h.lease, h.leaseBy = flags["--run"], flags["--by"]
	h.mu.Unlock()
	s.print("locked")
	for s.word(s.duration(flags, "--heartbeat"), nil) != "" {
		s.fleet.t.Errorf("%s: a word for a lock", h.name)
	}
	h.mu.Lock()
	h.lease = ""
	h.mu.Unlock()
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

// notify records what the team is told. A run that holds the lease is announced while it holds it.
func (s *fakeSession) notify(flags fakeFlags) error {
	f, h := s.fleet, s.host
	h.mu.Lock()
	if h.lease != "" && h.lease != flags["--run"] {
		f.t.Errorf("%s is to announce %s during %s", h.name, flags["--run"], h.lease)
	}
	h.mu.Unlock()
	text := fmt.Sprintf("%s: %s %s on %s", h.name, flags["--outcome"], flags["--release"], flags["--hosts"])
	if word := flags["--maintenance"]; word != "" {
		text = fmt.Sprintf("%s: maintenance %s %s on %s", h.name, word, flags["--outcome"], flags["--hosts"])
	}
	if flags["--behind"] != "" {
		text += " behind " + flags["--behind"]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, text)
	return nil
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

// maintenance is maintenance on or off.
func (s *fakeSession) maintenance(word string, flags fakeFlags) error {
	h, page := s.host, ""
	s.fleet.event("%s maintenance", h.name)
	if word == api.MaintenanceOn {
		page = flags["--retry-after"] + " " + flags["--allow"]
	}
	if flags["--page"] != "" {
		var body []string
		for {
			select {
			case line := <-s.in:
				body = append(body, line)
				continue
			case <-s.cut.c: // the page does not arrive whole
				return &ExitError{Code: 2, Stderr: "the page did not arrive whole"}
			case <-s.eof:
			}
			break
		}
		text := strings.Join(body, "\n")
		if (&api.MaintenancePage{Body: []byte(text)}).Sum() != flags["--page-sha256"] || flags["--page"] != "-" {
			s.fleet.t.Errorf("%s: the page is %q with %v", h.name, text, flags)
		}
		page += " " + text
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	out := api.Outcome{Kind: "maintenance", Maintenance: word, Result: api.Done, Changed: h.page != page}
	switch {
	case h.lease != flags["--run"] || flags["--by"] == "":
		s.fleet.t.Errorf("%s: maintenance by %v, without its lock", h.name, flags)
	case h.refuses == "maintenance":
		return s.outcome(api.Outcome{Kind: "maintenance", Result: api.Aborted, Error: "it does not answer"})
	}
	h.page = page
	s.fleet.mu.Lock()
	defer s.fleet.mu.Unlock()
	if flags["--follower"] == "" {
		s.fleet.leaders++
	}
	return s.outcome(out)
}
