//go:build linux

package lookcommand

import (
	"bytes"
	"encoding/json"
	"flag"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"superctl/api"
	"superctl/cli/console"
	"superctl/cli/terminal"
)

func TestLogsWithoutLinesSayWhereOlderOnesAre(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("SUPERCTL_APP", "shop")
	cc := cli.NewContext(&cli.App{}, flag.NewFlagSet("logs", flag.ContinueOnError), nil)
	got := noLines(cc, api.LogQuery{Process: "web", Release: "r42"})
	const want = "the daemon keeps no lines of process web of release r42; journalctl -u superctl@NAME has older ones"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEachLineOfTheLogsIsALineOfJSON(t *testing.T) {
	var out bytes.Buffer
	c := &command{&console.Console{Stdout: terminal.NewScreen(&out)}}
	want := []api.LogLine{{Process: "web", Text: "a\nb"}, {Process: "web", Text: "\x1b[31m{\u0085"}}
	for _, line := range want {
		if err := c.logLine(line, true); err != nil {
			t.Fatal(err)
		}
	}
	lines := bytes.Split(bytes.TrimSpace(out.Bytes()), []byte("\n"))
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), out.Bytes())
	}
	for i, line := range lines {
		var got api.LogLine
		if err := json.Unmarshal(line, &got); err != nil || got != want[i] {
			t.Errorf("%s: %+v, %v", line, got, err)
		}
	}
}

func TestALineOfAnotherDayHasItsDate(t *testing.T) {
	now := time.Date(2026, 11, 30, 0, 10, 0, 0, time.Local)
	for at, want := range map[time.Time]string{
		now.Add(-time.Minute):      "00:09:00",
		now.Add(-11 * time.Minute): "2026-11-29 23:59:00",
		now.AddDate(-1, 0, 0):      "2025-11-30 00:10:00",
	} {
		if got := logTime(at.UTC(), now.UTC()); got != want {
			t.Errorf("%v: %s, want %s", at, got, want)
		}
	}
}
