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
	// maxWaiting is how many messages wait at most. A newer message replaces the oldest.
	maxWaiting = 200
	// keepDelivered is how many delivered messages are remembered by their IDs.
	keepDelivered = 8
	// maxNumber is far above the number of messages that a daemon ever has. A higher number is
	// invalid.
	maxNumber = 1 << 40
	// maxMessage is the maximum size of a message that is read, in bytes.
	maxMessage = 1 << 20

	bodyName = "message.json"
	toPrefix = "to-"      // one file for each target that has not received the message
	newDir   = ".new-"    // a message that is being written
	badDir   = "damaged-" // a message that could not be read
)

// outbox stores the messages that are not delivered to all targets: a directory for each, which is
// created atomically. Delivering only removes files, which works on a full disk. If the outbox is
// not writable, messages are kept in memory.
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
	to     []string // targets that have not received it; guarded by the outbox's mu
	body   *Message // nil: on disk
	held   string   // the run whose end it waits for, or ""; guarded by the outbox's mu
}

func (it *item) name() string { return fmt.Sprintf("%012d-%s", it.number, it.id) }

func newOutbox(dir string, log *zap.Logger) *outbox {
	b := &outbox{dir: dir, log: log, next: 1}
	b.load()
	return b
}

// load reads the directory again: the previous daemon may have delivered messages meanwhile.
func (b *outbox) load() {
	b.mu.Lock()
	defer b.mu.Unlock()
	entries, err := os.ReadDir(b.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.log.Error("read the outbox", zap.Error(err))
		return
	}
	held := make(map[string]string)
	for _, it := range b.items {
		held[it.id] = it.held
	}
	found := slices.DeleteFunc(b.items, func(it *item) bool { return it.body == nil })
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), newDir):
			b.remove(e.Name()) // the daemon was killed while it wrote the message
		case strings.HasPrefix(e.Name(), badDir):
		default:
			it, err := b.find(e)
			if err != nil {
				b.setAside(e.Name(), err)
				continue
			}
			it.held = held[it.id]
			found = append(found, it)
		}
	}
	slices.SortFunc(found, func(x, y *item) int { return cmp.Compare(x.number, y.number) })
	b.items = found
	for _, it := range found {
		b.next = max(b.next, it.number+1)
	}
}

// find returns the message of a directory and its targets.
func (b *outbox) find(e fs.DirEntry) (*item, error) {
	number, id, ok := strings.Cut(e.Name(), "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || n == 0 || n > maxNumber || !e.IsDir() {
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

// put stores a message for those targets, which waits for the end of a run if there is one. It
// ignores a message that it has or remembers.
func (b *outbox) put(m *Message, to []string, run string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.ContainsFunc(b.items, func(it *item) bool { return it.id == m.ID }) {
		return nil
	}
	it := &item{number: b.next, id: m.ID, to: slices.Clone(to), held: run}
	b.next++
	err := b.write(it, m)
	if err != nil {
		it.body = m
		err = fmt.Errorf("the message is in memory only, and lost when the daemon ends: %w", err)
	}
	b.items = append(b.items, it)
	b.trim()
	return err
}

// write creates the directory of a message under a hidden name, and renames it when it is complete.
// A Start message is not synced: the change waits for this write, and after a power loss that
// message is not missed.
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
		_ = os.RemoveAll(hidden) // the first error is the one to report
		return fmt.Errorf("write to the outbox: %w", err)
	}
	if err := sync(b.dir); err != nil {
		b.log.Warn("a message would not survive a loss of power", zap.Error(err))
	}
	return nil
}

// trim forgets delivered messages except for the newest, and drops messages above the limit.
func (b *outbox) trim() {
	waiting, done := 0, 0
	for _, it := range slices.Backward(b.items) {
		if len(it.to) > 0 {
			if waiting++; waiting > maxWaiting {
				b.log.Error("message dropped: too many are waiting", zap.String("message", it.id),
					zap.Strings("for", it.to))
				it.to = nil
				b.drop(it)
			}
		} else if done++; done > keepDelivered {
			b.drop(it)
		}
	}
	b.items = slices.DeleteFunc(b.items, func(it *item) bool { return it.number == 0 })
}

// drop removes a message and marks it with number 0.
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

// first returns the oldest message that a target has not received.
func (b *outbox) first(target string) *item {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, it := range b.items {
		if it.held == "" && slices.Contains(it.to, target) {
			return it
		}
	}
	return nil
}

// waiting returns how many messages wait for each target.
func (b *outbox) waiting() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := make(map[string]int)
	for _, it := range b.items {
		for _, target := range it.to {
			if it.held == "" {
				n[target]++
			}
		}
	}
	return n
}

func (b *outbox) read(it *item) (*Message, error) {
	if it.body != nil {
		return it.body, nil
	}
	path := filepath.Join(b.dir, it.name(), bodyName)
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxMessage {
		return nil, fmt.Errorf("%s is not a regular file of at most %d bytes", path, maxMessage)
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
		return nil, errors.New("its content does not match its name")
	}
	return m, nil
}

// done records that a target has received a message, or need not receive it.
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
			b.log.Error("the next daemon may deliver a message again", zap.String("target", target), zap.Error(err))
		}
	}
	b.trim()
}

// damaged moves a message that cannot be read aside.
func (b *outbox) damaged(it *item, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if it.number == 0 {
		return // dropped meanwhile
	}
	b.setAside(it.name(), why)
	b.items = slices.DeleteFunc(b.items, func(other *item) bool { return other == it })
}

func (b *outbox) setAside(name string, why error) {
	b.log.Error("a message in the outbox cannot be read and is set aside",
		zap.String("as", filepath.Join(b.dir, badDir+name)), zap.Error(why))
	b.remove(badDir + name)
	if bad, err := filepath.Glob(filepath.Join(b.dir, badDir+"*")); err == nil && len(bad) >= keepDelivered {
		b.remove(filepath.Base(slices.Min(bad)))
	}
	if err := os.Rename(filepath.Join(b.dir, name), filepath.Join(b.dir, badDir+name)); err != nil {
		b.log.Error("set a message aside", zap.Error(err))
	}
}

// writeFile writes a new file in a directory that is still hidden.
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
