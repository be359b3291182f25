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

// looker inspects starting workers: they must listen on their listeners and run from their release.
// It inspects few at a time, so that the start of many workers does not scan /proc as many times at
// once.
type looker struct {
	listen []config.Listen
	store  *releases.Store
	turns  chan struct{} // holds a token for each inspection in progress
}

// looksAtOnce is more than one, so that a process whose files in /proc block does not delay the
// inspection of others.
const looksAtOnce = 4

func newLooker(c *config.Config) *looker {
	return &looker{listen: c.Listen, store: c.Store(), turns: make(chan struct{}, looksAtOnce)}
}

// look implements the supervisor's Look.
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

// see returns why a worker must not serve, or supervisor.ErrUnseen if it cannot be inspected.
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

// strays returns the sockets on which a worker listens but must not.
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

// ownAddress returns the app's listener whose connections a socket would take, or nil.
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

// maxStrays is the number of addresses that a message names.
const maxStrays = 3

// listensElsewhere returns an error that names the addresses of stray sockets and the correction.
func (l *looker) listensElsewhere(s supervisor.Look, strays []socket.Listening) error {
	var names []string
	for _, at := range strays {
		if name := at.String(); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	text := "listens on " + strings.Join(names[:min(len(names), maxStrays)], ", ")
	if len(names) > maxStrays {
		text += fmt.Sprintf(" and %d more", len(names)-maxStrays)
	}
	switch own := l.ownAddress(strays[0]); {
	case own != nil:
		text += fmt.Sprintf(" with its own socket, which would bypass the gate of listen.%s: %s", own.Name,
			advice(s, strays[0], false))
	case s.Healthy:
		text += fmt.Sprintf(" as well as on the listener that superctl passed to it: %s", advice(s, strays[0], true))
	default:
		text += fmt.Sprintf(" and not on the listener that superctl passed to it: %s", advice(s, strays[0], true))
	}
	return errors.New(text)
}

// advice returns what to change so that a worker does not listen on an address.
func advice(s supervisor.Look, at socket.Listening, allow bool) string {
	running := commandLine(at.PID)
	p := &s.Process
	in := servers.Input{Command: p.Command, Env: p.Env, Release: p.Dir, Listen: p.Listen, Drain: p.Drain}
	if b, ok := servers.FindBinding(in, running, at.String()); ok {
		if b.From == "" {
			return fmt.Sprintf("remove %s: superctl passes the listener", b.Text)
		}
		return fmt.Sprintf("remove %s from %s: superctl passes the listener", b.Text, b.From)
	}
	for _, command := range [][]string{running, s.Process.Command} {
		if says := servers.TakesNone(command); says != "" {
			return says
		}
	}
	server := servers.ServerOf(running)
	if first := s.PIDs[0]; !s.Healthy && server != "" && at.PID != first {
		return fmt.Sprintf("%s starts %s as a child, which does not find its listener: start command with %s, "+
			"or make %s exec it", name(first), server, server, name(first))
	}
	switch {
	case !s.Healthy && server != "":
		return fmt.Sprintf(
			"start command with %s, and remove the option that binds this address: superctl passes the listener", server,
		)
	case !s.Healthy:
		return "make it serve on the descriptor in LISTEN_FDS or {fd.NAME}, or run the app with one of " +
			strings.Join(servers.PythonServers(), ", ")
	case !allow:
		return "remove the option that binds this address"
	}
	return fmt.Sprintf(
		"remove the option that binds this address, or allow it in [process.%s]: extra_listen = [%q]", p.Name, at.String(),
	)
}

// commandLine returns the words of a process's command, or nil if the process has ended.
func commandLine(pid int) []string {
	words, err := proc.Args(pid)
	if err != nil {
		return nil
	}
	return words
}

// name returns the name of the program that a process runs.
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

// runsElsewhere returns text that names the release that a process runs from, and the correction.
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
		how = fmt.Sprintf("its variable %s contains %s", s.Variable, s.Path)
	}
	return fmt.Sprintf("runs from %s and not from its own: %s (%s, pid %d): %s",
		from, how, name(s.PID), s.PID, insteadOf(s.Detour))
}

// insteadOf returns the correction of a path that leaves the release.
func insteadOf(d releases.Detour) string {
	program := filepath.Base(d.Rest)
	switch {
	case d.Rest == "":
		return "take that path out: a process starts in its release's directory"
	case filepath.Base(filepath.Dir(d.Rest)) == "bin":
		return fmt.Sprintf("write %s: the bin directory of the release's virtualenv is first in PATH", program)
	}
	return fmt.Sprintf("write %s: a process starts in its release's directory", d.Rest)
}
