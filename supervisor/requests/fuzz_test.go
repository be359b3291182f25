package requests

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func FuzzPage(f *testing.F) {
	p := newPage(7, 8, 2)
	p.counted(1, time.Millisecond, 1, 0, 10)
	f.Add([]byte(p))
	f.Add([]byte(p[:rowSize]))
	f.Fuzz(func(t *testing.T, data []byte) {
		fd, err := unix.MemfdCreate("page", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), "page")
		defer file.Close()
		if _, err := file.Write(data); err != nil {
			t.Fatal(err)
		}
		p, err := readPage(fd, int64(len(data)))
		if err != nil {
			if !errors.Is(err, errNoPage) {
				t.Error(err)
			}
			return
		}
		if pid, start, err := readHead(fd); err != nil || pid != p.pid || start != p.start {
			t.Errorf("process %d of %d, or %d of %d: %v", pid, start, p.pid, p.start, err)
		}
		for _, q := range []float64{0, 0.5, 0.99, 1} {
			if d := p.counts.Durations.Quantile(q); d < 0 || d > 20*time.Minute {
				t.Errorf("quantile %g is %s", q, d)
			}
		}
	})
}
