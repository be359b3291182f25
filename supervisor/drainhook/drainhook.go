// Package drainhook is what superctl adds to Python web servers so that a worker which is about to
// be replaced gets rid of its persistent connections without closing one under a client: a module
// that Python loads when it starts, and for each worker a flag, one byte in a file, by which the
// module knows that the worker gets no new connections any more. The same module counts what the
// users of the worker get, in files that superctl reads, where it is asked to (superctl_requests.py).
// What it does for each request is in C as well (native/hook.c), for interpreters that can load that.
//
// A flag is in the file system, and not a pipe or a signal, because it must reach all processes,
// threads and interpreters of a worker that there are or will be, cost little where it is looked
// at, and be there for the next daemon: each daemon that knows its path can set it. The module asks by name
// whether a second file is there, one system call for an answer. It reads no mapping, since a
// mapping of a file that is truncated ends the process by SIGBUS when it is read, and holds
// no descriptor, which the app may close or the file's removal make stale. The one mapping that it
// makes is never read: it tells this side that a server has the module (Held).
package drainhook

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

//go:embed sitecustomize.py superctl_requests.py superctl_uwsgi.py
var modules embed.FS

// Variable has the path of the flag, for the module and for any program that looks at it by itself:
// its first byte is 1 while the worker gets no new connections any more
// (docs/long-lived-connections.md).
const Variable = "SUPERCTL_DRAIN"

// Field is what a program that does not keep its flag open may say on its notify socket: that it
// looks at the flag all the same.
const Field = "X_SUPERCTL_DRAIN_HOOK"

// Install makes dir, for workers of any user to read, and writes the module into it. What others
// could write to is refused: workers run what is in it.
func Install(dir string) error {
	if strings.ContainsRune(dir, os.PathListSeparator) {
		return fmt.Errorf(
			"drain hook: %s cannot be in PYTHONPATH, whose parts are separated by %q", dir, os.PathListSeparator,
		)
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { // workers of other users read it
		return fmt.Errorf("drain hook: %w", err)
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("drain hook: %w", err)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); !ok || !st.IsDir() || int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("drain hook: %s is not a directory of ours: move it away", dir)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask and an earlier owner of the name made of it
		return fmt.Errorf("drain hook: %w", err)
	}
	if err := writeModule(dir, "superctl_native.abi3.so", native); err != nil {
		return err
	}
	// the last one loads the others
	for _, name := range []string{"superctl_requests.py", "superctl_uwsgi.py", "sitecustomize.py"} {
		text, err := modules.ReadFile(name)
		if err == nil {
			err = writeModule(dir, name, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// writeModule replaces a file that workers load, and never writes into one that they have loaded.
func writeModule(dir, name string, text []byte) error {
	err := renameio.WriteFile(filepath.Join(dir, name), text, 0o644, renameio.WithTempDir(dir), renameio.IgnoreUmask())
	if err != nil {
		return fmt.Errorf("drain hook: %w", err)
	}
	return nil
}

// raised is added to the path of a flag for the name of the file that is there while the worker
// drains.
const raised = ".raised"

// Set sets a flag, which it makes when it is not there or is no file any more. A file that is there
// is written in place and never cut short: programs have it open, and modules of earlier daemons
// have mapped it.
func Set(path string, drains bool) error {
	err := write(path, drains)
	if err != nil { // something else has its name
		err = errors.Join(os.RemoveAll(path), write(path, drains))
	}
	if err != nil {
		return err
	}
	if !drains {
		return os.RemoveAll(path + raised)
	}
	if _, err := os.Lstat(path + raised); err == nil {
		return nil
	}
	// its name is all
	f, err := os.OpenFile(path+raised, os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// Flag returns the path of the flag that a file in the directory of the hook belongs to.
func Flag(file string) string { return strings.TrimSuffix(file, raised) }

// Remove removes a flag.
func Remove(path string) error {
	return errors.Join(os.RemoveAll(path), os.RemoveAll(path+raised))
}

// Held reports whether a process has the flag open or mapped: the module maps it when it has
// patched a server, and a program of another kind opens it once. The kernel tells it, so that no
// message of the worker's can be lost: it grants a write lease on a file only while no other open
// file description of it exists (fcntl(2), F_SETLEASE). The lease is given back at once.
func Held(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	held := errors.Is(err, unix.EAGAIN)
	if held {
		err = nil
	}
	return held, errors.Join(err, f.Close()) // which ends the lease
}

func write(path string, drains bool) error {
	// workers of another user read it
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	b := []byte{0}
	if drains {
		b[0] = 1
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(f.Chmod(0o644), err, f.Close())
}

// Environment is env with the module and the flag at path.
func Environment(env []string, dir, path string) []string {
	before := ""
	out := make([]string, 0, len(env)+2)
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PYTHONPATH="); ok {
			before = v
			continue
		}
		out = append(out, kv)
	}
	if before != "" { // an empty part would mean the working directory
		dir += string(os.PathListSeparator) + before
	}
	return append(out, "PYTHONPATH="+dir, Variable+"="+path)
}
