package site

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"superctl/api"
	"superctl/e2e/harness"
)

// What the command writes down: for which time it runs, and its pid. While there is a file hold it
// does not end by itself.
const clearSessions = `
[cron.clear-sessions]
schedule = "*:*:0/2"
timezone = "Europe/Berlin"
command = ["sh", "-c", "echo $SUPERCTL_DUE $$ $SUPERCTL_RELEASE >> $CRON_RUNS && if test -e $CRON_HOLD; then exec sleep 600; fi && exec python manage.py clearsessions"]
[cron.fails]
schedule = "*-*-01 03:00"
command = "python -c 'import sys; print(\"no luck\"); sys.exit(7)'"
`

// sessionSettings are those of a site with sessions; a session that is over stays in the database
// until clearsessions removes it.
const sessionSettings = `
from shop.settings import *
INSTALLED_APPS = INSTALLED_APPS + ["django.contrib.sessions"]
`

const makeSessions = `
import datetime, django
django.setup()
from django.contrib.sessions.models import Session
now = datetime.datetime.now(datetime.timezone.utc)
for i in range(20):
    days = 1 if i < 3 else -1
    Session(session_key=f"s{i}", session_data="", expire_date=now + datetime.timedelta(days=days)).save()
`

const countSessions = `
import django
django.setup()
from django.contrib.sessions.models import Session
print(Session.objects.count(), "sessions")
`

// Real clearsessions, at real times, with a kill of the daemon in the middle of a run.
func TestAScheduledCommandRunsOnceForEachTimeAlsoAfterAKill(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{
		Server: harness.GunicornThreads(), More: "[hooks]\nbefore = [\"python manage.py migrate --noinput\"]\n" + clearSessions,
	})
	a.Options.Env = strings.Join([]string{
		`SHOP_DATABASE = "sqlite:` + a.Path("db.sqlite3") + `"`, `DJANGO_SETTINGS_MODULE = "with_sessions"`,
		`CRON_RUNS = "` + a.Path("runs") + `"`, `CRON_HOLD = "` + a.Path("hold") + `"`,
	}, "\n")
	a.WriteConfig()
	a.Releases("r1", "r2")
	for _, r := range []string{"r1", "r2"} {
		a.WriteFile("releases/"+r+"/with_sessions.py", sessionSettings)
		a.WriteFile("releases/"+r+"/make.py", makeSessions)
		a.WriteFile("releases/"+r+"/count.py", countSessions)
	}
	a.Command("check").Want(0).Says("cron.clear-sessions is due next at ", "cron.fails is due next at ")
	a.Start("r1")
	a.Command("exec", "python", "make.py").Want(0)
	before := len(cronRuns(a))
	harness.Eventually(t, "a run after the sessions were made", func() bool { return doneSince(a, before) })
	a.Command("exec", "python", "count.py").Want(0).Says("3 sessions")

	a.WriteFile("hold", "")
	harness.Eventually(t, "a run that goes on", func() bool { return isRunning(a) })
	a.Daemon.Kill()
	held := cronRuns(a)
	if err := os.Remove(a.Path("hold")); err != nil {
		t.Fatal(err)
	}
	a.Start("")
	harness.Eventually(t, "a run by the next daemon", func() bool { return doneSince(a, len(held)) })
	if pid := held[len(held)-1].pid; runs(pid) {
		t.Errorf("the command of the daemon that was killed still runs, as process %d", pid)
	}
	a.Command("switch", "r2").Want(0)
	harness.Eventually(t, "a run in the new release", func() bool {
		runs := cronRuns(a)
		return runs[len(runs)-1].release == "r2"
	})

	var due []string
	for _, r := range cronRuns(a) {
		if slices.Contains(due, r.due) {
			t.Errorf("%s was run twice", r.due)
		}
		due = append(due, r.due)
	}
	a.Command("cron").Want(0).Says("NAME", "SCHEDULE", "NEXT", "clear-sessions", "*:*:0/2 Europe/Berlin", "fails")
	a.Command("status").Want(0).Says("CRON", "clear-sessions")
	a.Command("cron", "run", "fails").Want(1).Says("no luck", "fails in r2, after", "failed: exit code 7")
	a.Command("logs", "--process", "fails").Want(0).Says("no luck")
	a.Command("cron", "run", "nothing").Want(2).Says(`there is no scheduled command "nothing"`)
	if c := cronOf(a, "fails"); c.Last == nil || *c.Last.ExitCode != 7 || c.Last.Due != nil {
		t.Errorf("%+v", c.Last)
	}
}

// doneSince reports whether a run that began after so many others is done.
func doneSince(a *harness.App, others int) bool {
	runs := cronRuns(a)
	if len(runs) <= others {
		return false
	}
	last := cronOf(a, "clear-sessions").Last
	return last != nil && last.Result == api.CronDone && last.Due.UTC().Format(time.RFC3339) >= runs[others].due
}

// isRunning reports whether the newest run is one that does not end by itself.
func isRunning(a *harness.App) bool {
	runs, st := cronRuns(a), cronOf(a, "clear-sessions")
	if len(st.Running) == 0 || runs[len(runs)-1].due != st.Running[0].Due.UTC().Format(time.RFC3339) {
		return false
	}
	program, err := os.ReadFile("/proc/" + strconv.Itoa(runs[len(runs)-1].pid) + "/comm")
	return err == nil && string(program) == "sleep\n"
}

// cronRun is a run by what its command has written.
type cronRun struct {
	due, release string
	pid          int
}

func cronRuns(a *harness.App) (list []cronRun) {
	a.T.Helper()
	data, err := os.ReadFile(a.Path("runs"))
	if err != nil && !os.IsNotExist(err) {
		a.Fatalf("%v", err)
	}
	for line := range strings.Lines(string(data)) {
		words := strings.Fields(line)
		pid, err := strconv.Atoi(words[1])
		if err != nil {
			a.Fatalf("%q: %v", line, err)
		}
		list = append(list, cronRun{due: words[0], release: words[2], pid: pid})
	}
	return list
}

// cronOf returns the status of a scheduled command.
func cronOf(a *harness.App, name string) api.CronStatus {
	a.T.Helper()
	var list []api.CronStatus
	if err := json.Unmarshal([]byte(a.Command("cron", "--json").Want(0).Stdout()), &list); err != nil {
		a.Fatalf("cron: %v", err)
	}
	for _, c := range list {
		if c.Name == name {
			return c
		}
	}
	a.Fatalf("no scheduled command %s", name)
	return api.CronStatus{}
}

func TestAReleaseThatAScheduledCommandRunsFromIsMarkedAndKept(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{More: "[cron.report]\nschedule = \"*-*-01 03:00\"\ncommand = \"sleep 600\"\n"})
	a.Releases("r1", "r2", "r3")
	a.Start("r1")
	report := a.Begin("cron", "run", "report")
	harness.Eventually(t, "the report runs", func() bool { return len(cronOf(a, "report").Running) > 0 })
	a.Command("switch", "r2").Want(0)
	a.Command("switch", "r3").Want(0)
	harness.Eventually(t, "the workers of r1 are gone", func() bool { return len(a.Status().Generations) == 1 })
	for _, command := range [][]string{{"releases"}, {"prune", "--keep", "1"}} {
		lines := strings.Split(a.Command(command...).Want(0).Text(), "\n")
		if !slices.ContainsFunc(lines, func(line string) bool {
			return strings.HasPrefix(strings.TrimSpace(line), "r1 ") && strings.HasSuffix(line, "runs the scheduled command report")
		}) {
			t.Errorf("%s: %s", command[0], strings.Join(lines, "\n"))
		}
	}
	report.Interrupt()
	report.Wait()
}
