package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"superctl/servers"
	"superctl/socket"
)

func (l *loader) processes() {
	if len(l.f.Process) == 0 {
		l.at("", "no process is configured: write a table [process.web] with a command")
	}
	taken := make(map[string]string)
	for _, name := range l.inOrder(slices.Collect(maps.Keys(l.f.Process))) {
		p := l.process(name, l.f.Process[name])
		for _, li := range p.Listen {
			other, ok := taken[li]
			switch {
			case other == name:
				l.at("process."+name+".listen", "listener %q is in the list twice", li)
			case ok:
				l.at("process."+name+".listen",
					"listener %q belongs to process.%s already: each process needs a listener of its own", li, other)
			}
			taken[li] = name
		}
		l.c.Processes = append(l.c.Processes, p)
	}
	l.together()
	l.pagedTogether()
	l.controls()
	l.rates()
	l.c.Processes = l.ordered(l.c.Processes)
	for _, li := range l.c.Listen {
		if taken[li.Name] == "" {
			l.c.Warnings = append(l.c.Warnings,
				fmt.Sprintf("listener %q is not used: no process has it in its listen", li.Name))
		}
	}
}

// inOrder sorts the names of processes by their order in the file, which is the start order.
func (l *loader) inOrder(names []string) []string {
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(l.lineOf("process."+a), l.lineOf("process."+b)), cmp.Compare(a, b))
	})
	return names
}

func (l *loader) lineOf(table string) int {
	first := 1 << 30
	for key, pos := range l.where {
		if (key == table || strings.HasPrefix(key, table+".")) && pos.line < first {
			first = pos.line
		}
	}
	return first
}

func (l *loader) process(name string, t processTable) Process {
	key := "process." + name
	if !isItemName(name) {
		l.at(key, "process %q: use letters, digits, - and _, at most 32", name)
	}
	p := Process{Name: name, Listen: t.Listen, After: t.After, Notify: t.Notify, Server: t.Server}
	p.Command = l.command(key, t.Command)
	for _, word := range p.Command {
		l.placeholders(key+".command", word, t.Listen)
	}
	p.ExtraListen = l.extraListen(key+".extra_listen", t.ExtraListen)
	l.listenersExist(key+".listen", t.Listen)
	p.Instances = int(l.number(key+".instances", t.Instances, 1, 1, maxInstances))
	l.strategy(key, t, &p)
	p.Drain = l.duration(key+".drain", t.Drain, defaultDrain, time.Second)
	l.drainConnections(key, t, &p)
	l.drainHook(key, t, &p)
	p.StartTimeout = l.duration(key+".start_timeout", t.StartTimeout, defaultStartTimeout, time.Second)
	p.ReadyAfter = l.duration(key+".ready_after", t.ReadyAfter, defaultReadyAfter, 0)
	p.StopSignal = l.stopSignal(key+".stop_signal", t.StopSignal)
	if t.Server != "" && !slices.Contains(servers.Servers(), t.Server) {
		l.at(key+".server", "server %q is not known: %s, or leave it out", t.Server,
			strings.Join(servers.Servers(), ", "))
	}
	p.User = l.processUser(key, t)
	p.NoFile = uint64(l.number(key+".nofile", t.NoFile, 0, 16, 1<<20))
	p.MemoryMax = l.size(key+".memory_max", t.MemoryMax)
	p.CPUWeight = uint64(l.number(key+".cpu_weight", t.CPUWeight, 0, 1, 10_000))
	p.Env = l.variables(key+".env", t.Env, FromProcess, t.Listen)
	p.Health = l.health(key, t)
	p.Guard = l.guard(key, t)
	p.Recycle = l.recycle(key, t, p.MemoryMax)
	return p
}

// listenersExist reports listeners that are not configured.
func (l *loader) listenersExist(key string, names []string) {
	for _, name := range names {
		if _, ok := l.f.Listen[name]; !ok {
			l.at(key, "there is no listener %q: write a table [listen.%s] with an address", name, name)
		}
	}
}

// stopSignal parses the name of a signal. It returns 0 for the server's own.
func (l *loader) stopSignal(key, name string) int {
	if name == "" {
		return 0
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if sig == 0 || sig == unix.SIGKILL || sig == unix.SIGSTOP {
		l.at(key, `stop_signal %q: write the name of a signal that a program can handle, such as "TERM" or "QUIT"`,
			name)
	}
	return int(sig)
}

// processUser returns the user of a process. A group without a user belongs to the user at the top.
func (l *loader) processUser(key string, t processTable) *User {
	switch {
	case t.User == "" && t.Group != "" && l.f.User == "":
		l.at(key+".group", "group = %q: it needs a user, here or at the top", t.Group)
		return nil
	case t.User == "" && t.Group != "":
		return l.user(key+".group", l.f.User, t.Group)
	}
	return l.user(key+".user", t.User, t.Group)
}

// extraListen parses the additional addresses on which a process may listen.
func (l *loader) extraListen(key string, patterns []string) []string {
	for _, text := range patterns {
		if _, err := socket.ParsePattern(text); err != nil {
			l.at(key, "%v", err)
		}
	}
	return patterns
}
