// Package notice is what a takeover tells the app's daemon: which listeners belong to the server
// that the app replaces. The command writes it as root where only root can; the daemon reads it
// each time that it finds a listener which it does not know.
package notice

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
)

// Dir has the notices. It is lost at a reboot, and so are the servers that they are about.
const Dir = "/run/superctl-takeover"

// Notice is about one app.
type Notice struct {
	Server  string   `json:"server"`  // in a few words, for messages
	PID     int      `json:"pid"`     // of its master
	Start   uint64   `json:"start"`   // of its master, in clock ticks since boot: the PID may be reused
	Cookies []uint64 `json:"cookies"` // of its listeners: no other socket ever has one of them
	// Elsewhere says that the app has an address of its own: no listener shows that the server runs.
	Elsewhere bool `json:"elsewhere,omitempty"`
}

// Path returns the path of an app's notice.
func Path(app string) string { return filepath.Join(Dir, app+".json") }

// Read returns the notice of an app; ok is false if there is none.
func Read(app string) (n Notice, ok bool, err error) {
	data, err := os.ReadFile(Path(app))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return n, false, nil
	case err != nil:
		return n, false, err
	}
	if err := json.Unmarshal(data, &n); err != nil {
		return n, false, fmt.Errorf("%s: %w: remove it", Path(app), err)
	}
	return n, true, nil
}

// Has reports whether the notice of an app names the listener with that cookie. A notice that cannot
// be read names none.
func Has(app string, cookie uint64) bool {
	n, ok, err := Read(app)
	return ok && err == nil && slices.Contains(n.Cookies, cookie)
}

// Write writes the notice of an app, for every user to read.
func Write(app string, n Notice) error {
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(Path(app), data, 0o644, renameio.WithStaticPermissions(0o644))
}

// Remove removes the notice of an app, if there is one.
func Remove(app string) error {
	if err := os.Remove(Path(app)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
