package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pipeWriter is a worker's end of its output pipe.
func pipeWriter(t *testing.T, path string) *os.File {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	w := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func TestAWorkerWithoutADaemonIsNotBlockedByItsOutput(t *testing.T) {
	for size, line := range map[string]string{"short lines": "x", "long lines": strings.Repeat("y", 5000)} {
		t.Run(size, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "g1.web.0.1")
			out, err := OpenOutput(path, nil)
			must(t, err)
			w := pipeWriter(t, path)
			reader, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			must(t, err)
			defer unix.Close(reader)
			k, err := StartKeeper(dir, "test")
			must(t, err)
			defer k.w.KillAll()
			must(t, out.file.Close())
			must(t, k.Release()) // as the end of the daemon does
			lines := 8 * pipeSize / (len(line) + 1)
			lines = min(lines, 100_000)
			done := make(chan error, 1)
			go func() {
				for i := range lines {
					if _, err := fmt.Fprintf(w, "%d %s\n", i, line); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			select {
			case err := <-done:
				must(t, err)
			case <-time.After(time.Minute):
				t.Fatal("the worker waits for somebody to read")
			}
			must(t, w.Close())
			<-k.w.Done()
			got := readPipe(t, reader)
			last := fmt.Sprintf("%d %s\n", lines-1, line)
			if !strings.Contains(got, last) ||
				!strings.Contains(got, "lines were dropped while no daemon read them\n") {
				t.Errorf("the next daemon reads %d bytes, which end with %q", len(got), got[max(0, len(got)-100):])
			}
		})
	}
}

// readPipe returns what is in a pipe.
func readPipe(t *testing.T, fd int) string {
	t.Helper()
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		if n <= 0 || err != nil {
			return string(all)
		}
		all = append(all, buf[:n]...)
	}
}

func TestAKeeperLeavesThePipesToTheDaemon(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "g1.web.0.1")
	out, err := OpenOutput(path, nil)
	must(t, err)
	defer out.Close()
	k, err := StartKeeper(dir, "test")
	must(t, err)
	text := strings.Repeat("z", pipeSize-4096)
	_, err = pipeWriter(t, path).WriteString(text)
	must(t, err)
	must(t, k.End())
	held, err := unix.IoctlGetInt(int(pipeWriter(t, path).Fd()), unix.TIOCINQ)
	must(t, err)
	if held != len(text) {
		t.Errorf("%d of %d bytes are left", held, len(text))
	}
}

func TestAKeeperEndsWithTheLastWorker(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "g1.web.0.1")
	out, err := OpenOutput(path, nil)
	must(t, err)
	w := pipeWriter(t, path)
	k, err := StartKeeper(dir, "test")
	must(t, err)
	must(t, out.file.Close())
	must(t, k.Release())
	_, err = w.WriteString("last words\n")
	must(t, err)
	must(t, w.Close())
	select {
	case <-k.w.Done():
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
}
