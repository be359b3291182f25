package site

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"superctl/api"
	"superctl/e2e/harness"
	"superctl/load"
)

//go:embed leaky.py
var leakyApp string

// recyclings is how often a worker is recycled: SUPERCTL_RECYCLES, or a few times.
func recyclings() int {
	if n, err := strconv.Atoi(os.Getenv("SUPERCTL_RECYCLES")); err == nil {
		return n
	}
	return 2
}

// In MiB: what a worker of the leaking app may use, and more than one without requests does.
const (
	mostMemory  = 96
	emptyMemory = 48
)

// leakedAtOnce is what a worker grows by with each request, in MiB: what leaky.py keeps, and a page.
const leakedAtOnce = 0.38

func TestALeakingWorkerIsRecycledWithoutAFailedRequest(t *testing.T) {
	t.Parallel()
	for name, web := range map[string]string{
		"one master":           "",
		"one of two instances": "strategy = \"rolling\"\ninstances = 2\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{
				Server: harness.Server{
					// By default gunicorn closes a connection that was idle for 2 s, perhaps just as a request arrives.
					Name: "gunicorn", Command: "gunicorn --worker-class gthread --workers 2 --threads 2 --keep-alive 75 leaky:wsgi",
				},
				Web: web + fmt.Sprintf("drain = \"3m\"\nstart_timeout = \"3m\"\nrecycle = { memory = \"%dM\", interval = \"1s\" }",
					mostMemory),
			})
			a.Releases("r1")
			a.WriteFile("releases/r1/leaky.py", leakyApp)
			a.Start("r1")
			requests := a.Load(load.Config{
				Rate: 60, Clients: 8, KeepAlive: true, FreshClients: 4, MaxDuration: 3 * time.Hour, Shapes: []load.Shape{load.Get("/")},
			})
			if err := a.Daemon.Says(func(line string) bool { return strings.HasPrefix(line, "STATUS=restart to r1") }); err != nil {
				t.Fatalf("no worker is recycled: %v", err)
			}
			a.Daemon.Kill() // in the middle of it
			a.Start("")     // and measures again
			for range recyclings() {
				awaitGeneration(t, a, a.Status().Generation+1)
			}
			a.More(requests, 20)
			sent := len(a.Lossless(requests).Records)
			used := recycledAt(t, a)
			if len(used) < recyclings()-1 { // the last one may not be in the history yet
				t.Errorf("the history has %d MiB", used)
			}
			leaked := 0 // what a recycling does not free is counted again at the next one
			for _, mib := range used {
				leaked += max(0, mib-emptyMemory)
			}
			if all := int(float64(sent) * leakedAtOnce); leaked > all {
				t.Errorf("memory is not bounded: %d MiB were freed, and %d requests leak %d MiB: %d", leaked, sent, all, used)
			}
			slices.Sort(used)
			t.Logf("%d recyclings, at %d MiB in the median, %d at most", len(used), used[len(used)/2], used[len(used)-1])
		})
	}
}

// awaitGeneration waits until a generation with that number or a higher one is live.
func awaitGeneration(t *testing.T, a *harness.App, least int) {
	t.Helper()
	if err := a.Daemon.Says(func(line string) bool {
		var release string
		var id int
		n, _ := fmt.Sscanf(line, "STATUS=%s (generation %d) is live", &release, &id)
		return n == 2 && id >= least
	}); err != nil {
		t.Fatalf("generation %d is not live: %v", least, err)
	}
}

// recycledAt returns what workers used when they were recycled, in MiB, by the history.
func recycledAt(t *testing.T, a *harness.App) (used []int) {
	t.Helper()
	var records []api.Outcome
	if err := json.Unmarshal([]byte(a.Command("history", "-n", "1000", "--json").Want(0).Stdout()), &records); err != nil {
		t.Fatalf("history: %v", err)
	}
	for i := range records {
		o := &records[i]
		if o.Who != "recycling" || o.Result != api.Done {
			continue
		}
		var worker string
		var mib int
		if _, err := fmt.Sscanf(o.Warnings[0], "%s uses %d MiB", &worker, &mib); err != nil || mib < mostMemory {
			t.Errorf("recycled without a reason: %q (%v)", o.Warnings, err)
		}
		used = append(used, mib)
	}
	return used
}
