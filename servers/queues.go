package servers

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// taskQueue is a task queue whose workers are neither servers nor Celery's.
type taskQueue struct {
	name     string
	programs []string // programs, modules and commands of manage.py that start its workers
	rules    []rule
	// further checks of the worker's arguments; nil = none. It returns the stop signal, or 0 for TERM.
	check func(c, args *command) syscall.Signal
}

// Reasons for rules that more than one queue has.
const (
	endsWhenEmpty = "the worker exits when its queue is empty, and superctl takes that for a crash"
	pidFileOfBoth = "two generations run at once and write the same file; superctl status knows the PIDs"
)

// taskQueues returns the queues that superctl knows. All of them finish their tasks on TERM, unless
// check says otherwise.
func taskQueues() []taskQueue {
	return []taskQueue{
		{
			name:     "rq",
			programs: []string{"rq", "rq.cli", "rqworker", "rqworker-pool"},
			rules:    []rule{{[]string{"--burst", "-b"}, endsWhenEmpty}, {[]string{"--pid"}, pidFileOfBoth}},
			check:    checkRQ,
		},
		{
			name:     "dramatiq",
			programs: []string{"dramatiq", "dramatiq-gevent", "rundramatiq"},
			rules:    []rule{{[]string{"--watch", "--reload"}, reloadsItself}, {[]string{"--pid-file"}, pidFile}},
			check:    checkDramatiq,
		},
		{
			name: "huey",
			programs: []string{
				"huey_consumer", "huey_consumer.py", "huey.bin.huey_consumer", "run_huey", "run_djangohuey", "djangohuey",
			},
			check: checkHuey,
		},
		{
			name:     "procrastinate",
			programs: []string{"procrastinate", "procrastinate.cli"},
			rules:    []rule{{[]string{"--one-shot", "--no-wait"}, endsWhenEmpty}},
		},
		{
			name:     "arq",
			programs: []string{"arq", "arq.cli"},
			rules:    []rule{{[]string{"--burst"}, endsWhenEmpty}, {[]string{"--watch"}, reloadsItself}},
			check:    checkArq,
		},
		{
			name:     "db_worker",
			programs: []string{"db_worker"},
			rules:    []rule{{[]string{"--batch"}, endsWhenEmpty}, {[]string{"--reload"}, reloadsItself}},
			check:    checkDBWorker,
		},
		{
			name:     "qcluster",
			programs: []string{"qcluster"},
			rules:    []rule{{[]string{"--run-once"}, "it stops at once, and superctl takes that for a crash"}},
		},
	}
}

// taskQueue checks a command that runs workers of a task queue, and returns the signal on which they
// finish their tasks; 0 if the command runs none, or if the usual signal does.
func (c *command) taskQueue(line []string) syscall.Signal {
	for i, word := range line[:min(wrapWords, len(line))] {
		if i > 0 && strings.HasPrefix(line[i-1], "-") && line[i-1] != "-m" {
			continue // perhaps the value of an option
		}
		for _, q := range taskQueues() {
			if !slices.Contains(q.programs, filepath.Base(word)) {
				continue
			}
			args := &command{in: c.in, out: c.out}
			args.read(q.name, line[i+1:])
			args.refuse(q.rules)
			if q.check == nil {
				return 0
			}
			return q.check(c, args)
		}
	}
	return 0
}

// checkRQ refuses a name, which two workers cannot have.
func checkRQ(c, args *command) syscall.Signal {
	options := []string{"--name", "-n"}
	if hasWord(c.in.Command, "worker-pool") || hasWord(c.in.Command, "rqworker-pool") {
		options = nil // -n is the number of workers
	}
	for _, g := range args.all(options...) {
		if !strings.Contains(g.value, "{generation}") {
			c.problem("rq: take out %s: RQ refuses a second worker of that name, and the old worker has it until it has "+
				"finished; without the option RQ makes up a name", g.text)
		}
	}
	return 0
}

// dramatiqWaits is how long Dramatiq's workers finish their tasks by default
// (--worker-shutdown-timeout of dramatiq.cli).
const dramatiqWaits = 10 * time.Minute

// checkDramatiq gives its workers as long as superctl does.
func checkDramatiq(c, args *command) syscall.Signal {
	const option = "--worker-shutdown-timeout" // in milliseconds
	given := args.all(option)
	for _, g := range given {
		if ms, err := strconv.Atoi(g.value); err == nil && time.Duration(ms)*time.Millisecond < c.in.Drain {
			c.warn("dramatiq: %s %s is in milliseconds, and shorter than drain = %q: Dramatiq abandons the tasks that "+
				"still run then, and runs them again later", option, g.value, short(c.in.Drain))
		}
	}
	if len(given) == 0 && c.in.Drain >= dramatiqWaits && !isShell(c.in.Command[0]) {
		c.add(option, strconv.Itoa(c.drainAbove()*int(time.Second/time.Millisecond)))
	}
	return 0
}

// checkHuey returns INT, on which the workers finish their tasks; TERM interrupts them, and their tasks
// are lost (signal handlers of huey.consumer.Consumer). Huey 3.5 can exchange the two.
func checkHuey(c, args *command) syscall.Signal {
	if !c.in.Single && !args.has("--no-periodic", "-n") {
		c.warn(`huey: two consumers run at once during a switch, and each of them starts the periodic tasks: write ` +
			`--no-periodic if there are none, or give them a process of their own with strategy = "single"`)
	}
	for _, g := range args.all("--graceful-signal", "-g") {
		if g.value == "TERM" {
			return syscall.SIGTERM
		}
	}
	return syscall.SIGINT
}

// checkArq warns of settings with which arq cancels its tasks when it stops. The settings are in a class,
// which superctl does not import: it looks for the setting's name in the module.
func checkArq(c, args *command) syscall.Signal {
	for _, w := range args.words {
		at := strings.LastIndex(w.text, ".")
		if at <= 0 || strings.HasPrefix(w.text, "-") || strings.Contains(w.text, "/") {
			continue
		}
		module := strings.ReplaceAll(w.text[:at], ".", "/")
		for _, file := range []string{module + ".py", module + "/__init__.py"} {
			text, err := os.ReadFile(filepath.Join(c.in.Release, file))
			if c.in.Release == "" || err != nil || strings.Contains(string(text), "job_completion_wait") {
				continue
			}
			c.warn("arq: %s sets no job_completion_wait: at a switch arq cancels the tasks that run, and runs them again "+
				"from the beginning: write job_completion_wait = %d in %s", file, c.drainBelow(), w.text[at+1:])
		}
		return 0
	}
	return 0
}

// checkDBWorker refuses an identity, which two workers must not share.
func checkDBWorker(c, args *command) syscall.Signal {
	for _, g := range args.all("--worker-id") {
		if !strings.Contains(g.value, "{generation}") {
			c.problem("db_worker: take out %s: two workers with one identity run at once during a switch; without the "+
				"option each worker makes up its own", g.text)
		}
	}
	return 0
}
