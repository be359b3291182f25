package build

import (
	"context"
	"errors"
	"strings"
	"testing"
)

func TestWhatTheProgramsOfABuildWriteHasNoSecrets(t *testing.T) {
	const canary = "cAnArY-7f3a"
	var told strings.Builder
	opt := discreet(Options{
		Environ: []string{"GITHUB_TOKEN=" + canary, "TERM=xterm-256color"},
		Env:     map[string]string{"SECRET_KEY": canary + "-2"},
		Exec: func(_ context.Context, _ Command, line func(string)) error {
			line("GITHUB_TOKEN is " + canary + " on xterm-256color")
			line("cannot fetch https://shop:" + canary + "-3@pypi.example/simple/: 401")
			line("SECRET_KEY is " + canary + "-2")
			return errors.New("exit code 1")
		},
		Show: func(ev Event) { told.WriteString(ev.Detail + "\n") },
	})
	b := &builder{Options: opt}
	b.Show(Event{Detail: "curl https://shop:" + canary + "-4@pypi.example/"})
	err := b.tool(t.Context(), "pip", Command{}, func(l string) { told.WriteString(l + "\n") })
	told.WriteString(err.Error())
	if strings.Contains(told.String(), canary) {
		t.Errorf("it is told:\n%s", told.String())
	}
	for _, want := range []string{
		"GITHUB_TOKEN is *** on xterm-256color", "https://***@pypi.example/simple/: 401",
		"SECRET_KEY is ***",
	} {
		if strings.Count(told.String(), want) != 2 {
			t.Errorf("%q is not told twice:\n%s", want, told.String())
		}
	}
}
