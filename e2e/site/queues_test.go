package site

import (
	"embed"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

//go:embed all:testdata/queues
var queueFiles embed.FS

// queueVenv is the virtualenv of the task queues in a release, whose own has the web server.
const queueVenv = "queues"

// taskQueue is a task queue as docs/queues.md has it.
type taskQueue struct {
	worker string   // its command, after the interpreter
	before []string // what must have run once, after the interpreter
	db     bool     // PostgreSQL instead of Redis
	often  int      // workers; all of them together run two tasks at a time
	// every worker has a task at the stop signal: one without a task may lose that which it is just taking
	// (docs/queues.md)
	busy  bool
	again bool // a task that was killed with its worker runs again
}

func taskQueues() map[string]taskQueue {
	migrate := []string{"-m", "django", "migrate", "--verbosity", "0"}
	return map[string]taskQueue{
		"rq":       {worker: "-m rq.cli worker --url unix://REDIS", often: 2, busy: true},
		"dramatiq": {worker: "-m dramatiq queues --processes 1 --threads 2", again: true},
		"huey":     {worker: "-m huey.bin.huey_consumer queues.huey --workers 2 --no-periodic"},
		"arq":      {worker: "-m arq queues.Worker", again: true},
		"procrastinate": {
			worker: "-m procrastinate --app queues.app worker --concurrency 2", db: true,
			before: []string{"-m", "procrastinate", "--app", "queues.app", "schema", "--apply"},
		},
		"django-tasks": {worker: "-m django worker --interval 0.05", db: true, before: migrate, often: 2},
		"django-q2":    {worker: "-m django qcluster", db: true, before: migrate, again: true},
	}
}

// installQueues returns the virtualenv of the task queues.
var installQueues = sync.OnceValues(func() (string, error) {
	deps := exec.Command(filepath.Join("..", "..", "scripts", "deps"), "--no-apt", "--queues")
	deps.Stderr = os.Stderr
	out, err := deps.Output()
	return strings.TrimSpace(string(out)), err
})

// withQueue returns an app whose background process is the worker of a task queue. more is TOML in
// [process.worker]; env is what the tasks read in addition.
func withQueue(t *testing.T, kind, more string, env ...string) *shopWithTasks {
	t.Helper()
	q := taskQueues()[kind]
	var database *harness.Postgres
	if q.db {
		database = harness.StartPostgres(t, run) // before the app, so that it ends after it
	}
	a := harness.New(t, run, harness.Options{})
	s := &shopWithTasks{
		App: a, t: t, journal: a.Path("journal"), python: queueVenv, program: []string{"-c", "import queues; queues.main()"},
	}
	s.env = append(env, "SHOP_JOURNAL="+s.journal, "QUEUE="+kind, "DJANGO_SETTINGS_MODULE=queues", "PYTHONPATH=.")
	redis := ""
	if q.db {
		s.env = append(s.env, "QUEUE_POSTGRES="+database.Socket())
	} else {
		redis = a.StartRedis().Socket()
		s.env = append(s.env, "QUEUE_REDIS="+redis)
	}
	for _, variable := range s.env {
		name, value, _ := strings.Cut(variable, "=")
		a.Options.Env += fmt.Sprintf("%s = %q\n", name, value)
	}
	a.Options.More = fmt.Sprintf("[process.worker]\ncommand = \"%s/bin/python %s\"\nready_after = \"1s\"\ninstances = %d\n%s",
		queueVenv, strings.ReplaceAll(q.worker, "REDIS", redis), max(1, q.often), more)
	a.WriteConfig()
	a.Releases("r1", "r2")
	for _, release := range []string{"r1", "r2"} {
		s.addQueue(a.Path("releases", release))
	}
	if len(q.before) > 0 {
		cmd := exec.Command(filepath.Join(queueVenv, "bin", "python"), q.before...)
		cmd.Dir, cmd.Env = a.Path("releases", "r1"), append(os.Environ(), s.env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", q.before, err, out)
		}
	}
	return s
}

// addQueue adds the tasks, and the virtualenv that they need, to a release.
func (s *shopWithTasks) addQueue(release string) {
	s.t.Helper()
	cache, err := installQueues()
	if err == nil {
		err = apps.Builder{Cache: cache}.Virtualenv(filepath.Join(release, queueVenv))
	}
	var files fs.FS
	if err == nil {
		files, err = fs.Sub(queueFiles, "testdata/queues")
	}
	if err == nil {
		err = os.CopyFS(release, files)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// queueSwitches is how often each queue's workers are switched: SUPERCTL_QUEUES, or twice.
func queueSwitches() (n int, counted bool) {
	if n, err := strconv.Atoi(os.Getenv("SUPERCTL_QUEUES")); err == nil {
		return n, true
	}
	return 2, false
}

func TestEachTaskOfAQueueRunsOnceDuringSwitches(t *testing.T) {
	t.Parallel()
	switches, _ := queueSwitches()
	for kind := range taskQueues() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := withQueue(t, kind, `drain = "10m"`)
			s.Start("r1")
			tasks, finish := s.producer("r1")
			t.Cleanup(finish)
			from := "r1"
			for i := range switches {
				to := fmt.Sprintf("r%d", 2-i%2)
				s.switchWhileTasksRun(tasks, i+1, from, to, taskQueues()[kind].busy)
				from = to
			}
			finish()
			(&walk{App: s.App, t: t}).end()
			t.Logf("%d switches, %d tasks", switches, len(s.happened("end")))
		})
	}
}

func TestASingleWorkerOfAQueueStartsWhenTheOldOneHasFinished(t *testing.T) {
	t.Parallel()
	s := withQueue(t, "huey", "drain = \"10m\"\nstrategy = \"single\"")
	s.Start("r1")
	tasks, finish := s.producer("r1")
	t.Cleanup(finish)
	s.send(tasks, "long1", -1)
	s.eachHas("begin", "long1")
	change := s.Begin("switch", "r2")
	harness.Eventually(t, "the old worker is told to stop", func() bool {
		return strings.Contains(s.Daemon.Output(), "Shutting down gracefully")
	})
	for _, line := range s.happened("start") {
		if line[1] != "r1" {
			t.Errorf("a worker of %s has started, and the old one still has a task", line[1])
		}
	}
	s.send(tasks, "queued", 0)
	s.goOn(1)
	change.Wait().Want(0)
	s.eachHas("end", "long1", "queued")
	s.atRest("r2")
}

// docs/queues.md says which queues run a task again whose worker was killed.
func TestATaskThatOutlastsDrainIsKilledWithItsWorker(t *testing.T) {
	t.Parallel()
	kinds := []string{"huey"}
	if _, counted := queueSwitches(); counted {
		kinds = slices.Sorted(maps.Keys(taskQueues()))
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := withQueue(t, kind, `drain = "2s"`, "QUEUE_AGAIN=20")
			s.Start("r1")
			tasks, finish := s.producer("r1")
			t.Cleanup(finish)
			s.send(tasks, "long1", -1)
			s.eachHas("begin", "long1")
			s.Command("switch", "r2").Want(0)
			s.atRest("r2")
			s.Command("history").Says("of r1 (generation 1) was killed: it had not finished 2s after its stop signal")
			s.goOn(1)
			s.send(tasks, "later", 0)
			s.eachHas("end", "later")
			if taskQueues()[kind].again {
				s.again("long1", "r2")
				s.eachHas("end", "long1")
			}
			if n := times(s.happened("begin"))["long1"]; n > 1 != taskQueues()[kind].again {
				t.Errorf("the task has begun %d times", n)
			}
			if slices.ContainsFunc(s.happened("end"), func(line []string) bool { return line[1] == "r1" }) {
				t.Error("the killed task has ended")
			}
		})
	}
}

func TestTheCommandForDjangosTasksIsThatOfItsDocument(t *testing.T) {
	t.Parallel()
	text, err := queueFiles.ReadFile("testdata/queues/queued/management/commands/worker.py")
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../../docs/queues.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, code, _ := strings.Cut(string(text), "\n\n"); code == "" || !strings.Contains(string(document), "```python\n"+code+"```") {
		t.Errorf("docs/queues.md lacks the command that the tests run:\n%s", code)
	}
}

// switchWhileTasksRun switches while one of two slots of the old workers has a task that ends only when the new
// workers have run others. Short tasks go through the other slot, also at the moment of the stop signal, unless
// busy: then both slots have such a task, and short ones wait in the queue.
func (s *shopWithTasks) switchWhileTasksRun(tasks io.Writer, round int, from, to string, busy bool) {
	s.t.Helper()
	long := []string{fmt.Sprintf("long%d.0", round)}
	if busy {
		long = append(long, fmt.Sprintf("long%d.1", round))
	}
	for _, name := range long {
		s.send(tasks, name, -round)
	}
	s.eachHas("begin", long...)
	ended := func() bool {
		return slices.ContainsFunc(s.happened("end"), func(line []string) bool {
			return line[1] == to && strings.HasPrefix(line[3], fmt.Sprintf("short%d.", round))
		})
	}
	change := s.Begin("switch", to)
	switched := make(chan struct{})
	go func() {
		defer close(switched)
		change.Wait()
	}()
	names := s.feed(tasks, round, "the switch ends, and tasks run in "+to, func() bool {
		select {
		case <-switched:
			return ended()
		default:
			return false
		}
	})
	change.Want(0)
	s.goOn(round)
	names = append(names, long...)
	s.eachHas("end", names...)
	s.atRest(to)
	begun, over := times(s.happened("begin")), times(s.happened("end"))
	for _, name := range names {
		if begun[name] != 1 || over[name] != 1 {
			s.t.Errorf("task %s has begun %d times and ended %d times\n%s", name, begun[name], over[name], s.about(name))
		}
	}
	for _, line := range s.happened("end") {
		if slices.Contains(long, line[3]) && line[1] != from {
			s.t.Errorf("task %s began in %s and ended in %s", line[3], from, line[1])
		}
	}
}

// send sends a task. One of -n seconds runs until goOn(n).
func (s *shopWithTasks) send(tasks io.Writer, name string, seconds int) {
	s.t.Helper()
	if _, err := fmt.Fprintf(tasks, "%s %d\n", name, seconds); err != nil {
		s.t.Fatalf("send a task: %v", err)
	}
}

// goOn ends the task of -round seconds.
func (s *shopWithTasks) goOn(round int) {
	s.t.Helper()
	s.WriteFile(fmt.Sprintf("journal.go-on%d", round), "")
}

// feed sends short tasks until a condition holds, so that a few of them are always queued or running. It
// returns their names.
func (s *shopWithTasks) feed(tasks io.Writer, round int, what string, until func() bool) (names []string) {
	s.t.Helper()
	const unfinished = 4
	harness.Eventually(s.t, what, func() bool {
		n := times(s.happened("end"))
		missing := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return n[name] > 0 })
		if len(missing) < unfinished {
			names = append(names, fmt.Sprintf("short%d.%d", round, len(names)))
			s.send(tasks, names[len(names)-1], 0)
		}
		return until()
	})
	return names
}

// eachHas waits until the event has happened to each of the tasks.
func (s *shopWithTasks) eachHas(event string, names ...string) {
	s.t.Helper()
	var missing []string
	harness.Eventually(s.t, event+" of all tasks", func() bool {
		n := times(s.happened(event))
		missing = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return n[name] > 0 })
		return len(missing) == 0
	})
}
