package fleet

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"superctl/api"
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

func (h *fakeHost) mend() { h.cut = newSignal() }

func (h *fakeHost) cutNow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cut.raise()
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
