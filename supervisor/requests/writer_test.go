package requests

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"superctl/proc"
)

// The test binary is also the program that counts: DIRECTORY ROWS. It writes a byte to stdout after
// each request that it has counted, and counts until it is killed or stdin ends.
const asWriter = "SUPERCTL_TEST_WRITER"

func TestMain(m *testing.M) {
	if rows, _ := strconv.Atoi(os.Getenv(asWriter)); rows > 0 {
		if err := count(os.Getenv(Variable), rows); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// counter is a program's own page, as docs/requests.md shows it.
type counter struct{ page []byte }

func newCounter(dir string, rows int) (*counter, error) {
	self, err := proc.ReadStat(os.Getpid())
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, fmt.Sprintf("%d-%d", self.PID, time.Now().UnixNano()))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := rowSize * (1 + rows)
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	page, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	c := &counter{page}
	c.add(0, headPID, uint64(self.PID))
	c.add(0, headStart, self.Start)
	c.add(0, headRows, uint64(rows))
	c.add(0, headMagic, magic)
	return c, nil
}

func (c *counter) add(row, cell int, n uint64) {
	atomic.AddUint64((*uint64)(unsafe.Pointer(&c.page[row*rowSize+cell*cellSize])), n)
}

func count(dir string, rows int) error {
	c, err := newCounter(dir, rows)
	if err != nil {
		return err
	}
	var writers sync.WaitGroup
	var stop atomic.Bool
	for row := 1; row <= rows; row++ {
		writers.Go(func() {
			for !stop.Load() {
				c.add(row, rowStarted, 1)
				c.add(row, durations+cell(time.Millisecond), 1)
				c.add(row, rowAnswered+1, 1)
				_, _ = os.Stdout.Write([]byte{'.'})
			}
		})
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	stop.Store(true)
	writers.Wait()
	return err
}

// writer is such a program that runs.
type writer struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout *bufio.Reader
}

func startWriter(t *testing.T, dir string, rows int) *writer {
	t.Helper()
	w := &writer{cmd: exec.CommandContext(t.Context(), "/proc/self/exe")}
	w.cmd.Env = append(os.Environ(), Variable+"="+dir, asWriter+"="+strconv.Itoa(rows))
	w.cmd.Stderr = os.Stderr
	in, err := w.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.stdin, w.stdout = in, bufio.NewReader(out)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill(); _ = w.cmd.Wait() })
	return w
}

// take waits for n requests.
func (w *writer) take(t *testing.T, n int) {
	t.Helper()
	if _, err := io.CopyN(io.Discard, w.stdout, int64(n)); err != nil {
		t.Fatal(err)
	}
}

// rest returns how many more it says that it has counted, once it has ended.
func (w *writer) rest(t *testing.T) uint64 {
	t.Helper()
	n, err := io.Copy(io.Discard, w.stdout)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.cmd.Wait()
	return uint64(n)
}
