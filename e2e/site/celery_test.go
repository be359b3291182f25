package site

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"superctl/e2e/harness"
)

// shopWithTasks is an app with Celery, whose worker and beat write events to one journal.
type shopWithTasks struct {
	*harness.App
	t       *testing.T
	env     []string
	journal string
	python  string   // virtualenv in a release
	program []string // sends a task for each line NAME SECONDS of its input
}

// withCelery returns such an app. worker is TOML in [process.worker], env in [env].
func withCelery(t *testing.T, worker, env string) *shopWithTasks {
	t.Helper()
	a := harness.New(t, run, harness.Options{})
	s := &shopWithTasks{App: a, t: t, journal: a.Path("journal"), python: "venv", program: []string{"-m", "shop.tasks"}}
	s.env = []string{"SHOP_BROKER=" + a.StartRedis().URL(), "SHOP_JOURNAL=" + s.journal}
	for _, variable := range s.env {
		name, value, _ := strings.Cut(variable, "=")
		a.Options.Env += fmt.Sprintf("%s = %q\n", name, value)
	}
	a.Options.Env += env
	a.Options.More = fmt.Sprintf(`[process.worker]
command = "celery --app shop.tasks worker --concurrency 2 --without-gossip --without-mingle"
notify = true
%s
[process.beat]
command = "celery --app shop.tasks beat --scheduler shop.tasks:Noting --schedule %s"
notify = true
strategy = "single"
`, worker, a.Path("beat-schedule"))
	a.WriteConfig()
	return s
}

// happened returns the journal's lines of an event, in fields: event, release, pid, what.
func (s *shopWithTasks) happened(event string) (lines [][]string) {
	s.t.Helper()
	text, err := os.ReadFile(s.journal)
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[0] == event {
			lines = append(lines, fields)
		}
	}
	return lines
}

// times counts how often each task is in these lines.
func times(lines [][]string) map[string]int {
	n := make(map[string]int)
	for _, fields := range lines {
		n[fields[3]]++
	}
	return n
}

// more waits until the event has happened once more, in that release.
func (s *shopWithTasks) more(event, release string) {
	s.t.Helper()
	before := len(s.happened(event))
	harness.Eventually(s.t, "one more "+event+" of "+release, func() bool {
		return slices.ContainsFunc(s.happened(event)[before:], func(line []string) bool { return line[1] == release })
	})
}

// producer starts a program of the release that sends a task for each line. close ends it after the
// last task.
func (s *shopWithTasks) producer(release string) (tasks io.Writer, finish func()) {
	s.t.Helper()
	dir := s.Path("releases", release)
	cmd := exec.Command(filepath.Join(dir, s.python, "bin", "python"), s.program...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), s.env...), os.Stderr
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return in, sync.OnceFunc(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			s.t.Errorf("the program that sends tasks: %v", err)
		}
	})
}

// stream sends 20 short tasks and one long task a second until stop, which returns their number.
func (s *shopWithTasks) stream(release string) (stop func() int) {
	tasks, finish := s.producer(release)
	ended, n := make(chan struct{}), 0
	var sending sync.WaitGroup
	sending.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ; ; n++ {
			seconds := 0.02
			if n%20 == 0 {
				seconds = 1
			}
			if _, err := fmt.Fprintf(tasks, "t%d %g\n", n, seconds); err != nil {
				s.t.Errorf("send a task: %v", err)
				return
			}
			select {
			case <-tick.C:
			case <-ended:
				n++
				return
			}
		}
	})
	stop = sync.OnceValue(func() int {
		close(ended)
		sending.Wait()
		finish()
		return n
	})
	s.t.Cleanup(func() { stop() })
	return stop
}

func TestNoTaskIsLostOrRunTwiceAndNoTickOfBeatIsDoubled(t *testing.T) {
	t.Parallel()
	s := withCelery(t, `drain = "60s"`, "")
	s.Releases("r1", "r2")
	s.Start("r1")
	stop := s.stream("r1")
	s.more("tick", "r1")
	s.Command("switch", "r2").Want(0)
	s.more("tick", "r2")

	// The daemon dies after the old beat has ended, while the next one is starting.
	ends := len(s.happened("beat-end"))
	change := s.Begin("switch", "r1")
	harness.Eventually(s.t, "the beat of r2 ends", func() bool { return len(s.happened("beat-end")) > ends })
	s.Daemon.Kill()
	change.Wait()
	s.Launch()
	if err := s.Daemon.Ready(); err != nil {
		t.Fatal(err)
	}
	s.more("tick", "r1")
	s.atRest("r1")

	// A switch is reverted while the new beat already runs.
	s.Options.Top = `probation = "10m"`
	s.WriteConfig()
	change = s.Begin("switch", "r2")
	at(t, s.App, "probation")
	s.more("tick", "r2")
	s.Command("rollback").Want(0)
	change.Wait().Want(5)
	s.more("tick", "r1")

	// The daemon dies while no change is in progress, and is replaced.
	s.Daemon.Kill()
	s.Start("")
	s.more("tick", "r1")
	s.Command("upgrade").Want(0)
	s.more("tick", "r1")

	s.Options.Top = ""
	s.WriteConfig()
	switches, _ := queueSwitches()
	live := "r1"
	for i := range switches {
		live = fmt.Sprintf("r%d", 2-i%2)
		s.Command("switch", live).Want(0)
		s.more("tick", live)
	}
	s.atRest(live)

	n := stop()
	s.finishes(n)
	s.eachOnce(n)
	s.oneBeat()
	w := walk{App: s.App, t: t}
	w.end()
}

// docs/celery.md describes tasks that take longer than the drain limit.
func TestATaskLongerThanTheSoftShutdownRunsAgain(t *testing.T) {
	t.Parallel()
	s := withCelery(t, "drain = \"30s\"\nstop_signal = \"QUIT\"", "SHOP_SOFT_SHUTDOWN = \"1\"")
	s.Releases("r1", "r2")
	s.Start("r1")
	s.task("r1", "long", endless)
	s.Command("switch", "r2").Want(0)
	s.again("long", "r2")
	ended := func() bool { return times(s.happened("end"))["long"] > 0 }
	s.WriteFile("journal.go-on", "")
	harness.Eventually(s.t, "the task ends", ended)
	if n := times(s.happened("end"))["long"]; n != 1 {
		t.Errorf("it has ended %d times", n)
	}
}

// endless is the duration of a task, in seconds, that waits for the file journal.go-on.
const endless = -1

// task sends one task and waits until it has begun.
func (s *shopWithTasks) task(release, name string, seconds float64) {
	s.t.Helper()
	tasks, finish := s.producer(release)
	if _, err := fmt.Fprintf(tasks, "%s %g\n", name, seconds); err != nil {
		s.t.Error(err)
	}
	finish()
	s.again(name, release)
}

// again waits until a task has begun in that release.
func (s *shopWithTasks) again(name, release string) {
	s.t.Helper()
	harness.Eventually(s.t, name+" has begun in "+release, func() bool {
		return slices.ContainsFunc(s.happened("begin"), func(line []string) bool {
			return line[3] == name && line[1] == release
		})
	})
}

// finishes waits until n tasks have ended. How long they take depends on the load of the machine, so it
// gives up only when no other one ends.
func (s *shopWithTasks) finishes(n int) {
	s.t.Helper()
	ended := func() int { return len(times(s.happened("end"))) }
	for now := ended(); now < n; now = ended() {
		harness.Eventually(s.t, fmt.Sprintf("%d of %d tasks have ended, and another one ends", now, n), func() bool { return ended() > now })
	}
}

// atRest waits until the release is live and no change is in progress.
func (s *shopWithTasks) atRest(release string) {
	s.t.Helper()
	harness.Eventually(s.t, release+" is live, alone", func() bool {
		st := s.Status()
		return st.Release == release && st.Changing == nil && len(st.Generations) == 1
	})
}

// eachOnce fails the test unless each of n tasks was begun once and ended once, by both releases in
// part. A task that ended while its worker was stopping may run again when that worker is gone:
// Celery then closed its connection before the acknowledgement was sent, and gave the task back.
func (s *shopWithTasks) eachOnce(n int) {
	s.t.Helper()
	begun, ended := times(s.happened("begin")), times(s.happened("end"))
	for i := range n {
		name := "t" + strconv.Itoa(i)
		if (begun[name] != 1 || ended[name] != 1) && !s.givenBack("begin", name) {
			s.t.Errorf(
				"task %s has begun %d times and ended %d times\n%s", name, begun[name], ended[name], s.about(name),
			)
		}
	}
	by := make(map[string]int)
	for _, line := range s.happened("begin") {
		by[line[1]]++
	}
	if len(by) != 2 {
		s.t.Errorf("tasks have run in %v", by)
	}
	for id, n := range times(s.happened("ticked")) {
		if n != 1 && !s.givenBack("ticked", id) {
			s.t.Errorf("the tick %s has run %d times\n%s", id, n, s.about(id))
		}
	}
	s.t.Logf("%d tasks, %v; %d ticks", n, by, len(s.happened("tick")))
}

// givenBack reports whether the event of a task happened twice, and the process of the first time
// did nothing more from the second time on.
func (s *shopWithTasks) givenBack(event, task string) bool {
	text, err := os.ReadFile(s.journal)
	if err != nil {
		s.t.Fatal(err)
	}
	times, first := 0, ""
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if fields[0] == event && fields[3] == task {
			if times++; times == 1 {
				first = fields[2]
			}
		}
		if times > 1 && fields[2] == first {
			return false
		}
	}
	return times == 2
}

// about returns the lines of the journal that have the word, each with the lines before and after
// it.
func (s *shopWithTasks) about(word string) string {
	const around = 8
	text, err := os.ReadFile(s.journal)
	if err != nil {
		return err.Error()
	}
	lines := slices.Collect(strings.Lines(string(text)))
	var b strings.Builder
	for i, line := range lines {
		if strings.Contains(line, " "+word+"\n") {
			fmt.Fprintf(&b, "line %d:\n%s", i+1, strings.Join(lines[max(0, i-around):min(len(lines), i+around)], ""))
		}
	}
	return b.String()
}

// oneBeat fails the test if two beats ran at once, or if one repeated a tick of the previous one.
func (s *shopWithTasks) oneBeat() {
	s.t.Helper()
	starts, ends := s.happened("beat-start"), s.happened("beat-end")
	running := ""
	text, err := os.ReadFile(s.journal)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		switch fields := strings.Fields(line); fields[0] {
		case "beat-start":
			if running != "" {
				s.t.Errorf("beat %s has started, and %s has not ended", fields[2], running)
			}
			running = fields[2]
		case "beat-end":
			running = ""
		}
	}
	if len(starts) < 5 || len(starts) != len(ends)+1 {
		s.t.Errorf("%d beats have started and %d ended", len(starts), len(ends))
	}
	last := ""
	for _, line := range s.happened("tick") {
		if line[3] < last {
			s.t.Errorf("after the tick at %s comes one that was due after the one at %s", last, line[3])
		}
		last = line[4]
	}
}
