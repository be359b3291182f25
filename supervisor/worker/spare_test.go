package worker

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWithoutADescriptorLeftNothingOfAWorkerIsLeftEither(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pids")
	script := `setsid sh -c 'echo $$ >> "$0"; exec sleep 1000' "$0" & echo $$ >> "$0"; wait`
	w, err := Start(t.Context(), Spec{
		Command: []string{"/bin/sh", "-c", script, path}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/", Mark: "spare",
	})
	if err != nil {
		t.Fatal(err)
	}
	pids := started(t, path, 2)
	if err := ReserveDescriptors(); err != nil {
		t.Fatal(err)
	}
	defer closeSpare()
	restore := exhaust(t)
	err = w.KillAll()
	restore()
	if err != nil {
		t.Error(err)
	}
	<-w.Done()
	for _, pid := range pids {
		if !gone(pid) {
			t.Errorf("process %d is left over", pid)
		}
	}
}

// exhaust opens files until no more can be opened.
func exhaust(t *testing.T) (restore func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 200
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	var fds []int
	for {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			break
		}
		fds = append(fds, fd)
	}
	return func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}
}
