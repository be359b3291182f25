package site

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"superctl/api"
	"superctl/e2e/harness"
	"superctl/load"
)

// What the command writes down: for which time it runs, and its pid. While there is a file hold it
// does not end by itself.
const mortal = `
[cron.report]
schedule = "*:*:0/3"
command = ["sh", "-c", "echo $SUPERCTL_DUE $$ $SUPERCTL_RELEASE >> $CRON_RUNS && while test -e $CRON_HOLD; do sleep 0.1; done"]
`

// cronMessage is a notification of a scheduled command that has failed.
type cronMessage struct {
	ID      string `json:"id"`
	Event   string `json:"event"`
	Outcome struct {
		Command string    `json:"command"`
		Error   string    `json:"error"`
		Started time.Time `json:"started"`
	} `json:"outcome"`
}

// cronLedger is a webhook that records what is told of scheduled commands, each message once.
type cronLedger struct {
	*httptest.Server

	mu   sync.Mutex
	told map[string]cronMessage // by ID; guarded by mu
}

func newCronLedger(t *testing.T) *cronLedger {
	l := &cronLedger{told: make(map[string]cronMessage)}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m cronMessage
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.told[m.ID] = m
	}))
	t.Cleanup(l.Close)
	return l
}

// of returns the messages about the run that began at a time.
func (l *cronLedger) of(began time.Time) (list []cronMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.told {
		if m.Event == "cron" && m.Outcome.Started.Equal(began) {
			list = append(list, m)
		}
	}
	return list
}

func TestADaemonThatDiesAtAnyPointOfARunRunsItsTimeOnceAndTellsIt(t *testing.T) {
	t.Parallel()
	told := newCronLedger(t)
	a := harness.New(t, run, harness.Options{
		More: mortal + "[notify.ledger]\nservice = \"webhook\"\non = [\"cron\"]\nurl = " + strconv.Quote(told.URL) + "\n",
	})
	a.Options.Env = `CRON_RUNS = "` + a.Path("runs") + `"` + "\n" + `CRON_HOLD = "` + a.Path("hold") + `"`
	a.WriteConfig()
	a.Releases("r1")
	w := &walk{App: a, t: t, faults: t.TempDir()}
	w.launch()
	a.Command("switch", "r1").Want(0)
	requests := a.Load(load.Config{Rate: 60, Clients: 8})
	for _, death := range []struct {
		point string // "" = while the command runs
		runs  int    // of the time at which the daemon dies
	}{{"cron: before run", 0}, {"", 1}, {"cron: after run", 1}} {
		t.Run(cmp.Or(death.point, "cron: during run"), func(t *testing.T) {
			w.t, w.T = t, t
			last := w.dieInRun(death.point)
			if last.Result != api.CronEnded || !strings.Contains(last.Error, "superctl cron run starts it again") {
				t.Errorf("the run in which the daemon has died: %+v", last)
			}
			harness.Eventually(t, "the team is told", func() bool { return len(told.of(last.Began)) > 0 })
			begun := len(cronRuns(a))
			harness.Eventually(t, "the command runs at its next time", func() bool { return len(cronRuns(a)) > begun })
			n := make(map[string]int)
			for _, r := range cronRuns(a) {
				if n[r.due]++; n[r.due] > 1 {
					t.Errorf("the command has run twice for %s", r.due)
				}
			}
			if due := last.Due.UTC().Format(time.RFC3339); n[due] != death.runs {
				t.Errorf("the command has run %d times for %s, want %d", n[due], due, death.runs)
			}
			if all := told.of(last.Began); len(all) != 1 || all[0].Outcome.Error != last.Error {
				t.Errorf("told: %+v, want once %q", all, last.Error)
			}
		})
	}
	w.t, w.T = t, t
	a.Lossless(requests)
}

// dieInRun makes the daemon die at a point of a run, or while the command runs for "". It returns what
// the next daemon knows of that run, and a run by that daemon has begun or is to begin.
func (w *walk) dieInRun(point string) api.CronRun {
	if point == "" {
		w.WriteFile("hold", "")
		before := len(cronRuns(w.App))
		harness.Eventually(w.t, "the command runs", func() bool { return len(cronRuns(w.App)) > before })
		w.Daemon.Kill()
	} else {
		w.arm(point)
		harness.Eventually(w.t, "the daemon has died", w.Daemon.Ended)
		w.Daemon.Wait()
		w.WriteFile("hold", "") // so that the next run does not end, and this one stays the last
	}
	begun := cronRuns(w.App)
	w.launch()
	if point == "" {
		if pid := begun[len(begun)-1].pid; runs(pid) {
			w.t.Errorf("the command of the daemon that has died still runs, as process %d", pid)
		}
	}
	last := cronOf(w.App, "report").Last
	if last == nil {
		w.t.Fatal("the next daemon knows of no run")
	}
	if err := os.Remove(w.Path("hold")); err != nil {
		w.t.Fatal(err)
	}
	return *last
}
