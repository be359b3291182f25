package worker

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// sharing is a master with 64 MiB that it shares with two forked children, and a child that has 32
// MiB alone.
const sharing = `
import os, time
kept = b"x" * (64 << 20)
read, write = os.pipe()
for n in range(2):
    if os.fork() == 0:
        own = b"y" * (n * (32 << 20))
        os.write(write, b".")
        time.sleep(1000)
for _ in range(2):
    os.read(read, 1)
print("ready", flush=True)
time.sleep(1000)
`

func TestMemoryThatProcessesOfAWorkerShareCountsOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	out, err := OpenOutput(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Start(t.Context(), Spec{
		Command: []string{"python3", "-c", sharing}, Env: []string{"PATH=/bin:/usr/bin"}, Dir: "/", Output: path, Mark: "shared",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(w.KillAll(), out.Close()); err != nil {
			t.Error(err)
		}
		<-w.Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out.OnLine(func(l Line) {
		if strings.Contains(string(l.Text), "ready") {
			cancel()
		}
	})
	if err := out.Run(ctx); err != nil {
		t.Fatal(err)
	}
	list := []Measured{w}
	memory, resident := Memory(list)[0]>>20, Measure(list)[0].Memory>>20
	if memory < 96 || memory > 96+64 || resident < 3*64+32 {
		t.Errorf("%d MiB, and the sum of the resident sizes is %d MiB", memory, resident)
	}
}
