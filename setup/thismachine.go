package setup

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"superctl/proc"
)

// ThisMachine returns the machine that this process runs on.
func ThisMachine() (*Machine, error) {
	listeners, err := proc.Listeners(os.Getpid())
	if err != nil {
		return nil, err
	}
	ports := map[int]bool{}
	for _, l := range listeners {
		if l.Addr.IsValid() {
			ports[int(l.Addr.Port())] = true
		}
	}
	return &Machine{
		CPUs:      runtime.NumCPU(),
		HasUser:   func(name string) bool { _, err := user.Lookup(name); return err == nil },
		InGroup:   inGroup,
		Owner:     owner,
		Real:      realPath,
		Read:      read,
		Program:   program,
		PortTaken: func(port int) bool { return ports[port] },
		Configs:   configs,
	}, nil
}

func inGroup(name, group string) bool {
	u, err := user.Lookup(name)
	if err != nil {
		return false
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return true // a group that does not exist has no members to add
	}
	ids, err := u.GroupIds()
	return err == nil && slices.Contains(ids, g.Gid)
}

func owner(path string) string {
	st, err := os.Lstat(path)
	if err != nil {
		return ""
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	id := strconv.FormatUint(uint64(sys.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}

func realPath(path string) string {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	return path
}

func read(path string) (text string, found bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return "", true, nil // a file of secrets, and this is not root
	}
	return string(data), err == nil, err
}

// program looks where root's programs are, which may not be in the PATH of other users.
func program(name string) bool {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin", "/snap/bin"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() {
			return true
		}
	}
	return false
}

func configs() (texts []string) {
	files, _ := filepath.Glob(filepath.Join(configDir, "*.toml")) // the pattern is valid
	for _, f := range files {
		if text, found, err := read(f); found && err == nil {
			texts = append(texts, text)
		}
	}
	return texts
}

// ProjectDir returns the directory of the project to look at: dir itself or, if that has a directory
// releases, the release that the link current leads to, else the one with the last name.
func ProjectDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if st, err := os.Stat(dir); err != nil {
		return "", err
	} else if !st.IsDir() {
		return "", &fs.PathError{Op: "init", Path: dir, Err: syscall.ENOTDIR}
	}
	releases := filepath.Join(dir, "releases")
	if filepath.Base(dir) == "releases" {
		releases = dir
	}
	to, err := filepath.EvalSymlinks(filepath.Join(filepath.Dir(releases), "current"))
	if err == nil && filepath.Dir(to) == realPath(releases) { // the app's user may have made it lead anywhere
		return to, nil
	}
	entries, err := os.ReadDir(releases)
	if err != nil {
		return dir, nil //  it has no releases: it is the project
	}
	for _, e := range slices.Backward(entries) {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") { // superctl's own files are in .superctl
			return filepath.Join(releases, e.Name()), nil
		}
	}
	if releases != dir && hasProject(dir) {
		return dir, nil
	}
	return "", errors.New(releases + " is empty: make a release there, or name the directory of the project")
}

// hasProject reports whether a directory with an empty releases/ is a checkout of the project itself.
func hasProject(dir string) bool {
	for _, name := range []string{"manage.py", "pyproject.toml", "requirements.txt", "uv.lock", "setup.py", ".git"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}
