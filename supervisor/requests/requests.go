// Package requests counts what the users of an app get: how many requests its workers have
// answered, with which class of status, and how long that took.
//
// Each process of a worker counts in a file of its own, a page, which it maps into its memory
// (docs/requests.md has the format). So nothing that a process has counted is lost when it is
// killed, and no process waits for another one or for superctl. This package sums up pages. It
// guarantees that no request is counted twice and that none is forgotten, also when the daemon dies
// while it folds the pages of ended processes into one file.
//
// The app's user owns the pages, and the daemon may be root. What is read here is therefore
// untrusted: a page can only falsify the counts of its own app. It cannot block or end the daemon,
// nor make it follow a link.
//
// Nothing here runs by itself. The caller decides when to read, and never in the supervisor's owner.
package requests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Variable has the path of the directory in which a worker makes its pages.
const Variable = "SUPERCTL_REQUESTS"

// Probes has the paths of the health checks of the worker, separated by newlines. A request for one
// of them by superctl's prober (health.UserAgent) is not counted.
const Probes = "SUPERCTL_PROBES"

// Names in the directory of the drain flags, for a place "g12.web.0".
const (
	pages = ".requests" // directory of its pages, which the worker's user can write
	past  = ".past"     // counts of its ended processes, which only the daemon can write
)

// Directory returns the directory for the pages of the worker that has the given drain flag.
func Directory(flag string) string { return flag + pages }

// Make makes the directory for the pages of the worker that has the given drain flag, and returns
// its path. It is the given user's own; -1 = the user of this process. A directory that an earlier
// worker in the same place has used stays as it is.
func Make(flag string, uid, gid int) (string, error) {
	dir := Directory(flag)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || !st.IsDir() {
		return "", fmt.Errorf("%s is not a directory: move it away", dir)
	}
	if uid >= 0 && (int(sys.Uid) != uid || int(sys.Gid) != gid) {
		if err := os.Lchown(dir, uid, gid); err != nil { // its parent is the daemon's: nothing else can have its name
			return "", err
		}
	}
	return dir, nil
}

// Place returns the name of the place that has the given drain flag.
func Place(flag string) string { return filepath.Base(flag) }

// Owns reports whether a file in the directory of the drain flags belongs to this package.
func Owns(name string) bool { return strings.HasSuffix(name, pages) || strings.HasSuffix(name, past) }
