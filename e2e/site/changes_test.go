package site

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

func TestARequestInFlightAtTheCutoverIsAnswered(t *testing.T) {
	t.Parallel()
	for _, server := range []harness.Server{
		harness.GunicornSync(), harness.GunicornThreads(), harness.UWSGIHTTP(), harness.Uvicorn(),
	} {
		t.Run(server.Name, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{Server: server})
			a.Releases("r1", "r2")
			a.Start("r1")
			slow := slowRequest(t, a, "5")
			a.Command("switch", "r2").Want(0)
			if r := finished(t, slow); r.Failure != 0 || r.Release != "r1" {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestTheHistoryShowsRequestsCutAtTheDrainLimit(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Web: `drain = "2s"`})
	a.Releases("r1", "r2")
	a.Start("r1")
	slow := slowRequest(t, a, "60")
	a.Command("switch", "r2").Want(0)
	if r := finished(t, slow); r.Failure == 0 {
		t.Errorf("%+v", r)
	}
	harness.Eventually(t, "the old generation is gone", func() bool { return len(a.Status().Generations) == 1 })
	says := regexp.MustCompile(`web\.0 of r1 \(generation 1\) .*connections cut: 1`)
	if text := a.Command("history").Want(0).Text(); !says.MatchString(text) {
		t.Errorf("the history does not say so:\n%s", text)
	}
	if text := a.Daemon.Output(); !strings.Contains(text, "drain limit reached") {
		t.Errorf("the log does not say so:\n%s", text)
	}
}

func TestNoRequestWaitsForAnImportOfTwoSeconds(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	for _, name := range []string{"r1", "r2"} {
		a.Release(name, apps.Behaviour{ImportSeconds: 2})
	}
	a.Start("r1")
	requests := a.Load(requestsOfAFewUsers())
	o := a.Change(0, "switch", "r2")
	a.More(requests, 10)
	// A request that waited for the import would last from before the boot until after the cutover.
	cutover := a.Cutover(1, o)
	boot := slices.IndexFunc(o.Steps, func(s harness.Step) bool { return s.Name == "boot" })
	for _, r := range a.Lossless(requests).Records {
		if r.Begun.Before(o.Steps[boot].Began) && r.Ended.After(cutover.Began) {
			t.Errorf("it waited for the import: %+v", r)
		}
	}
}

func TestASecondChangeIsRefusedAndNamesTheFirst(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Release("slow", apps.Behaviour{ImportSeconds: 3})
	a.Start("r1")
	a.Options.Top = `probation = "5m"`
	a.WriteConfig()
	first := a.Begin("switch", "slow")
	at(t, a, "prove")
	a.Command("switch", "r2").Want(4).Says("slow", "in progress")
	a.Command("reload").Want(4)
	at(t, a, "probation")
	a.Command("switch", "r2").Want(4).Says("probation")
	// A rollback ends a probation, and both commands report it.
	a.Command("rollback").Want(0).Says("r1")
	first.Wait().Want(5).Says("rolled back by")
	if st := a.Status(); st.Release != "r1" || st.Changing != nil {
		t.Errorf("%+v", st)
	}
}

func TestASwitchDuringADrainIsAccepted(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2", "r3")
	a.Start("r1")
	slow := slowRequest(t, a, "4")
	a.Command("switch", "r2").Want(0)
	o := a.Change(0, "switch", "r3")
	if states := a.Status().Generations; len(states) < 2 {
		t.Errorf("nothing drains any more: %+v", states)
	}
	again := a.Change(0, "switch", "r3")
	if again.Changed || again.Result != "done" || again.Generation != o.Generation {
		t.Errorf("%+v", again)
	}
	if r := finished(t, slow); r.Failure != 0 {
		t.Errorf("%+v", r)
	}
}

func TestCtrlCAbortsAChangeOnlyBeforeTheCutover(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Top: `probation = "2s"`})
	a.Releases("r1")
	a.Release("slow", apps.Behaviour{ImportSeconds: 3})
	a.Start("r1")
	requests := a.Load(requestsOfAFewUsers())
	before := a.Begin("switch", "slow")
	at(t, a, "prove")
	before.Interrupt()
	before.Wait().Want(1).Says("interrupted: the switch of " + a.Name + " is aborted; r1 is live")
	harness.Eventually(t, "the change is aborted", func() bool {
		st := a.Status()
		return st.Changing == nil && len(st.Generations) == 1
	})
	if st := a.Status(); st.Release != "r1" {
		t.Errorf("%+v", st)
	}
	after := a.Begin("switch", "slow")
	at(t, a, "probation")
	after.Interrupt()
	after.Wait().Want(1).Says(
		"interrupted after the cutover: the switch of "+a.Name+" continues in the daemon", "slow is live",
	)
	harness.Eventually(t, "the change is done", func() bool { return a.Status().Changing == nil })
	if st := a.Status(); st.Release != "slow" || st.Health != "ok" {
		t.Errorf("%+v", st)
	}
	a.Lossless(requests)
}

func TestKilledWorkersLoseOnlyTheirOwnRequests(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{Web: "instances = 3"})
	a.Releases("r1")
	a.Start("r1")
	requests := a.Load(requestsOfAFewUsers())
	first := a.Live(a.Status()).Workers
	killed := make(map[int]bool)
	for _, w := range first {
		kill(t, w.PID)
		killed[w.PID] = true
		harness.Eventually(t, "another one serves", func() bool {
			return !slices.ContainsFunc(a.Live(a.Status()).Workers, func(w harness.Worker) bool {
				return w.State != "ready" || killed[w.PID]
			})
		})
	}
	a.More(requests, 20)
	res := requests.Stop()
	// A failed request was connected to a killed worker. None was refused, and at each kill no more
	// requests fail than there are clients.
	if failed := res.Failed(); len(failed) > 8*len(first) {
		t.Errorf("%s", res)
	}
	for _, r := range res.Failed() {
		if r.Connected.IsZero() {
			t.Errorf("it was refused: %+v", r)
		}
	}
}

func TestASecondDaemonIsRefusedAndTheFirstIsUntouched(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1")
	a.Start("r1")
	before := a.Status()
	requests := a.Load(requestsOfAFewUsers())
	a.Command("daemon").Want(1).Says("is already running", "pid")
	a.More(requests, 10)
	a.Lossless(requests)
	if after := a.Status(); after.PID != before.PID || a.Live(after).Workers[0].PID != a.Live(before).Workers[0].PID {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
}

func TestAfterAStopThereIsNothingLeftButTheState(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	d := a.Start("r1")
	a.Command("switch", "r2").Want(0)
	harness.Eventually(t, "r1 is gone", func() bool { return len(a.Status().Generations) == 1 })
	before := d.Descriptors()
	for range 5 {
		a.Command("switch", "r1").Want(0)
		a.Command("switch", "r2").Want(0)
	}
	harness.Eventually(t, "r1 is gone again", func() bool { return len(a.Status().Generations) == 1 })
	// A gate keeps up to two spare listeners; how many depends on the order in which the workers ended.
	harness.Eventually(t, "the ten switches have left no descriptor", func() bool { return len(d.Descriptors()) <= len(before)+2 })
	a.Daemon.Stop()
	a.NothingLeft()
	var files []string
	for _, dir := range []string{"state", "run"} {
		if err := filepath.WalkDir(a.Path(dir), func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				files = append(files, filepath.Base(path))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{
		"config.toml", "history.jsonl", "lock", "releases.json", "state.json",
	}; !slices.Equal(files, want) {
		t.Errorf("files %v, want %v", files, want)
	}
}

// stopped returns an app whose daemon was stopped, and its state file.
func stopped(t *testing.T) (a *harness.App, path string, state []byte) {
	t.Helper()
	a = harness.New(t, run, harness.Options{})
	a.Releases("r1")
	a.Start("r1")
	a.Daemon.Stop()
	path = a.Path("state", "state.json")
	state, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return a, path, state
}

func TestASiteStartsInSpiteOfADamagedStateFile(t *testing.T) {
	t.Parallel()
	a, path, good := stopped(t)
	damaged := good[:len(good)/2]
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	a.Start("")
	if st := a.Status(); st.Release != "r1" || st.Health != "ok" {
		t.Errorf("%q is live, %s: %s", st.Release, st.Health, st.Reason)
	}
	a.Command("status").Want(0).Says("it was moved to " + path + ".unreadable")
	if aside, err := os.ReadFile(path + ".unreadable"); err != nil || !bytes.Equal(aside, damaged) {
		t.Errorf("what was moved aside has changed (%v)", err)
	}
}

func TestAStateFileOfAnotherDaemonIsRefused(t *testing.T) {
	t.Parallel()
	a, path, good := stopped(t)
	var newer map[string]any
	if err := json.Unmarshal(good, &newer); err != nil {
		t.Fatal(err)
	}
	newer["version"], newer["needs"] = 99, 99
	future, err := json.Marshal(newer)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"of a newer one": {future, "version 99"},
		"of another app": {bytes.ReplaceAll(good, []byte(a.Name), []byte("other")), "belongs to"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			a.Command("daemon").Want(1).Says(path, c.says)
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, c.data) {
				t.Errorf("it was changed (%v)", err)
			}
		})
	}
}
