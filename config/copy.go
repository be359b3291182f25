package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Copy has the settings of an app's copy that differ from the config.
type Copy struct {
	App, Releases, State, Control string

	// the address of each listener; other listeners are left out, with the processes that need them
	Listen       map[string]string
	User         string        // of its workers; "" = as configured
	StartTimeout time.Duration // of its processes; 0 = as configured
}

// notCopied returns the keys that a copy must not have: those that would change the `current` link
// or a file of the app, or notify others, and those for making releases.
func notCopied() []string {
	return []string{"current", "log", "standby", "hooks", "cron", "django", "assets", "build", "install", "trust", "notify", "fleet"}
}

// WriteCopy returns the config at path for a copy of its app, with only the listeners and their
// processes. It starts from the text of the file, so that it keeps every key that it need not know.
// The copy has no probation: old workers are stopped while they still work, which shows what
// happens to their requests.
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
			l["gate"] = "shared" // as for sockets of systemd, so that the copy loses the same requests as the app
		}
		l["address"] = address
		for _, key := range []string{"mode", "owner", "group"} { // for a path that other programs connect to
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
		if g, ok := p["guard"].(map[string]any); ok {
			delete(g, "control") // it is for the probation
		}
		if own.StartTimeout > 0 {
			p["start_timeout"] = own.StartTimeout.String()
		}
	}
}

// table returns a value as a TOML table; nil is empty.
func table(v any) map[string]any {
	t, _ := v.(map[string]any)
	return t
}
