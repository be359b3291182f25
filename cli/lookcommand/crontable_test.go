//go:build linux

package lookcommand

import (
	"testing"
	"time"

	"superctl/api"
	"superctl/cli/terminal"
)

func scheduled(now time.Time) []api.CronStatus {
	next, due := now.Add(12*time.Minute), now.Add(-time.Minute)
	seven := 7
	return []api.CronStatus{
		{
			Name: "clear-sessions", Schedule: "Sun 03:00", Timezone: "Europe/Berlin", Next: &next,
			Last: &api.CronRun{Began: now.Add(-3 * time.Hour), Result: api.CronDone, Seconds: 2.1},
		},
		{
			Name: "report", Schedule: "*/15 * * * *", Next: &due, Reason: "the step before of a switch is in progress",
			Last: &api.CronRun{
				Began: now.Add(-15 * time.Minute), Result: api.CronFailed, Seconds: 61, ExitCode: &seven, Error: "exit code 7",
			},
		},
		{Name: "backup", Schedule: "daily", Next: &next, Skipped: 2, Running: []api.CronRun{{Began: now.Add(-time.Hour)}}},
		{Name: "mail", Schedule: "hourly", Reason: "on another host"},
	}
}

func TestTheScheduledCommandsAreListedWithWhatIsWrong(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	b := terminal.NewText(120)
	CronTable(scheduled(now), false, now).Write(b, "")
	const want = `NAME            SCHEDULE                 NEXT       LAST        OUTCOME  DURATION
clear-sessions  Sun 03:00 Europe/Berlin  in 12 min  3 h ago     done     2.1 s
report          */15 * * * *             due        15 min ago  failed   1 min 1 s
                  the step before of a switch is in progress
                  exit code 7
backup          daily                    in 12 min  1 h ago     running  -
                  skipped 2 times, because it still runs: use a longer interval, a timeout or overlap
mail            hourly                   -          -           -        -
                  on another host
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b, want)
	}
}

func TestTheStatusHasALineForEachScheduledCommand(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	b := terminal.NewText(80)
	writeCrons(b, &api.Status{Cron: scheduled(now)}, false, now)
	const want = `
  CRON            NEXT       LAST        OUTCOME
  clear-sessions  in 12 min  3 h ago     done
  report          due        15 min ago  failed
  backup          in 12 min  1 h ago     running
  mail            -          -           -
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b, want)
	}
	b = terminal.NewText(80)
	if writeCrons(b, &api.Status{}, false, now); b.String() != "" {
		t.Errorf("without any: %q", b)
	}
}
