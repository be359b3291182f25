package proc

import (
	"bytes"
	"iter"

	"golang.org/x/sys/unix"
)

// Env is the environment that a process was started with: NAME=VALUE, each followed by a zero byte.
// The process may have overwritten it.
type Env []byte

// All iterates over the variables; an entry without = is a name without a value.
func (e Env) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for entry := range bytes.SplitSeq(e, []byte{0}) {
			if len(entry) == 0 {
				continue
			}
			name, value, _ := bytes.Cut(entry, []byte{'='})
			if !yield(string(name), string(value)) {
				return
			}
		}
	}
}

// Lookup returns the value of a variable, and whether it is set.
func (e Env) Lookup(name string) (value string, ok bool) {
	prefix := []byte(name + "=")
	for entry := range bytes.SplitSeq(e, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, prefix); ok {
			return string(value), true
		}
	}
	return "", false
}

// execTime bounds the wait for a process that is just executing a program, in milliseconds.
const execTime = 1000

// Environ returns the environment of a process. While a process executes a program, between its new
// memory (exec_mmap) and what that will hold (create_elf_tables; fs/exec.c, fs/binfmt_elf.c),
// neither its environment nor its arguments can be read: Environ waits for them, since the kernel
// has no event for it, for up to a second.
func Environ(pid int) (Env, error) {
	for range execTime {
		env, err := read(pid, "environ")
		if err != nil || len(env) > 0 {
			return env, err
		}
		if !executing(pid) {
			return read(pid, "environ") // it may have been, until just now
		}
		_, _ = unix.Poll(nil, 1)
	}
	return nil, nil
}

// executing reports whether a process has a program, which a zombie and a thread of the kernel have
// not, and no arguments yet. A process that runs has at least the name of its program.
func executing(pid int) bool {
	if _, err := Exe(pid); err != nil {
		return false
	}
	args, err := read(pid, "cmdline")
	return err == nil && len(args) == 0
}
