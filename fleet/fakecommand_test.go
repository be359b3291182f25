package fleet

import (
	"slices"
	"strings"
	"time"

	"superctl/releases/delta"
)

// fakeFlags are the options of a command.
type fakeFlags map[string]string

// parse checks a command against the options that it may have; those that end with = take a value.
func (s *fakeSession) parse(args []string, words int, options ...string) ([]string, fakeFlags) {
	flags, rest := fakeFlags{}, []string{}
	for i := 1; i < len(args); i++ {
		name, value, joined := strings.Cut(args[i], "=")
		switch {
		case !strings.HasPrefix(name, "--"):
			rest = append(rest, args[i])
		case slices.Contains(options, name+"="):
			if !joined {
				i++
				value = args[i]
			}
			if value == "" {
				s.fleet.t.Errorf("%s: %s has no value: %q", s.host.name, name, args)
			}
			flags[name] = value
		case slices.Contains(options, name) && !joined:
			flags[name] = "yes"
		default:
			s.fleet.t.Errorf("%s: unknown option %s: %q", s.host.name, name, args)
		}
	}
	if len(rest) != words {
		s.fleet.t.Errorf("%s: %d arguments instead of %d: %q", s.host.name, len(rest), words, args)
		rest = append(rest, "?", "?")
	}
	return rest, flags
}

func (s *fakeSession) serve(args []string) error {
	switch args[0] {
	case "status":
		s.parse(args, 0, "--json")
		return s.status()
	case "releases":
		s.parse(args, 0, "--json")
		var list []listed
		s.host.mu.Lock()
		for name, tree := range s.host.trees {
			list = append(list, listed{Name: name, Tree: tree, Bundle: s.host.bundles[name]})
		}
		s.host.mu.Unlock()
		s.print(list)
		return nil
	case "install":
		if slices.Contains(args, "--kept") {
			s.parse(args, 0, "--kept")
			s.print(delta.Base{})
			return nil
		}
		s.parse(args, 1, "--json", "--keep")
		return s.install()
	case "prune":
		s.parse(args, 0, "--json")
		s.print("{}")
		return nil
	case "lock":
		_, flags := s.parse(args, 0, "--run=", "--by=", "--why=", "--heartbeat=")
		return s.lock(flags)
	case "notify":
		_, flags := s.parse(args, 0, "--run=", "--by=", "--kind=", "--maintenance=", "--fleet=", "--outcome=", "--hosts=", "--seconds=",
			"--release=", "--previous=", "--behind=", "--error=")
		return s.notify(flags)
	case "maintenance":
		words, flags := s.parse(args, 1, "--run=", "--by=", "--json", "--follower", "--retry-after=", "--page=", "--page-sha256=",
			"--allow=")
		return s.maintenance(words[0], flags)
	case "switch":
		if slices.Contains(args, "--dry-run") {
			words, _ := s.parse(args, 1, "--dry-run", "--json", "--force")
			return s.rehearsed(words[0])
		}
		words, flags := s.parse(args, 1, "--expect=", "--prepare=", "--heartbeat=", "--run=", "--by=", "--json", "--follower",
			"--force")
		return s.prepared(words[0], flags)
	case "rollback":
		if slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "--prepare") }) {
			_, flags := s.parse(args, 0, "--from=", "--prepare=", "--heartbeat=", "--run=", "--by=", "--json", "--follower",
				"--force")
			s.host.mu.Lock()
			previous := s.host.previous
			s.host.mu.Unlock()
			return s.prepared(previous, flags)
		}
		_, flags := s.parse(args, 0, "--from=", "--run=", "--by=", "--json", "--follower")
		return s.rollback(flags)
	}
	s.fleet.t.Errorf("%s: unknown command %q", s.host.name, args)
	return &ExitError{Code: 2, Stderr: "unknown command"}
}

// word waits for a line, the end of stdin, or the end of the signs of life; "" = give up.
func (s *fakeSession) word(heartbeat time.Duration, more <-chan time.Time) string {
	silent := time.NewTimer(heartbeat)
	defer silent.Stop()
	for {
		select {
		case line := <-s.in:
			if line == "wait" {
				silent.Reset(heartbeat)
				if s.answers {
					s.print(map[string]any{"waiting": true})
				}
				continue
			}
			return line
		case <-s.eof:
			return ""
		case <-silent.C:
			return ""
		case <-more:
			return "timer"
		}
	}
}

func (s *fakeSession) duration(flags fakeFlags, name string) time.Duration {
	d, err := time.ParseDuration(flags[name])
	if err != nil {
		s.fleet.t.Errorf("%s: %s: %v", s.host.name, name, err)
	}
	return d
}
