package servers

import (
	"path/filepath"
	"slices"
)

// celery checks a command that runs Celery, which is not a server: TERM makes a worker finish its
// tasks, and ends a beat. The problems that it reports otherwise show only at a switch or after a
// crash.
func (c *command) celery(line []string) {
	at := -1
	for i, word := range line[:min(wrapWords, len(line))] {
		if filepath.Base(word) == "celery" {
			at = i
			break
		}
	}
	if at < 0 {
		return
	}
	args := &command{in: c.in, out: c.out}
	args.read("", line[at+1:])
	if slices.Contains(line[at+1:], "multi") {
		c.problem("celery multi: write celery -A APP worker, with a process or instances for each node: %s", background)
		return
	}
	for _, g := range args.all("--detach", "-D") {
		c.problem("celery: take out %s: superctl watches the process that it starts, and this option makes it exit at once",
			g.text)
	}
	c.pidFiles("celery", args, "--pidfile")
	switch args.subcommand() {
	case "worker":
		for _, g := range args.all("-B", "--beat") {
			c.warn(`celery: %s runs a beat in each worker, so that two run at once during a switch and tasks are `+
				`sent twice: give beat a process of its own, with strategy = "single"`, g.text)
		}
	case "beat":
		c.beat(args)
	}
}

// subcommand returns "worker" or "beat" if that is Celery's subcommand. The app may have the same
// name.
func (c *command) subcommand() string {
	app := false
	for _, w := range c.words {
		if (w.text == "worker" || w.text == "beat") && !app {
			return w.text
		}
		app = w.text == "-A" || w.text == "--app"
	}
	return ""
}

// beat warns of settings that make beat send a task twice or not at all.
func (c *command) beat(args *command) {
	if !c.in.Single {
		c.warn(`celery beat: write strategy = "single", or two run at once during a switch and tasks are sent twice`)
	}
	schedules, otherwise := args.all("--schedule", "-s"), args.has("--scheduler", "-S")
	if len(schedules) == 0 && !otherwise {
		c.warn("celery beat: write --schedule with a file outside the releases, such as " +
			"/srv/APP/data/celerybeat-schedule: without it beat remembers in the release's directory what it has " +
			"sent, and the next release's does not know")
	}
	for _, g := range schedules {
		if !filepath.IsAbs(g.value) {
			c.warn("celery beat: %s %s is in the release's directory, where the next release's beat does not find "+
				"it: write an absolute path outside the releases", g.option, g.value)
		}
	}
}
