package requests

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// pageOf is the bytes of a page.
type pageOf []byte

func newPage(pid int, start uint64, rows int) pageOf {
	p := make(pageOf, rowSize*(1+rows))
	p.set(0, headMagic, magic)
	p.set(0, headPID, uint64(pid))
	p.set(0, headStart, start)
	p.set(0, headRows, uint64(rows))
	return p
}

func (p pageOf) set(row, cell int, n uint64) {
	binary.LittleEndian.PutUint64(p[row*rowSize+cell*cellSize:], n)
}

// counted sets a row that has the given numbers of answers, by class, each within d.
func (p pageOf) counted(row int, d time.Duration, open uint64, classes ...uint64) {
	started := open
	for i, n := range classes {
		p.set(row, rowAnswered+i, n)
		started += n
	}
	p.set(row, rowStarted, started)
	p.set(row, durations+cell(d), started-open)
}

// write writes the page, with holes for the rows that were not used.
func (p pageOf) write(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(p))); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(p); at += rowSize {
		part := p[at : at+rowSize]
		for _, b := range part {
			if b != 0 {
				if _, err := f.WriteAt(part, int64(at)); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
	}
}

// one makes a place with its directory and returns that.
func one(t *testing.T, ledger string, place string) string {
	t.Helper()
	dir, err := Make(filepath.Join(ledger, place), -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func everything(int, uint64) bool { return true }
func nothing(int, uint64) bool    { return false }

func TestAPageThatIsTruncatedWhileItIsReadDoesNotEndTheDaemon(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(one(t, root, "g1.web.0"), "1-1")
	p := newPage(7, 8, 3)
	p.counted(3, time.Millisecond, 0, 0, 5)
	p.write(t, path)
	truncated := false
	l := NewLedger(root, func(int, uint64) bool { // asked between the size and the mapping
		truncated = true
		if err := os.Truncate(path, 0); err != nil {
			t.Error(err)
		}
		return true
	})
	report, err := l.Read()
	if err != nil || !truncated {
		t.Fatalf("%v, asked: %v", err, truncated)
	}
	if r := report.Places["g1.web.0"]; r.Started != 0 || r.Skipped != 1 {
		t.Errorf("%+v", r)
	}
}

func TestARowIsReadUntilItIsTheSameTwice(t *testing.T) {
	for name, c := range map[string]struct {
		started []uint64 // as it is read, one time after the other; the last one for ever
		want    uint64
		reads   int
	}{
		"nothing changes":         {[]uint64{1}, 1, 2},
		"one request meanwhile":   {[]uint64{1, 2}, 2, 3},
		"a request at every look": {[]uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, 9, 9},
	} {
		t.Run(name, func(t *testing.T) {
			reads := 0
			got := unchanged(func() (h heads) {
				h[rowStarted] = c.started[min(reads, len(c.started)-1)]
				reads++
				return h
			})
			if got[rowStarted] != c.want || reads != c.reads {
				t.Errorf("%d after %d looks, want %d after %d", got[rowStarted], reads, c.want, c.reads)
			}
		})
	}
}
