package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWhatIsNotLoadedInTimeNeverRuns(t *testing.T) {
	// A control group whose file is a FIFO keeps the starter from its command, as a file system that does not
	// answer would.
	group := t.TempDir()
	door := filepath.Join(group, "cgroup.procs")
	if err := unix.Mkfifo(door, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]func(ctx context.Context, mark, ran string) error{
		"a worker": func(ctx context.Context, mark, ran string) error {
			_, err := Start(ctx, Spec{Command: []string{"/bin/touch", ran}, Dir: "/", Mark: mark, Cgroup: group})
			return err
		},
		"a hook": func(ctx context.Context, mark, ran string) error {
			return Run(ctx, Command{Args: []string{"/bin/touch", ran}, Dir: "/", Mark: mark, Cgroup: group}, func(string) {})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mark, ran := "late-"+filepath.Base(filepath.Dir(dir)), filepath.Join(dir, "ran")
			late := errors.New("it was not loaded in time")
			ctx, cancel := context.WithCancelCause(t.Context())
			started := make(chan error, 1)
			go func() { started <- start(ctx, mark, ran) }()
			for deadline := time.Now().Add(time.Minute); countMarked(t, mark) == 0; {
				if time.Now().After(deadline) {
					t.Fatal("the starter did not begin")
				}
			}
			cancel(late)
			if err := <-started; !errors.Is(err, late) {
				t.Errorf("%v, want %v", err, late)
			}
			if n := countMarked(t, mark); n != 0 {
				t.Errorf("%d processes are left", n)
			}
			reader, err := unix.Open(door, unix.O_RDONLY|unix.O_NONBLOCK, 0) // now it would go on
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(reader)
			if _, err := os.Stat(ran); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the command ran: %v", err)
			}
		})
	}
}

// countMarked returns how many processes that run carry a mark.
func countMarked(t *testing.T, mark string) (n int) {
	t.Helper()
	seen, err := lookAround()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range seen.all {
		if strings.HasPrefix(seen.tags[p.PID], mark+"-") && !p.Ended() {
			n++
		}
	}
	return n
}
