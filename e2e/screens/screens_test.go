package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

var run *harness.Run

func TestMain(m *testing.M) {
	harness.Guardian()
	os.Exit(harness.Main(m, func(r *harness.Run) { run = r }))
}

func TestTheScreensShowWhatSuperctlPrints(t *testing.T) {
	for _, screen := range play(t, run, "") {
		want, err := os.ReadFile(filepath.Join("testdata", screen.name+".ansi"))
		if err != nil {
			t.Fatal(err)
		}
		if shape(string(want)) != shape(screen.text) {
			t.Errorf("the screen %s is out of date: run make screens\nsuperctl prints\n%s\nand the screen shows\n%s",
				screen.name, screen.text, want)
		}
	}
}

// shape returns a screen without what differs from run to run: numbers, units of time and the width
// of columns.
func shape(text string) string {
	text = strings.ReplaceAll(text, "just now", "TIME ago")
	text = regexp.MustCompile(`\d+(\.\d+)? (ms|s|min)\b`).ReplaceAllString(text, "TIME")
	text = regexp.MustCompile(`\d+(\.\d+)*`).ReplaceAllString(text, "0")
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(lines, "\n")
}
