package harness

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sharedRun returns a run without superctl's binary, which these tests do not need.
func sharedRun(t *testing.T) *Run {
	t.Helper()
	run := bareRun(t)
	t.Cleanup(func() {
		if err := run.Close(); err != nil {
			t.Error(err)
		}
	})
	repo, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	run.repo = repo
	if err := run.install(nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(run.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return run
}

// listenAs listens on the app's address.
func listenAs(t *testing.T, a *App) *os.File {
	t.Helper()
	network, address := "tcp", a.Address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", filepath.Clean(path)
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
