package site

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

var colours = regexp.MustCompile(`\x1b\[[0-9;]*m`)

func TestASwitchOnATerminalIsFollowedLineByLine(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Release("r1", apps.Behaviour{})
	a.Release("r2", apps.Behaviour{ImportSeconds: 1})
	a.Release("broken", apps.Behaviour{Fault: apps.ImportError})
	a.Start("r1")

	output, code := a.OnTerminal("switch", "r2")
	if line := regexp.MustCompile(`prove +[0-9.]+ of 60 s.*\n.*web\.0 \| .*\[INFO\]`); code != 0 || !line.MatchString(
		strings.ReplaceAll(output, "\r\n", "\n")) {
		t.Errorf("exit code %d, and the newest line of the worker is not shown:\n%q", code, output)
	}
	output, code = a.OnTerminal("switch", "broken")
	final, err := harness.FinalLines(output)
	if err != nil || code != 1 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	// gunicorn ends with 3, or with 1 when two of its workers fail at once.
	if n := len(regexp.MustCompile(`exit code [13]`).FindAllString(output, -1)); n != 1 {
		t.Errorf("the reason is said %d times:\n%s", n, final)
	}
	want := "  ModuleNotFoundError: No module named 'shop_payments'\nsuperctl check broken tries it again without traffic\n" +
		"r2 is still live, untouched\n"
	if !strings.HasSuffix(colours.ReplaceAllString(final, ""), want) {
		t.Errorf("got\n%s\nwant at the end\n%s", final, want)
	}
	for line := range strings.SplitSeq(colours.ReplaceAllString(final, ""), "\n") {
		if utf8.RuneCountInString(line) > 80 && !strings.HasPrefix(line, "  | ") {
			t.Errorf("a line of more than 80 columns: %s", line)
		}
	}

	// Without control sequences, where they are not wanted.
	for _, variable := range []string{"SUPERCTL_PLAIN=1", "TERM=dumb"} {
		if output, code := a.OnTerminalWith([]string{variable}, "reload"); code != 0 || strings.Contains(output, "\x1b") {
			t.Errorf("%s: exit code %d, %q", variable, code, output)
		}
	}
	if output, _ := a.OnTerminalWith([]string{"NO_COLOR=1"}, "status"); colours.MatchString(output) {
		t.Errorf("NO_COLOR: %q", output)
	}
}
