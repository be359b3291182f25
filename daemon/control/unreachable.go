package control

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// UnreachableError is the error when no daemon answers. Its text has the reason and the next step.
type UnreachableError struct {
	Path string
	Err  error
}

// Error returns the reason with the next step.
func (e *UnreachableError) Error() string {
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		return fmt.Sprintf("the daemon cannot be reached: the socket %s does not exist. "+
			"Is the daemon running? (systemctl status %s)", e.Path, unitOf(e.Path))
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("the daemon cannot be reached: permission denied for %s. Use sudo%s", e.Path, orGroup(e.Path))
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("the daemon cannot be reached: connection refused on %s. "+
			"Has the daemon died? (journalctl -u %s)", e.Path, unitOf(e.Path))
	case errors.Is(e.Err, syscall.ECONNRESET), errors.Is(e.Err, syscall.EPIPE), errors.Is(e.Err, io.EOF):
		return fmt.Sprintf("the daemon cannot be reached: it ended before it answered on %s. superctl status shows what runs "+
			"once the next daemon does (journalctl -u %s)", e.Path, unitOf(e.Path))
	}
	return fmt.Sprintf("the daemon cannot be reached at %s: %v", e.Path, e.Err)
}

// Unwrap returns the reason.
func (e *UnreachableError) Unwrap() error { return e.Err }

// OtherAppError is the reason if the daemon of another app answers.
type OtherAppError struct{ App, Answers string }

// Error returns text with the next step.
func (e *OtherAppError) Error() string {
	return fmt.Sprintf("the daemon of the app %q answers there, and not that of %q: write another path as `control` "+
		"into the config of one of them", e.Answers, e.App)
}

// packaged is the directory of the control sockets of the packaged unit, superctl@.service.
const packaged = "/run/superctl"

// unitOf returns the unit of the daemon with that control socket, or a pattern for all units of
// superctl.
func unitOf(path string) string {
	app, isSocket := strings.CutSuffix(filepath.Base(path), ".sock")
	if isSocket && filepath.Dir(path) == packaged {
		return "superctl@" + app
	}
	return "'superctl@*'"
}

// orGroup returns text for the group that may use a control socket, if there is one besides root's.
func orGroup(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Gid == 0 || info.Mode().Perm()&0o020 == 0 {
		return ""
	}
	g, err := user.LookupGroupId(strconv.FormatUint(uint64(st.Gid), 10))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(", or become a member of group %s (usermod --append --groups %s USER)", g.Name, g.Name)
}
