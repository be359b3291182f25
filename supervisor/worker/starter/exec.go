package starter

import (
	"errors"
	"slices"
	"strconv"
	"syscall"
	"unsafe"
)

// Exec replaces this process by the program, with the environment, the directory and the user of
// the order. It returns only when it fails. The caller must be locked to its thread, because the
// user changes for this thread only: the kernel takes it from the thread that executes, and ends
// the others.
func (o *Order) Exec() error {
	if err := o.User.become(); err != nil {
		return err
	}
	secrets, err := o.Secrets.read() // as the worker's user, who may have put other files there
	if err != nil {
		return err
	}
	if err := syscall.Chdir(o.Dir); err != nil {
		return &stepError{"chdir " + o.Dir, err}
	}
	env := append(o.Env, secrets...)
	err = syscall.Exec(o.Path, o.Args, env) // to run what the config names is what it is for
	if err == syscall.E2BIG {               //nolint:errorlint // syscall.Exec returns an Errno and wraps nothing
		return &stepError{"exec " + o.Path, tooBig(o.Args, env)}
	}
	return explain(o.Path, err)
}

// become changes the user of this thread.
func (c *Credential) become() error {
	if c == nil {
		return nil
	}
	_, _, errno := syscall.RawSyscall(
		syscall.SYS_SETGROUPS, uintptr(len(c.Groups)), uintptr(unsafe.Pointer(unsafe.SliceData(c.Groups))), 0,
	)
	if errno != 0 {
		return failure("set groups", errno)
	}
	if _, _, errno = syscall.RawSyscall(syscall.SYS_SETGID, uintptr(c.GID), 0, 0); errno != 0 {
		return failure("set group "+strconv.FormatUint(uint64(c.GID), 10), errno)
	}
	_, _, errno = syscall.RawSyscall(syscall.SYS_SETUID, uintptr(c.UID), 0, 0)
	return failure("set user "+strconv.FormatUint(uint64(c.UID), 10), errno)
}

// explain says what is missing when an exec fails: ENOENT may mean the file or the interpreter in
// its first line.
func explain(path string, err error) error {
	if err == syscall.ENOENT { //nolint:errorlint // syscall.Exec returns an Errno and wraps nothing
		if name := interpreter(path); name != "" {
			return errors.New("exec " + path + ": its interpreter " + name + " is missing")
		}
	}
	return &stepError{"exec " + path, err}
}

// interpreter returns what follows #! in the first line of a file; "" = there is no such line.
func interpreter(path string) string {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	head, err := readAll(fd, 256)
	if err != nil || len(head) < 2 || head[0] != '#' || head[1] != '!' {
		return ""
	}
	line := head[2:]
	if end := slices.Index(line, '\n'); end >= 0 {
		line = line[:end]
	}
	for len(line) > 0 && blank(line[0]) {
		line = line[1:]
	}
	for len(line) > 0 && blank(line[len(line)-1]) {
		line = line[:len(line)-1]
	}
	return string(line)
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// stringLimit is MAX_ARG_STRLEN of execve(2): a variable, or an argument, with the NUL at its end.
const stringLimit = 128 << 10

// largestNamed is how many variables are named when all of them together are too large.
const largestNamed = 3

// tooBig explains E2BIG: which variables, or which argument, the kernel does not take. It names
// them, and has nothing of their values.
func tooBig(args, env []string) error {
	total := 0
	for i, a := range args {
		total += len(a) + 1
		if len(a) >= stringLimit {
			return errors.New("argument " + strconv.Itoa(i) + " has " + strconv.Itoa(len(a)) +
				" bytes: the kernel takes less than " + strconv.Itoa(stringLimit))
		}
	}
	for _, kv := range env {
		total += len(kv) + 1
		if len(kv) >= stringLimit {
			return errors.New("environment variable " + nameOf(kv) + " has " + strconv.Itoa(len(kv)) +
				" bytes: the kernel takes less than " + strconv.Itoa(stringLimit) + ", with the name and the = sign")
		}
	}
	text := "the arguments and the environment have " + strconv.Itoa(total) + " bytes together, " +
		"more than the kernel takes at this limit of the stack (LimitSTACK= of the unit); the largest variables are "
	largest := slices.SortedFunc(slices.Values(env), func(a, b string) int { return len(b) - len(a) })
	for i, kv := range largest[:min(len(largest), largestNamed)] {
		if i > 0 {
			text += ", "
		}
		text += nameOf(kv) + " (" + strconv.Itoa(len(kv)) + " bytes)"
	}
	return errors.New(text)
}

// nameOf returns the name of NAME=VALUE.
func nameOf(kv string) string {
	for i := range len(kv) {
		if kv[i] == '=' {
			return kv[:i]
		}
	}
	return kv
}
