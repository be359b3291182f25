package servers

import (
	"path/filepath"
	"slices"
	"strings"
)

// schedulerWords are words in the names of programs and modules that start jobs by the clock.
var schedulerWords = []string{ //nolint:gochecknoglobals // a table
	"apscheduler", "beat", "clock", "cron", "crond", "periodiq", "rqscheduler", "runapscheduler", "scheduler",
	"supercronic",
}

// schedulerDepth is how many words of a command are looked at: later ones are names of queues and
// the like.
const schedulerDepth = 4

// scheduler warns of a program that looks like one that starts jobs by the clock, of which two run
// at once: during a switch, and for as long as the old release drains or is on standby.
func (c *command) scheduler() {
	if c.in.Single {
		return
	}
	for _, word := range c.in.Command[:min(schedulerDepth, len(c.in.Command))] {
		name := strings.TrimSuffix(filepath.Base(word), ".py")
		if name == "celery" {
			return // which is known better
		}
		if strings.HasPrefix(name, "-") || !slices.ContainsFunc(strings.FieldsFunc(name, partOfName), isSchedulerWord) {
			continue
		}
		c.warn(`%s looks like a scheduler: two run at once during a switch, and for as long as the old release drains or is on `+
			`standby, so that jobs start twice: write strategy = "single"`, word)
		return
	}
}

func partOfName(r rune) bool { return strings.ContainsRune("._-:", r) }

func isSchedulerWord(word string) bool { return slices.Contains(schedulerWords, strings.ToLower(word)) }
