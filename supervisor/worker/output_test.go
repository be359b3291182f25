package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAWorkerThatWritesWhileNoDaemonReadsLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	out, err := OpenOutput(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	if err := out.file.Close(); err != nil { // as a crash does, which leaves the path
		t.Fatal(err)
	}
	if _, err := fifo.WriteString("one\ntwo\n"); err != nil {
		t.Fatal(err)
	}
	next, err := OpenOutput(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	var lines []string
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	next.OnLine(func(l Line) { lines = append(lines, string(l.Text)) })
	if err := next.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(lines, []string{"one", "two"}) {
		t.Errorf("%q", lines)
	}
}

// A worker that ends at once may have done so before anybody reads its pipe.
func TestTheLastWordsAreReadBeforeAnybodyElseReads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	out, err := OpenOutput(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	fifo, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fifo.Close()
	if _, err := fifo.WriteString("cannot go on\nline 2"); err != nil {
		t.Fatal(err)
	}
	if err := out.Drain(); err != nil { // nobody is there to hand them to
		t.Fatal(err)
	}
	var lines []string
	out.OnLine(func(l Line) { lines = append(lines, string(l.Text)) })
	if err := out.Drain(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(lines, []string{"cannot go on", "line 2"}) {
		t.Errorf("%q", lines)
	}
}

// An upgrade tells by it that a worker has just ended.
func TestADescriptorThatIsClosedSaysSo(t *testing.T) {
	out, err := OpenOutput(filepath.Join(t.TempDir(), "out"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := out.Descriptor(func(int) error { return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v, want %v", err, os.ErrClosed)
	}
}

func TestALineOfAnyLengthAndEncodingArrives(t *testing.T) {
	_, lines := runScript(
		t, Spec{Env: []string{"PATH=/bin:/usr/bin"}},
		`printf 'a\377b\r\n'; head -c 200000 /dev/zero | tr '\0' x; echo; printf end`,
	)
	if lines[0] != "a\xffb" || lines[len(lines)-1] != "end" || len(strings.Join(lines[1:len(lines)-1], "")) != 200000 {
		t.Errorf("%d lines, the first %q", len(lines), lines[0])
	}
}
