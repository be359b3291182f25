package site

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"superctl/e2e/harness"
)

// ledger is a webhook that records notifications, each message once.
type ledger struct {
	*httptest.Server

	mu   sync.Mutex
	said map[string]entry // by ID; guarded by mu
	last entry            // newest end; guarded by mu
	more chan struct{}    // closed and replaced at each message; guarded by mu
}

type entry struct {
	ID      string `json:"id"`
	Event   string `json:"event"`
	Outcome struct {
		Kind     string `json:"kind"`
		Release  string `json:"release"`
		Previous string `json:"previous"`
	} `json:"outcome"`
}

func newLedger(t *testing.T) *ledger {
	l := &ledger{said: make(map[string]entry), more: make(chan struct{})}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e entry
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil || e.ID != r.Header.Get("Idempotency-Key") {
			http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if was, ok := l.said[e.ID]; ok { // its daemon has died before it had our answer
			if was != e {
				t.Errorf("told twice, and not the same: %+v and then %+v", was, e)
			}
			return
		}
		l.said[e.ID] = e
		close(l.more)
		l.more = make(chan struct{})
		if e.Event != "start" {
			l.last = e
		}
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *ledger) config() string {
	return fmt.Sprintf("[notify.ledger]\nservice = \"webhook\"\nurl = %q\n", l.URL)
}

// complete waits until every change with a notified beginning has a notified end, and compares the
// newest with the live release.
func (l *ledger) complete(t *testing.T, live string) {
	t.Helper()
	var open *entry
	var last entry
	if !harness.Changes(nil, func() (more <-chan struct{}, done bool) {
		open, last, more = l.state()
		return more, open == nil
	}) {
		t.Fatalf("no message has its outcome: %+v", *open)
	}
	if o := last.Outcome; last.Event == "success" && live != o.Release || last.Event != "success" && live != o.Previous {
		t.Errorf("%s is live, and told was %+v", live, last)
	}
}

// state returns a change without a notified end, the newest end, and a channel that is closed at
// the next message.
func (l *ledger) state() (open *entry, last entry, more chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.said {
		if begun, ok := strings.CutSuffix(id, "-begin"); ok {
			if _, ended := l.said[begun+"-end"]; !ended {
				open = &e
			}
		}
	}
	return open, l.last, l.more
}
