package daemon

import (
	"errors"
	"maps"
	"os"
	"testing"

	"superctl/supervisor"
)

func TestAWorkerThatEndsDuringTheHandOverIsLeftOut(t *testing.T) {
	failed := errors.New("the new daemon does not start")
	open := func(fd int) func(func(int) error) error {
		return func(f func(int) error) error { return f(fd) }
	}
	all := []supervisor.Descriptor{
		{Name: "listener", Use: open(3)},
		{Name: "ended", Use: func(func(int) error) error { return &os.PathError{Op: "use", Path: "pidfd", Err: os.ErrClosed} }},
		{Name: "worker", Use: open(4)},
	}
	for name, result := range map[string]error{"done": nil, "failed": failed, "failed by a closed file": os.ErrClosed} {
		t.Run(name, func(t *testing.T) {
			fds, times := make(map[string]int), 0
			err := hold(all, fds, func() error { times++; return result })
			if !errors.Is(err, result) || times != 1 || !maps.Equal(fds, map[string]int{"listener": 3, "worker": 4}) {
				t.Errorf("%v after %d times with %v", err, times, fds)
			}
		})
	}
}
