//go:build linux

package lookcommand

import (
	"fmt"
	"io"
	"time"

	"superctl/api"
	"superctl/cli/terminal"
)

// CronTable has a row for each scheduled command, and below it what is wrong.
func CronTable(list []api.CronStatus, p terminal.Palette, now time.Time) *terminal.Table {
	t := new(terminal.Table)
	t.Head(p, "NAME", "SCHEDULE", "NEXT", "LAST", "OUTCOME", "DURATION")
	for i := range list {
		c := &list[i]
		schedule, duration := c.Schedule, "-"
		if c.Timezone != "" {
			schedule += " " + c.Timezone
		}
		last, outcome := cronLast(c, p, now)
		ended := len(c.Running) == 0 && c.Last != nil
		if ended && c.Last.Seconds > 0 { // else it is not known
			duration = terminal.Seconds(c.Last.Seconds)
		}
		t.Row(c.Name, schedule, cronNext(c, now), last, outcome, duration)
		for _, why := range cronNotes(c) {
			t.Row("", "  "+p.Yellow(why))
		}
		if ended && c.Last.Error != "" {
			t.Row("", "  "+p.Red(c.Last.Error))
		}
	}
	return t
}

// cronNotes returns what a person must know of a command that does not run as scheduled.
func cronNotes(c *api.CronStatus) (list []string) {
	if c.Reason != "" {
		list = append(list, c.Reason)
	}
	if c.Skipped > 0 {
		list = append(list, fmt.Sprintf("skipped %d times, because it still runs: use a longer interval, a timeout or overlap", c.Skipped))
	}
	return list
}

// cronNext returns when a command is due next.
func cronNext(c *api.CronStatus, now time.Time) string {
	switch {
	case c.Next == nil:
		return "-"
	case !c.Next.After(now):
		return "due"
	}
	return "in " + terminal.Elapsed(c.Next.Sub(now))
}

// cronLast returns when the newest run of a command began, and how it ended.
func cronLast(c *api.CronStatus, p terminal.Palette, now time.Time) (began, outcome string) {
	switch {
	case len(c.Running) > 0:
		return terminal.Age(now, c.Running[len(c.Running)-1].Began), p.Yellow("running")
	case c.Last == nil:
		return "-", "-"
	case c.Last.Result == api.CronDone:
		return terminal.Age(now, c.Last.Began), p.Green(string(c.Last.Result))
	default:
		return terminal.Age(now, c.Last.Began), p.Red(string(c.Last.Result))
	}
}

// writeCrons writes the scheduled commands, for the status.
func writeCrons(w io.Writer, st *api.Status, p terminal.Palette, now time.Time) {
	if len(st.Cron) == 0 {
		return
	}
	var t terminal.Table
	t.Head(p, "CRON", "NEXT", "LAST", "OUTCOME")
	for i := range st.Cron {
		c := &st.Cron[i]
		last, outcome := cronLast(c, p, now)
		t.Row(c.Name, cronNext(c, now), last, outcome)
	}
	fmt.Fprintln(w)
	t.Write(w, "  ")
}
