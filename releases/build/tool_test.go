package build

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestAnErrorShowsBothEndsOfALongLine(t *testing.T) {
	long := "ERROR: no version of Django==99 (from versions: 1.1.3, " + strings.Repeat("1.2, ", 1000) + "5.2.18, 5.2.19)"
	err := &toolError{"pip download", errors.New("exit code 1"), []string{"Looking in links", long}}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || lines[1] != "  | Looking in links" || len(lines[2]) > 320 ||
		!strings.HasPrefix(lines[2], "  | ERROR: no version of Django==99 (from") || !strings.HasSuffix(lines[2], "5.2.18, 5.2.19)") {
		t.Errorf("%s", err)
	}
}

func TestAMissingPipIsExplained(t *testing.T) {
	for says, want := range map[string]string{
		"ERROR: Could not find a version that satisfies the requirement pip (from versions: none)":       "the index has no pip",
		"ERROR: Could not find a version that satisfies the requirement pip (from versions: 20.0, 25.0)": "needs Python 3.10 or newer",
	} {
		b := &builder{temp: t.TempDir(), cache: cache{t.TempDir()}, Options: Options{
			Exec: func(_ context.Context, c Command, line func(string)) error {
				if !slices.Contains(c.Args, "download") {
					return nil
				}
				line(says)
				line("ERROR: No matching distribution found for pip")
				return errors.New("exit code 1")
			},
		}}
		if _, err := b.fetchPip(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
