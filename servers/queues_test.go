package servers

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestHueyFinishesItsTasksOnINT(t *testing.T) {
	for line, want := range map[string]syscall.Signal{
		"huey_consumer shop.huey": syscall.SIGINT, "huey_consumer.py shop.huey -w 2": syscall.SIGINT,
		"python manage.py run_huey":                        syscall.SIGINT,
		"python -m huey.bin.huey_consumer shop.huey":       syscall.SIGINT,
		"env A=b huey_consumer shop.huey":                  syscall.SIGINT,
		"python manage.py djangohuey":                      syscall.SIGINT,
		"huey_consumer shop.huey --graceful-signal=INT":    syscall.SIGINT,
		"huey_consumer shop.huey --graceful-signal TERM":   syscall.SIGTERM,
		"huey_consumer shop.huey -gTERM":                   syscall.SIGTERM,
		"python manage.py run_huey --graceful-signal=TERM": syscall.SIGTERM,
		"celery -A huey worker":                            syscall.SIGTERM,
		"python work.py --queue run_huey":                  syscall.SIGTERM,
	} {
		if a := applyLine(t, line); a.StopSignal != want || len(a.Problems) > 0 {
			t.Errorf("%s: %s, %v", line, a.StopSignal, a.Problems)
		}
	}
}

func TestWorkersOfATaskQueueFinishTheirTasksOnTERM(t *testing.T) {
	for _, line := range []string{
		"rq worker high low", "rq worker-pool -n 4", "python -m rq.cli worker", "python manage.py rqworker default",
		"dramatiq shop.tasks", "python -m dramatiq shop.tasks --processes 2", "python manage.py rundramatiq",
		"procrastinate --app shop.app worker", "python manage.py procrastinate worker --concurrency 4",
		"arq shop.tasks.Worker", "python -m arq shop.tasks.Worker",
		"python manage.py db_worker --queue-name=*", "django-admin db_worker", "python manage.py qcluster",
		"rq worker --name w-{generation}-{instance}",
	} {
		a := applyLine(t, line)
		if a.StopSignal != syscall.SIGTERM || len(a.Problems) > 0 || len(a.Warnings) > 0 {
			t.Errorf("%s: %s, %q, %q", line, a.StopSignal, a.Problems, a.Warnings)
		}
		if got := strings.Join(a.Command, " "); got != line {
			t.Errorf("%s runs as %s", line, got)
		}
	}
}

func TestAnOptionThatBreaksASwitchOfATaskQueueIsRefused(t *testing.T) {
	for line, says := range map[string]string{
		"rq worker --pid /run/w.pid":                             "take out --pid",
		"python manage.py rqworker --pid=/run/w.pid":             "take out --pid=/run/w.pid",
		"rq worker -b":                                           "exits when its queue is empty",
		"rq worker --name w1":                                    "makes up a name",
		"rq worker -n w1":                                        "makes up a name",
		"dramatiq shop.tasks --pid-file /run/d.pid":              "the second would refuse to start",
		"python manage.py rundramatiq --pid-file=/run/d.pid":     "take out --pid-file=/run/d.pid",
		"dramatiq shop.tasks --watch .":                          "superctl reload",
		"python manage.py rundramatiq --reload":                  "superctl reload",
		"procrastinate --app shop.app worker --one-shot":         "exits when its queue is empty",
		"arq shop.tasks.Worker --burst":                          "exits when its queue is empty",
		"arq shop.tasks.Worker --watch shop":                     "superctl reload",
		"python manage.py db_worker --batch":                     "exits when its queue is empty",
		"python manage.py db_worker --reload":                    "superctl reload",
		"python manage.py db_worker --worker-id w1":              "two workers with one identity",
		"python manage.py qcluster --run-once":                   "stops at once",
		"sh -c 'exec rq worker --burst'":                         "exits when its queue is empty",
		"sh -c 'cd x; exec dramatiq shop --pid-file /run/d.pid'": "take out --pid-file",
		"env A=b nohup python manage.py qcluster":                "take out nohup",
		"sh -c 'python manage.py db_worker &'":                   "take out &",
	} {
		if a := applyLine(t, line); !strings.Contains(strings.Join(a.Problems, "\n"), says) {
			t.Errorf("%s: %q", line, a.Problems)
		}
	}
}

func TestDramatiqGetsAsLongAsDrain(t *testing.T) {
	for _, tc := range []struct {
		command string
		drain   time.Duration
		adds    string
		says    string
	}{
		{"dramatiq shop.tasks", time.Minute, "", ""}, // Dramatiq's own limit is 10 minutes
		{"dramatiq shop.tasks", 10 * time.Minute, " --worker-shutdown-timeout 610000", ""},
		{"python manage.py rundramatiq", time.Hour, " --worker-shutdown-timeout 3610000", ""},
		{"dramatiq shop.tasks --worker-shutdown-timeout 3600000", time.Hour, "", ""},
		{"dramatiq shop.tasks --worker-shutdown-timeout 3600", time.Hour, "", "in milliseconds, and shorter than drain"},
	} {
		a := Apply(Input{Command: strings.Fields(tc.command), Drain: tc.drain})
		if got := strings.Join(a.Command, " "); got != tc.command+tc.adds || len(a.Problems) > 0 {
			t.Errorf("%s, %s: %s, %q", tc.command, tc.drain, got, a.Problems)
		}
		if said := strings.Join(a.Warnings, "\n"); !strings.Contains(said, tc.says) || tc.says == "" && said != "" {
			t.Errorf("%s, %s: %q", tc.command, tc.drain, a.Warnings)
		}
	}
}

func TestHueysPeriodicTasksInTwoConsumersAreWarnedOf(t *testing.T) {
	for line, want := range map[string]bool{
		"huey_consumer shop.huey": true, "python manage.py run_huey -w 4": true,
		"huey_consumer shop.huey --no-periodic": false, "huey_consumer shop.huey -n": false,
	} {
		a := Apply(Input{Command: strings.Fields(line), Drain: time.Minute})
		if got := strings.Contains(strings.Join(a.Warnings, "\n"), "periodic tasks"); got != want {
			t.Errorf("%s: %q", line, a.Warnings)
		}
	}
	if a := applyLine(t, "huey_consumer shop.huey"); len(a.Warnings) > 0 { // strategy = "single"
		t.Errorf("%q", a.Warnings)
	}
}

func TestArqWithoutATimeToFinishItsTasksIsWarnedOf(t *testing.T) {
	for text, want := range map[string]string{
		"class Worker:\n    functions = []\n":        "write job_completion_wait = 55 in Worker",
		"class Worker:\n    job_completion_wait = 9": "",
	} {
		for _, file := range []string{"shop/tasks.py", "shop/tasks/__init__.py"} {
			release := t.TempDir()
			path := filepath.Join(release, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			a := Apply(Input{Command: []string{"arq", "shop.tasks.Worker"}, Release: release, Drain: time.Minute})
			if said := strings.Join(a.Warnings, "\n"); !strings.Contains(said, want) || want == "" && said != "" {
				t.Errorf("%s: %q", text, a.Warnings)
			}
		}
	}
}
