package config

import (
	"cmp"
	"strings"
	"time"

	"superctl/supervisor"
)

// strategies is how the kinds of them are called in messages.
const strategies = `"overlap" (the default), "single" or "hold"`

// strategy reads how the workers of a new generation replace the old ones, and what belongs to it.
func (l *loader) strategy(key string, t processTable, p *Process) {
	p.Strategy = supervisor.Strategy(cmp.Or(t.Strategy, string(supervisor.Overlap)))
	listens := len(t.Listen) > 0
	switch p.Strategy {
	case supervisor.Overlap:
	case supervisor.Single:
		if listens {
			l.at(key+".strategy", `strategy "single" stops the old before the new is proved, which a process with listeners must not do: `+
				`leave it out, or write "hold" to let connections wait meanwhile`)
		}
		if t.Instances != nil && *t.Instances > 1 {
			l.at(key+".instances", `strategy "single" means one: leave instances out`)
		}
	case supervisor.Hold:
		if !listens {
			l.at(key+".strategy", `strategy "hold" lets connections wait, and this process has no listener: write "single"`)
		}
	default:
		l.at(key+".strategy", "strategy %q is not known: "+strategies, t.Strategy)
	}
	if p.Strategy == supervisor.Hold {
		p.Hold = l.duration(key+".hold", t.Hold, defaultHold, time.Second)
	} else if t.Hold != nil {
		l.at(key+".hold", `hold is for strategy = "hold": write that too, or leave it out`)
	}
}

// heldTogether refuses a config in which only some of the processes with listeners are held: the others would go on with the
// old code while the new one is not there yet.
func (l *loader) heldTogether() {
	var held, others []string
	for _, p := range l.c.Processes {
		switch {
		case p.Strategy == supervisor.Hold:
			held = append(held, p.Name)
		case len(p.Listen) > 0:
			others = append(others, p.Name)
		}
	}
	if len(held) == 0 {
		return
	}
	if len(others) > 0 {
		l.at("process."+held[0]+".strategy", `strategy "hold" stops all of the old code before the new one starts: write it for %s too`, strings.Join(others, ", "))
	}
	if l.c.Standby > 0 {
		l.c.Warnings = append(l.c.Warnings, `standby has no effect with strategy "hold": the old code is gone before the new one starts`)
	}
}
