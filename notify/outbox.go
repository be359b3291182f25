package notify

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	// mostWaiting is how many messages wait at most; the oldest gives way to a newer one.
	mostWaiting = 200
	// remembered is how many messages that everybody has are still known by their IDs.
	remembered = 8
	// mostNumber is more messages than a daemon ever has; a higher number is none that it has given.
	mostNumber = 1 << 40
	// largest is the size of the largest message that is read.
	largest = 1 << 20

	bodyName = "message.json"
	toPrefix = "to-"      // one file for each target that has not got the message yet
	newDir   = ".new-"    // a message that is being written
	badDir   = "damaged-" // one that could not be read
)

// outbox is the messages that have not been delivered to everybody: a directory for each, which appears whole or not at all. What is
// delivered is removed, which also works when the disk is full. Where it cannot be written, a message lives in memory only.
type outbox struct {
	dir string
	log *zap.Logger

	mu    sync.Mutex
	next  uint64  // number of the next message; guarded by mu
	items []*item // oldest first; guarded by mu
}

// item is one message.
type item struct {
	number uint64
	id     string
	to     []string // who has not got it yet; guarded by the outbox's mu
	body   *Message // nil: on disk
}

func (it *item) name() string { return fmt.Sprintf("%012d-%s", it.number, it.id) }

func newOutbox(dir string, log *zap.Logger) *outbox {
	b := &outbox{dir: dir, log: log, next: 1}
	b.load()
	return b
}

// load looks at the directory anew: the daemon before this one may have delivered something meanwhile.
func (b *outbox) load() {
	b.mu.Lock()
	defer b.mu.Unlock()
	entries, err := os.ReadDir(b.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.log.Error("read the outbox", zap.Error(err))
		return
	}
	found := slices.DeleteFunc(b.items, func(it *item) bool { return it.body == nil })
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), newDir):
			b.remove(e.Name()) // its daemon was killed before it was whole
		case strings.HasPrefix(e.Name(), badDir):
		default:
			it, err := b.find(e)
			if err != nil {
				b.setAside(e.Name(), err)
				continue
			}
			found = append(found, it)
		}
	}
	slices.SortFunc(found, func(x, y *item) int { return cmp.Compare(x.number, y.number) })
	b.items = found
	for _, it := range found {
		b.next = max(b.next, it.number+1)
	}
}

// find reads who is to get a message.
func (b *outbox) find(e fs.DirEntry) (*item, error) {
	number, id, ok := strings.Cut(e.Name(), "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || n == 0 || n > mostNumber || !e.IsDir() {
		return nil, errors.New("it is not the directory of a message")
	}
	files, err := os.ReadDir(filepath.Join(b.dir, e.Name()))
	if err != nil {
		return nil, err
	}
	it := &item{number: n, id: id}
	for _, f := range files {
		if target, ok := strings.CutPrefix(f.Name(), toPrefix); ok {
			it.to = append(it.to, target)
		}
	}
	return it, nil
}

// put has a message delivered to those targets. One that is there already, or was, is not taken again.
func (b *outbox) put(m *Message, to []string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.ContainsFunc(b.items, func(it *item) bool { return it.id == m.ID }) {
		return nil
	}
	it := &item{number: b.next, id: m.ID, to: slices.Clone(to)}
	b.next++
	err := b.write(it, m)
	if err != nil {
		it.body = m
		err = fmt.Errorf("the message is in memory only, and lost when the daemon ends: %w", err)
	}
	b.items = append(b.items, it)
	b.bound()
	return err
}

// write makes the directory of a message: hidden first, and renamed when all of it is there. What is told of a beginning is not
// worth a wait for the disk: nobody misses it after a loss of power, and the change waits for this.
func (b *outbox) write(it *item, m *Message) error {
	sync := syncDir
	if m.Event == Start {
		sync = func(string) error { return nil }
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return fmt.Errorf("make the outbox: %w", err)
	}
	hidden := filepath.Join(b.dir, newDir+it.name())
	if err := os.Mkdir(hidden, 0o700); err != nil {
		return fmt.Errorf("write to the outbox: %w", err)
	}
	err = writeFile(filepath.Join(hidden, bodyName), data, m.Event != Start)
	for _, target := range it.to {
		if err == nil {
			err = os.WriteFile(filepath.Join(hidden, toPrefix+target), nil, 0o600)
		}
	}
	if err == nil {
		err = sync(hidden)
	}
	if err == nil {
		err = os.Rename(hidden, filepath.Join(b.dir, it.name()))
	}
	if err != nil {
		_ = os.RemoveAll(hidden) // the error that matters is the first
		return fmt.Errorf("write to the outbox: %w", err)
	}
	if err := sync(b.dir); err != nil {
		b.log.Warn("a message would not survive a loss of power", zap.Error(err))
	}
	return nil
}

// bound forgets what everybody has, but for the newest ones, and gives up what is too much.
func (b *outbox) bound() {
	waiting, done := 0, 0
	for _, it := range slices.Backward(b.items) {
		if len(it.to) > 0 {
			if waiting++; waiting > mostWaiting {
				b.log.Error("a message is given up: too many wait", zap.String("message", it.id), zap.Strings("for", it.to))
				it.to = nil
				b.drop(it)
			}
		} else if done++; done > remembered {
			b.drop(it)
		}
	}
	b.items = slices.DeleteFunc(b.items, func(it *item) bool { return it.number == 0 })
}

// drop removes a message altogether; its number says so.
func (b *outbox) drop(it *item) {
	if it.body == nil {
		b.remove(it.name())
	}
	it.number = 0
}

func (b *outbox) remove(name string) {
	if err := os.RemoveAll(filepath.Join(b.dir, name)); err != nil {
		b.log.Warn("clear the outbox", zap.Error(err))
	}
}

// first is the oldest message that a target has not got.
func (b *outbox) first(target string) *item {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range b.items {
		if slices.Contains(it.to, target) {
			return it
		}
	}
	return nil
}

// waiting is how many messages wait for each target.
func (b *outbox) waiting() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := make(map[string]int)
	for _, it := range b.items {
		for _, target := range it.to {
			n[target]++
		}
	}
	return n
}

// read reads a message.
func (b *outbox) read(it *item) (*Message, error) {
	if it.body != nil {
		return it.body, nil
	}
	path := filepath.Join(b.dir, it.name(), bodyName)
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > largest {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", path, largest)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := new(Message)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, err
	}
	if m.ID != it.id || !slices.Contains(Events(), m.Event) {
		return nil, errors.New("it is not what its name says")
	}
	return m, nil
}

// done notes that a target has a message, or is not to get it any more.
func (b *outbox) done(it *item, target string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	it.to = slices.DeleteFunc(it.to, func(name string) bool { return name == target })
	if it.body == nil {
		dir := filepath.Join(b.dir, it.name())
		err := os.Remove(filepath.Join(dir, toPrefix+target))
		if err == nil {
			err = syncDir(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.log.Error("what was delivered may be delivered again by the next daemon", zap.String("target", target), zap.Error(err))
		}
	}
	b.bound()
}

// damaged puts a message aside that cannot be read.
func (b *outbox) damaged(it *item, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if it.number == 0 {
		return // given up meanwhile
	}
	b.setAside(it.name(), why)
	b.items = slices.DeleteFunc(b.items, func(other *item) bool { return other == it })
}

func (b *outbox) setAside(name string, why error) {
	b.log.Error("a message in the outbox cannot be read, and is put aside", zap.String("as", filepath.Join(b.dir, badDir+name)), zap.Error(why))
	b.remove(badDir + name)
	if bad, err := filepath.Glob(filepath.Join(b.dir, badDir+"*")); err == nil && len(bad) >= remembered {
		b.remove(filepath.Base(slices.Min(bad)))
	}
	if err := os.Rename(filepath.Join(b.dir, name), filepath.Join(b.dir, badDir+name)); err != nil {
		b.log.Error("put a message aside", zap.Error(err))
	}
}

// writeFile writes a new file, whose directory has no name yet.
func writeFile(path string, data []byte, durable bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil && durable {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Fsync(fd), unix.Close(fd))
	}
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
