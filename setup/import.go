package setup

import (
	"cmp"
	"fmt"
	"slices"
)

// Import is what the config of another supervisor or server says of an app. An empty field is
// unknown.
type Import struct {
	App  string
	User string
	Dir  string // in which the app runs now

	Listen    []Listener
	Processes []Process
	Before    []string
	Env       []Variable
	Secrets   []Variable // variables whose value looks like a secret
	EnvFile   string
	DropIn    []string // directives for [Service] of the unit
	Unit      []string // directives for [Unit]
	Keep      int      // releases; 0 = unknown

	// name of the config file, if the project must say which app gunicorn serves
	GunicornConfig string

	Domains []string
	Lines   []Line
}

// Merge adds another import of the same app, such as the unit of its Celery worker. Where both say
// something of the app as a whole, the first counts.
func (im *Import) Merge(other *Import) {
	im.User, im.Dir = cmp.Or(im.User, other.User), cmp.Or(im.Dir, other.Dir)
	im.EnvFile = cmp.Or(im.EnvFile, other.EnvFile)
	im.GunicornConfig = cmp.Or(im.GunicornConfig, other.GunicornConfig)
	im.Domains = append(im.Domains, other.Domains...)
	for _, p := range other.Processes {
		name := p.Name
		for n := 2; slices.ContainsFunc(im.Processes, func(o Process) bool { return o.Name == p.Name }); n++ {
			p.Name = fmt.Sprintf("%.28s-%d", name, n)
		}
		for _, v := range other.Env {
			if !slices.Contains(im.Env, v) && !slices.ContainsFunc(p.Env, func(o Variable) bool { return o.Name == v.Name }) {
				p.Env = append(p.Env, v)
			}
		}
		im.Processes = append(im.Processes, p)
	}
	im.mergeListeners(other)
	add := func(list []string, more []string) []string {
		for _, text := range more {
			if !slices.Contains(list, text) {
				list = append(list, text)
			}
		}
		return list
	}
	im.Before, im.DropIn, im.Unit = add(im.Before, other.Before), add(im.DropIn, other.DropIn), add(im.Unit, other.Unit)
	for _, v := range other.Secrets {
		if !slices.ContainsFunc(im.Secrets, func(o Variable) bool { return o.Name == v.Name }) {
			im.Secrets = append(im.Secrets, v)
		}
	}
	im.Lines = append(im.Lines, other.Lines...)
}

// mergeListeners adds the listeners of another import, whose processes are the last ones of this. One
// whose name is taken gets another.
func (im *Import) mergeListeners(other *Import) {
	for _, l := range other.Listen {
		if !slices.ContainsFunc(im.Listen, func(o Listener) bool { return o.Name == l.Name }) {
			im.Listen = append(im.Listen, l)
			continue
		}
		from := l.Name
		l.Name = im.freeListener(from)
		im.Listen = append(im.Listen, l)
		for i := len(im.Processes) - len(other.Processes); i < len(im.Processes); i++ {
			p := &im.Processes[i]
			p.Listen = slices.Clone(p.Listen)
			for j := range p.Listen {
				if p.Listen[j] == from {
					p.Listen[j] = l.Name
				}
			}
		}
	}
}

func (im *Import) freeListener(name string) string {
	for n := 2; ; n++ {
		free := fmt.Sprintf("%.28s-%d", name, n)
		if !slices.ContainsFunc(im.Listen, func(l Listener) bool { return l.Name == free }) {
			return free
		}
	}
}

// Verdict is what became of a line of an imported file.
type Verdict string

// The verdicts.
const (
	Kept    Verdict = "kept"     // it is in the plan
	BuiltIn Verdict = "built in" // superctl does it by itself
	Dropped Verdict = "left out" // superctl has no counterpart
)

// Line says what became of a line of an imported file.
type Line struct {
	File    string  `json:"file"`
	From    int     `json:"from"` // number of its first line, from 1
	To      int     `json:"to"`
	Text    string  `json:"text"` // without the values of secrets
	Verdict Verdict `json:"verdict"`
	Key     string  `json:"key,omitempty"` // of the config, or where else it is kept
	Why     string  `json:"why,omitempty"`
}
