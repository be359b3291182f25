package main

import (
	"slices"
	"strings"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

// screen is what a terminal shows after some commands.
type screen struct {
	name string // of its files
	text string // with colours
}

// scenes are the screens and their commands, in the order in which they are typed.
var scenes = []struct { //nolint:gochecknoglobals // a table
	screen   string
	commands []string
	exit     int // of the last command
}{
	{"status", []string{"status"}, 0},
	{"deploys", []string{"switch 2026-11-20", "switch 2026-11-23"}, 1},
	{"rollback", []string{"rollback"}, 0},
	{"history", []string{"history"}, 0},
}

// play runs the scenes with a small Django site that listens on address ("" for any).
func play(t harness.T, run *harness.Run, address string) []screen {
	a := harness.New(t, run, harness.Options{Server: oneWorker(), Address: address, Top: "standby = \"5m\"\n"})
	for _, name := range []string{"2026-11-13", "2026-11-16", "2026-11-20"} {
		a.Release(name, apps.Behaviour{ImportSeconds: 1})
	}
	a.Release("2026-11-23", apps.Behaviour{Fault: apps.ImportError})
	a.Start("2026-11-13")
	a.Command("switch", "2026-11-16").Want(0)
	var screens []screen
	for _, scene := range scenes {
		var text strings.Builder
		for i, command := range scene.commands {
			output, code := a.OnTerminal(strings.Fields(command)...)
			if i == len(scene.commands)-1 && code != scene.exit {
				t.Fatalf("superctl %s: exit code %d, want %d:\n%s", command, code, scene.exit, output)
			}
			final, err := harness.FinalLines(output)
			if err != nil {
				t.Fatalf("superctl %s: %v", command, err)
			}
			text.WriteString("$ superctl " + command + "\n" + final)
		}
		screens = append(screens, screen{scene.screen, asOnAServer(a, text.String())})
	}
	return screens
}

// oneWorker is a gunicorn with one worker. With two that cannot start, gunicorn ends with 3 or with 1
// and a longer traceback: its Arbiter.stop raises HaltServer a second time when the other worker ends
// while it waits (gunicorn 27.0.1).
func oneWorker() harness.Server {
	server := harness.GunicornThreads()
	server.Command = "gunicorn --workers 1 --threads 4 shop.wsgi"
	return server
}

// asOnAServer replaces the names that only this run has by those of a server that the documents set
// up, and shortens the log of a worker.
func asOnAServer(a *harness.App, text string) string {
	return brief(strings.NewReplacer(a.Dir, "/srv/shop", a.Name, "shop").Replace(text))
}

// logLine is the beginning of a line of a worker's log.
const logLine = "  \x1b[2m|\x1b[0m "

// brief shortens a traceback in the log of a worker to the part in the release's own code.
func brief(text string) string {
	lines := strings.Split(text, "\n")
	first := slices.IndexFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, logLine) && strings.Contains(l, "/releases/")
	})
	last := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, logLine) && strings.Contains(l, "Error: ") })
	var kept []string
	for i, line := range lines {
		switch {
		case !strings.HasPrefix(line, logLine), i >= first && i <= last:
			kept = append(kept, line)
		case kept[len(kept)-1] != logLine+"...":
			kept = append(kept, logLine+"...")
		}
	}
	return strings.Join(kept, "\n")
}
