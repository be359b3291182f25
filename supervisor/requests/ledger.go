package requests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Alive reports whether the process with that pid and start time runs; see Running.
type Alive func(pid int, start uint64) bool

// Ledger has the counts of all places of an app. It is for use by several goroutines, and by the
// daemons before and after an upgrade at the same time.
type Ledger struct {
	dir   string // of the drain flags
	alive Alive
	mu    sync.Mutex // one reader at a time; the lock file keeps other daemons out

	reached func(step string) // for tests, which end the daemon there
}

// NewLedger returns the ledger of the app whose drain flags are in dir.
func NewLedger(dir string, alive Alive) *Ledger {
	return &Ledger{dir: dir, alive: alive, reached: func(string) {}}
}

// Reading is what the workers in one place have counted since it was made, also those that have
// ended.
type Reading struct {
	Counts
	Counting bool // a worker has said that it counts, or has counted
	Skipped  int  // files that are no pages, or too many
}

// Report is what the workers of an app have counted.
type Report struct {
	Places map[string]*Reading // by the name of the place, such as "g12.web.0"
	Gone   map[string]*Counts  // by process: what was counted in places that do not exist any more
}

// total is the name of the file with the counts of places that do not exist any more.
const total = "requests" + past

// lockName is the name of the file that a daemon locks while it reads or folds.
const lockName = "requests.lock"

// lockTime limits the wait for another daemon. A reader without the lock folds nothing.
const lockTime = time.Second

// Read sums up all pages. On the way it folds those of ended processes into one file a place, so
// that a server which replaces its processes does not fill the memory.
func (l *Ledger) Read() (Report, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	report := Report{Places: make(map[string]*Reading)}
	unlock, locked := l.lock()
	defer unlock()
	gone, err := readFolded(l.path(total))
	report.Gone = gone.Counts
	if err != nil {
		return report, err
	}
	places, err := l.places()
	counted := gone.included()
	for _, place := range places {
		if counted[place] {
			continue
		}
		reading, wrong := l.read(place, locked)
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("requests of %s: %w", place, wrong))
		}
		if reading != nil {
			report.Places[place] = reading
		}
	}
	return report, err
}

// Retire removes the places of workers that are gone for good, and keeps what they have counted.
func (l *Ledger) Retire(used func(place string) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	unlock, locked := l.lock()
	defer unlock()
	if !locked {
		return nil // another daemon reads: the next call takes these places too
	}
	places, err := l.places()
	if err != nil {
		return err
	}
	gone, err := readFolded(l.path(total))
	if err != nil {
		return err
	}
	over, err := l.closeUnused(places, used, &gone)
	if len(over) == 0 {
		return err
	}
	gone.keep(places)
	l.reached("the counts of a place are read")
	if err := gone.write(l.path(total)); err != nil {
		return err
	}
	l.reached("the counts of a place are written")
	for _, place := range over {
		err = errors.Join(err, l.remove(place))
	}
	return err
}

// closeUnused adds the counts of places that are not used any more, and returns those that may be
// removed: also places that were counted before and not removed.
func (l *Ledger) closeUnused(places []string, used func(place string) bool, gone *folded) (over []string, err error) {
	counted := gone.included()
	for _, place := range places {
		if counted[place] {
			over = append(over, place)
			continue
		}
		if used(place) {
			continue
		}
		counts, wrong := l.close(place)
		if wrong != nil {
			err = errors.Join(err, wrong)
			continue
		}
		gone.add(Process(place), counts)
		gone.Names = append(gone.Names, place)
		over = append(over, place)
	}
	return over, err
}

// close returns the last counts of a place: what is in flight is lost.
func (l *Ledger) close(place string) (*Counts, error) {
	r, err := l.read(place, false)
	if err != nil {
		return nil, fmt.Errorf("requests of %s: %w", place, err)
	}
	c := &r.Counts
	c.Lost, c.InFlight = c.Lost+c.InFlight, 0
	return c, nil
}

// read reads one place, and with fold takes the pages of ended processes into the file.
func (l *Ledger) read(place string, fold bool) (*Reading, error) {
	file, err := readFolded(l.path(place + past))
	if err != nil {
		return nil, err
	}
	d, err := openDirectory(l.path(place + pages))
	if err != nil {
		return nil, err
	}
	defer d.close()
	r := &Reading{Counting: d.marked || len(file.Counts) > 0}
	if d.more {
		r.Skipped++
	}
	for _, c := range file.Counts {
		r.Add(c)
	}
	ended, err := l.readPages(d, file.included(), r)
	if fold {
		err = errors.Join(err, l.fold(place, d, &file, ended))
	}
	return r, err
}

// readPages adds the pages that the file does not include to r, and returns those of ended processes.
func (l *Ledger) readPages(d *directory, included map[string]bool, r *Reading) (ended map[string]*Counts, err error) {
	ended = make(map[string]*Counts)
	for _, name := range d.names {
		if included[name] {
			continue
		}
		p, wrong := d.read(name, l.alive)
		if wrong != nil {
			if !errors.Is(wrong, errNoPage) {
				err = errors.Join(err, wrong)
			}
			r.Skipped++
			continue
		}
		r.Counting = true
		r.Add(&p.counts)
		if p.final {
			ended[name] = &p.counts
		}
	}
	return ended, err
}

// fold takes the pages of ended processes into the file of their place, and removes them.
func (l *Ledger) fold(place string, d *directory, file *folded, ended map[string]*Counts) (err error) {
	if len(ended) > 0 {
		file.keep(d.names)
		for name, c := range ended {
			file.add(Process(place), c)
			file.Names = append(file.Names, name)
		}
		l.reached("pages are read")
		if err := file.write(l.path(place + past)); err != nil {
			return err
		}
		l.reached("pages are written")
	}
	for _, name := range file.Names {
		err = errors.Join(err, d.remove(name))
		l.reached("a page is removed")
	}
	return err
}

// remove removes all that a place has left. Its directory may have anything in it: what is not a
// plain file of it stays, and is named by the error.
func (l *Ledger) remove(place string) error {
	d, err := openDirectory(l.path(place + pages))
	if err != nil {
		return err
	}
	for _, name := range append(d.names, mark) {
		err = errors.Join(err, d.remove(name))
	}
	if err := errors.Join(err, d.close()); err != nil {
		return err
	}
	l.reached("the pages of a place are removed")
	// The counts first: without its directory a place is not looked at any more.
	if err := os.Remove(l.path(place + past)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.reached("the file of a place is removed")
	return os.Remove(l.path(place + pages))
}

// places returns the names of the places that exist.
func (l *Ledger) places() ([]string, error) {
	entries, err := os.ReadDir(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if name, is := strings.CutSuffix(e.Name(), pages); is && e.IsDir() {
			names = append(names, name)
		}
	}
	return names, err
}

// Process returns the process of the app that a place belongs to: web for "g12.web.0".
func Process(place string) string {
	_, name, _ := strings.Cut(place, ".")
	if end := strings.LastIndexByte(name, '.'); end >= 0 {
		name = name[:end]
	}
	return name
}

// lock keeps other daemons from folding at the same time. Without it nothing may be folded.
func (l *Ledger) lock() (unlock func(), locked bool) {
	f, err := os.OpenFile(l.path(lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return func() {}, false
	}
	unlock = func() { _ = f.Close() }
	for until := time.Now().Add(lockTime); ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return unlock, true
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(until) {
			return unlock, false
		}
		<-time.After(lockTime / 100) // to wait in the kernel would have no limit
	}
}

func (l *Ledger) path(name string) string { return filepath.Join(l.dir, name) }
