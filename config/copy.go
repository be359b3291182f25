package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Copy says what a copy of an app has of its own; all else is as the config has it.
type Copy struct {
	App, Releases, State, Control string

	Listen       map[string]string // the address of each listener; those that are not here are left out, with the processes that need them
	User         string            // of its workers; "" = the config's
	StartTimeout time.Duration     // of its processes; 0 = the config's
}

// notCopied is what is not for a copy: what would change the `current` link or a file that is the app's, or tell anybody outside, and what is
// for making releases.
func notCopied() []string {
	return []string{"current", "log", "standby", "hooks", "django", "build", "install", "trust", "notify"}
}

// WriteCopy is the config at path as a copy of its app needs it, with the listeners and their processes alone. It begins from the text
// of the file, so that it says what the file says of every key that it need not know. It has no probation: old workers are told to stop
// while they are still at work, which shows what becomes of that.
func WriteCopy(path string, own Copy) ([]byte, error) {
	_, data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	doc := make(map[string]any)
	if err := toml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, key := range notCopied() {
		delete(doc, key)
	}
	doc["app"], doc["releases"], doc["state"], doc["control"] = own.App, own.Releases, own.State, own.Control
	doc["probation"] = "0s"
	if own.User != "" {
		doc["user"] = own.User
	}
	copyListeners(doc, own.Listen)
	copyProcesses(doc, own)
	return toml.Marshal(doc)
}

func copyListeners(doc map[string]any, addresses map[string]string) {
	listeners := table(doc["listen"])
	for name, one := range listeners {
		address, ok := addresses[name]
		if !ok {
			delete(listeners, name)
			continue
		}
		l := table(one)
		if was, _ := l["address"].(string); strings.HasPrefix(was, "systemd:") {
			l["gate"] = "shared" // as sockets of systemd are, so that the copy loses what the app would
		}
		l["address"] = address
		for _, key := range []string{"mode", "owner", "group"} { // of a path that others connect to
			delete(l, key)
		}
	}
}

func copyProcesses(doc map[string]any, own Copy) {
	processes := table(doc["process"])
	for name, one := range processes {
		p := table(one)
		names, _ := p["listen"].([]any)
		missing := slices.ContainsFunc(names, func(n any) bool { _, ok := own.Listen[fmt.Sprint(n)]; return !ok })
		if len(names) == 0 || missing {
			delete(processes, name)
			continue
		}
		if own.StartTimeout > 0 {
			p["start_timeout"] = own.StartTimeout.String()
		}
	}
}

// table is a table of a TOML document; a nil one is empty.
func table(v any) map[string]any {
	t, _ := v.(map[string]any)
	return t
}
