package site

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

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

// mostMemory is what a worker of the leaking app may use, in MiB; one without requests uses a third
// of that. A machine that is busy takes its time to start the successor, and the worker leaks on.
const (
	mostMemory = 96
	mostLeaked = 8 * mostMemory
)

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
					Name: "gunicorn", Command: "gunicorn --worker-class gthread --workers 2 --threads 2 leaky:wsgi",
				},
				Web: web + fmt.Sprintf("recycle = { memory = \"%dM\", interval = \"1s\" }", mostMemory),
			})
			a.Releases("r1")
			a.WriteFile("releases/r1/leaky.py", leakyApp)
			a.Start("r1")
			requests := a.Load(load.Config{
				Rate: 60, Clients: 8, KeepAlive: true, FreshClients: 4, Shapes: []load.Shape{load.Get("/")},
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
			a.Lossless(requests)
			reasons := recycleReasons(a)
			if len(reasons) < recyclings()-1 { // the last one may not be in the history yet
				t.Errorf("the history has %q", reasons)
			}
			for _, text := range reasons {
				var worker string
				var used int
				if _, err := fmt.Sscanf(text, "%s uses %d MiB", &worker, &used); err != nil || used > mostLeaked {
					t.Errorf("memory is not bounded: %q (%v)", text, err)
				}
			}
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

// recycleReasons returns why workers were recycled, by the history.
func recycleReasons(a *harness.App) (reasons []string) {
	a.T.Helper()
	var records []api.Outcome
	if err := json.Unmarshal([]byte(a.Command("history", "-n", "1000", "--json").Want(0).Stdout()), &records); err != nil {
		a.Fatalf("history: %v", err)
	}
	for i := range records {
		if o := &records[i]; o.Who == "recycling" && o.Result == api.Done {
			reasons = append(reasons, o.Warnings[0])
		}
	}
	return reasons
}
