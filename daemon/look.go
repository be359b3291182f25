package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"superctl/config"
	"superctl/proc"
	"superctl/releases"
	"superctl/servers"
	"superctl/socket"
	"superctl/supervisor"
)

// looker looks at starting workers: they must listen on their listeners and run from their release.
// Few looks are taken at a time, so that the start of many workers does not become as many scans of
// /proc at once.
type looker struct {
	listen []config.Listen
	store  *releases.Store
	turns  chan struct{} // holds a token for each look in progress
}

// looksAtOnce is more than one, so that a process whose files in /proc do not answer keeps no other
// from being looked at.
const looksAtOnce = 4

func newLooker(c *config.Config) *looker {
	return &looker{listen: c.Listen, store: c.Store(), turns: make(chan struct{}, looksAtOnce)}
}

// look is the supervisor's Look.
func (l *looker) look(ctx context.Context, s supervisor.Look) error {
	select {
	case l.turns <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", supervisor.ErrUnseen, context.Cause(ctx))
	}
	found := make(chan error, 1)
	go func() {
		defer func() { <-l.turns }()
		found <- l.see(s)
	}()
	select {
	case err := <-found:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", supervisor.ErrUnseen, context.Cause(ctx))
	}
}

func (l *looker) see(s supervisor.Look) error {
	sockets, errSockets := socket.ListenersOf(s.PIDs)
	if strays := l.strays(s, sockets); len(strays) > 0 {
		return l.listensElsewhere(s, strays)
	}
	paths, err := l.store.Paths(s.Release.Path)
	if err != nil {
		return fmt.Errorf("%w: %w", supervisor.ErrUnseen, errors.Join(err, errSockets))
	}
	for _, pid := range s.PIDs {
		stray, err := paths.OfProcess(pid)
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", supervisor.ErrUnseen, errors.Join(err, errSockets))
		case stray != nil:
			return errors.New(runsElsewhere(stray))
		}
	}
	if errSockets != nil {
		return fmt.Errorf("%w: %w", supervisor.ErrUnseen, errSockets)
	}
	return nil
}

// strays are the sockets on which a worker must not listen.
func (l *looker) strays(s supervisor.Look, sockets []socket.Listening) (strays []socket.Listening) {
	seen := make(map[uint64]bool)
	for _, at := range sockets {
		if seen[at.Inode] || slices.Contains(s.Listeners, at.Inode) {
			continue
		}
		seen[at.Inode] = true
		if l.ownAddress(at) != nil ||
			len(s.Process.Listen) > 0 && !at.Private() && !allowed(s.Process.ExtraListen, at) {
			strays = append(strays, at)
		}
	}
	return strays
}

// ownAddress is the app's listener whose connections a socket would take, or nil.
func (l *looker) ownAddress(at socket.Listening) *config.Listen {
	for i := range l.listen {
		if at.Overlaps(l.listen[i].Address) {
			return &l.listen[i]
		}
	}
	return nil
}

func allowed(patterns []string, at socket.Listening) bool {
	return slices.ContainsFunc(patterns, func(text string) bool {
		p, err := socket.ParsePattern(text)
		return err == nil && p.Matches(at)
	})
}

// mostStrays is how many addresses a message names.
const mostStrays = 3

// listensElsewhere says on what a worker listens, and what to change.
func (l *looker) listensElsewhere(s supervisor.Look, strays []socket.Listening) error {
	var names []string
	for _, at := range strays {
		if name := at.String(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	text := "listens on " + strings.Join(names[:min(len(names), mostStrays)], ", ")
	if len(names) > mostStrays {
		text += fmt.Sprintf(" and %d more", len(names)-mostStrays)
	}
	switch own := l.ownAddress(strays[0]); {
	case own != nil:
		text += fmt.Sprintf(" by itself, which is the address of listen.%s: it would take connections past the gate: %s",
			own.Name, advice(s, strays[0], false))
	case s.Healthy:
		text += fmt.Sprintf(" as well as on the listener it was given: %s", advice(s, strays[0], true))
	default:
		text += fmt.Sprintf(" and not on the listener it was given: %s", advice(s, strays[0], true))
	}
	return errors.New(text)
}

// advice is what to change so that a worker does not listen on an address.
func advice(s supervisor.Look, at socket.Listening, allow bool) string {
	running := commandLine(at.PID)
	p := &s.Process
	in := servers.Input{Command: p.Command, Env: p.Env, Release: p.Dir, Listen: p.Listen, Drain: p.Drain}
	if b, ok := servers.FindBinding(in, running, at.String()); ok {
		if b.From == "" {
			return fmt.Sprintf("remove %s: superctl hands it the listener", b.Text)
		}
		return fmt.Sprintf("remove %s from %s: superctl hands it the listener", b.Text, b.From)
	}
	for _, command := range [][]string{running, s.Process.Command} {
		if says := servers.TakesNone(command); says != "" {
			return says
		}
	}
	server := servers.ServerOf(running)
	if first := s.PIDs[0]; !s.Healthy && server != "" && at.PID != first {
		return fmt.Sprintf("%s stays in front of %s, which then does not find its listener: let command begin with %s, "+
			"or let %s execute it in its own place", name(first), server, server, name(first))
	}
	switch {
	case !s.Healthy && server != "":
		return fmt.Sprintf("let command begin with %s, and take out what has it listen there: superctl hands it the listener",
			server)
	case !s.Healthy:
		return "let it serve on the descriptor that LISTEN_FDS or {fd.NAME} names, or run the app with " +
			strings.Join(servers.Servers(), ", ")
	case !allow:
		return "take out what binds that address"
	}
	return fmt.Sprintf(
		"take out what listens there, or allow it in [process.%s]: extra_listen = [%q]", p.Name, at.String(),
	)
}

// commandLine is the words of a process's command; none when it has ended.
func commandLine(pid int) []string {
	words, err := proc.Args(pid)
	if err != nil {
		return nil
	}
	return words
}

// name is what a process is called.
func name(pid int) string {
	words := commandLine(pid)
	if len(words) == 0 || words[0] == "" {
		return "a program"
	}
	base := filepath.Base(words[0])
	if len(words) < 2 || !strings.HasPrefix(base, "python") || strings.HasPrefix(words[1], "-") {
		return base
	}
	return filepath.Base(words[1])
}

// runsElsewhere says from which release a process runs, and what to change.
func runsElsewhere(s *releases.Stray) string {
	from := "another release"
	switch {
	case s.Release != "":
		from = "release " + s.Release
	case s.Current != "":
		from = s.Current
	}
	how := fmt.Sprintf("its %s is %s", s.By, s.Path)
	if s.Variable != "" {
		how = fmt.Sprintf("its variable %s has %s", s.Variable, s.Path)
	}
	return fmt.Sprintf("runs from %s and not from its own: %s (%s, pid %d): %s",
		from, how, name(s.PID), s.PID, insteadOf(s.Detour))
}

// insteadOf is what to write in the place of a path that leaves the release.
func insteadOf(d releases.Detour) string {
	program := filepath.Base(d.Rest)
	switch {
	case d.Rest == "":
		return "leave it out: a process begins in its release's directory"
	case filepath.Base(filepath.Dir(d.Rest)) == "bin":
		return fmt.Sprintf("write %s: the bin directory of the release's virtualenv is first in PATH", program)
	}
	return fmt.Sprintf("write %s: a process begins in its release's directory", d.Rest)
}
