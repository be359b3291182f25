package config

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"superctl/api"
)

// strategies lists the strategies in messages.
const strategies = `"overlap" (the default), "rolling", "single" or "hold"`

// strategy parses how the workers of a new generation replace the old ones, and the keys of its strategy.
func (l *loader) strategy(key string, t processTable, p *Process) {
	p.Strategy = api.Strategy(cmp.Or(t.Strategy, string(api.Overlap)))
	listens := len(t.Listen) > 0
	switch p.Strategy {
	case api.Overlap, api.Rolling:
	case api.Single:
		if listens {
			l.at(key+".strategy",
				`strategy "single" stops the old before the new is proved, which a process with listeners must `+
					`not do: leave it out, or write "hold" to let connections wait meanwhile`)
		}
		if t.Instances != nil && *t.Instances > 1 {
			l.at(key+".instances", `strategy "single" runs one instance: remove instances`)
		}
	case api.Hold:
		if !listens {
			l.at(key+".strategy",
				`strategy "hold" makes connections wait, and this process has no listener: write "single"`)
		}
	default:
		l.at(key+".strategy", "strategy %q is not known: "+strategies, t.Strategy)
	}
	l.strategyKeys(key, t, p)
}

// strategyKeys parses the keys that only one strategy has.
func (l *loader) strategyKeys(key string, t processTable, p *Process) {
	if p.Strategy == api.Rolling {
		p.Surge = int(l.number(key+".surge", t.Surge, 1, 1, int64(p.Instances)))
	} else if t.Surge != nil {
		l.at(key+".surge", `surge is for strategy = "rolling": write that too, or leave it out`)
	}
	if p.Strategy == api.Hold {
		p.Hold = l.duration(key+".hold", t.Hold, defaultHold, time.Second)
	} else if t.Hold != nil {
		l.at(key+".hold", `hold is for strategy = "hold": write that too, or leave it out`)
	}
	switch {
	case t.HoldPage == nil:
	case p.Strategy != api.Hold:
		l.at(key+".hold_page", `hold_page is for strategy = "hold": write that too, or leave it out`)
	default:
		if p.HoldPage = *t.HoldPage; p.HoldPage {
			l.pageable(key+".hold_page", t.Listen)
		}
	}
}

// pageable refuses a maintenance page on a listener whose connections superctl cannot send to it.
func (l *loader) pageable(key string, listen []string) {
	for _, name := range listen {
		if li, ok := l.f.Listen[name]; ok && (li.Gate == "shared" || strings.HasPrefix(li.Address, "systemd:")) {
			l.at(key, "listener %q has one queue for all generations, so its connections cannot get a page: remove hold_page", name)
		}
	}
}

// pagedTogether refuses a config in which only some of the processes with strategy hold have hold_page: the
// page has all listeners.
func (l *loader) pagedTogether() {
	var paged, others []string
	for _, p := range l.c.Processes {
		switch {
		case p.Strategy != api.Hold:
		case p.HoldPage:
			paged = append(paged, p.Name)
		default:
			others = append(others, p.Name)
		}
	}
	if len(paged) > 0 && len(others) > 0 {
		l.at("process."+paged[0]+".hold_page", "the page is shown on all listeners at once: write it for %s too",
			strings.Join(others, ", "))
	}
}

// together refuses a config in which only some of the processes with listeners have strategy hold
// or rolling: all of them are cut over together.
func (l *loader) together() {
	for _, c := range []struct {
		strategy api.Strategy
		means    string
		standby  string
	}{
		{
			api.Hold, "stops all of the old code before the new one starts",
			"the old code is gone before the new one starts",
		},
		{api.Rolling, "turns connections over bit by bit", "the old workers are gone when the last new one serves"},
	} {
		var these, others []string
		for _, p := range l.c.Processes {
			switch {
			case len(p.Listen) == 0:
			case p.Strategy == c.strategy:
				these = append(these, p.Name)
			default:
				others = append(others, p.Name)
			}
		}
		if len(these) == 0 {
			continue
		}
		if len(others) > 0 {
			l.at("process."+these[0]+".strategy", "strategy %q %s: write it for %s too", c.strategy, c.means,
				strings.Join(others, ", "))
		}
		if l.c.Standby > 0 {
			l.c.Warnings = append(l.c.Warnings,
				fmt.Sprintf("standby has no effect with strategy %q: %s", c.strategy, c.standby))
		}
	}
}
