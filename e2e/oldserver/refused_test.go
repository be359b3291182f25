package oldserver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"superctl/takeover"
)

// Each of these loses requests when it ends, in a way that no signal avoids.
func TestAServerThatCannotEndWithoutLossIsRefused(t *testing.T) {
	const app = "--need-app --module bare.wsgi "
	for says, command := range map[string]string{
		"without --reuse-port first":    gunicorn + "--reuse-port bare.wsgi",
		"restart it with --http-socket": "uwsgi --master " + app + "--http {address}",
		"without a master process":      "uwsgi " + app + "--http-socket {address}",
	} {
		t.Run(says, func(t *testing.T) { wantRefused(t, serve(t, command, false), says) })
	}
	wantRefused(t, serve(t, uwsgi, false), "")
}

func TestAVassalIsRefused(t *testing.T) {
	dir, err := releases()
	if err != nil {
		t.Fatal(err)
	}
	vassals := t.TempDir()
	address := freeAddress(t)
	ini := "[uwsgi]\nmaster = true\nneed-app = true\nmodule = bare.wsgi\nchdir = " + filepath.Join(dir, "old") +
		"\nhttp-socket = " + address + "\n"
	if err := os.WriteFile(filepath.Join(vassals, "shop.ini"), []byte(ini), 0o644); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, serveOn(t, address, "uwsgi --emperor "+vassals, false), "is a vassal")
}

// wantRefused fails the test unless the takeover of the old server is refused for this reason, or
// not refused if there is none.
func wantRefused(t *testing.T, s *site, says string) {
	t.Helper()
	err := takeover.Check(s.found)
	var refused *takeover.RefusedError
	if says == "" && err == nil {
		return
	}
	if says == "" || !errors.As(err, &refused) || !strings.Contains(err.Error(), says) {
		t.Errorf("refused because %v, want %q", err, says)
	}
}
