package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// order is what Start tells the shim.
type order struct {
	Path    string
	Args    []string
	Env     []string
	Secrets Secrets
	Dir     string
	User    *Credential
	Files   int
	NoFile  uint64
	Cgroup  string
}

// sealed is an order as it travels: as bytes, because JSON alters a string that is not UTF-8.
type sealed struct {
	Path    []byte      `json:"path"`
	Args    [][]byte    `json:"args"`
	Env     [][]byte    `json:"env"`
	Secrets Secrets     `json:"secrets,omitempty"`
	Dir     []byte      `json:"dir"`
	User    *Credential `json:"user,omitempty"`
	Files   int         `json:"files"`
	NoFile  uint64      `json:"nofile,omitempty"`
	Cgroup  []byte      `json:"cgroup,omitempty"`
}

// seal puts the order into a file in memory, which the shim inherits: not into its arguments, which
// everybody can read, nor into its environment, where a variable has at most 128 KB.
func (o *order) seal() (fd int, err error) {
	data, err := json.Marshal(sealed{
		Path: []byte(o.Path), Args: toBytes(o.Args), Env: toBytes(o.Env), Secrets: o.Secrets, Dir: []byte(o.Dir),
		User: o.User, Files: o.Files, NoFile: o.NoFile, Cgroup: []byte(o.Cgroup),
	})
	if err != nil {
		return -1, err
	}
	fd, err = unix.MemfdCreate("superctl-order", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	for at := 0; at < len(data); {
		n, err := unix.Pwrite(fd, data[at:], int64(at)) // the offset, which the shim shares, stays at the beginning
		if err != nil && !errors.Is(err, unix.EINTR) {
			return -1, errors.Join(fmt.Errorf("write to a memfd: %w", err), unix.Close(fd))
		}
		at += max(n, 0)
	}
	return fd, nil
}

// unseal reads the order that Start has written to a descriptor.
func unseal(fd int) (*order, error) {
	f := os.NewFile(uintptr(fd), "order")
	if f == nil {
		return nil, os.ErrInvalid
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	var s sealed
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	return &order{
		Path: string(s.Path), Args: toStrings(s.Args), Env: toStrings(s.Env), Secrets: s.Secrets, Dir: string(s.Dir),
		User: s.User, Files: s.Files, NoFile: s.NoFile, Cgroup: string(s.Cgroup),
	}, nil
}

func toBytes(list []string) [][]byte {
	out := make([][]byte, len(list))
	for i, s := range list {
		out[i] = []byte(s)
	}
	return out
}

func toStrings(list [][]byte) []string {
	out := make([]string, len(list))
	for i, b := range list {
		out[i] = string(b)
	}
	return out
}

// stringLimit is MAX_ARG_STRLEN of execve(2): a variable, or an argument, with the NUL at its end.
const stringLimit = 128 << 10

// tooBig explains E2BIG: which variables, or which argument, the kernel does not take. It names
// them, and has nothing of their values.
func tooBig(args, env []string) error {
	total := 0
	for i, a := range args {
		total += len(a) + 1
		if len(a) >= stringLimit {
			return fmt.Errorf("argument %d has %d bytes: the kernel takes less than %d", i, len(a), stringLimit)
		}
	}
	for _, kv := range env {
		total += len(kv) + 1
		if len(kv) >= stringLimit {
			return fmt.Errorf(
				"environment variable %s has %d bytes: the kernel takes less than %d, with the name and the = sign",
				nameOf(kv), len(kv), stringLimit,
			)
		}
	}
	largest := slices.SortedFunc(slices.Values(env), func(a, b string) int { return len(b) - len(a) })
	var names []string
	for _, kv := range largest[:min(3, len(largest))] {
		names = append(names, fmt.Sprintf("%s (%d bytes)", nameOf(kv), len(kv)))
	}
	return fmt.Errorf("the arguments and the environment have %d bytes together, more than the kernel takes at this limit of the stack (LimitSTACK= of the unit); "+
		"the largest variables are %s", total, strings.Join(names, ", "))
}

func nameOf(kv string) string {
	name, _, _ := strings.Cut(kv, "=")
	return name
}
