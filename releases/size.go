package releases

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
)

// Size is the disk usage of directories in allocated blocks.
type Size struct {
	Bytes   int64 // every file counted once, however many names it has
	Own     int64 // without files that have further names elsewhere: what a removal frees
	Partial bool  // the count is incomplete, a lower bound
}

// blockSize is the unit of st_blocks (stat(2)).
const blockSize = 512

// DiskUse returns the disk usage of directories together, counted until ctx ends. It does not cross
// file systems.
func DiskUse(ctx context.Context, dirs ...string) Size {
	c := newCounter(ctx)
	for _, dir := range dirs {
		c.count(dir)
	}
	return c.sum()
}

type inode struct{ dev, ino uint64 }

// linked is a file with several hard links.
type linked struct {
	bytes       int64
	seen, names uint64
}

// counter walks directories concurrently, with a bounded number of goroutines.
type counter struct {
	ctx     context.Context //nolint:containedctx // it lives for one count
	free    chan struct{}
	running sync.WaitGroup
	single  atomic.Int64 // bytes of files with one name
	partial atomic.Bool

	mu    sync.Mutex
	links map[inode]linked // guarded by mu
}

func newCounter(ctx context.Context) *counter {
	return &counter{ctx: ctx, free: make(chan struct{}, 4*runtime.GOMAXPROCS(0)), links: make(map[inode]linked)}
}

// count adds a directory with everything below it.
func (c *counter) count(dir string) {
	st, err := os.Lstat(dir)
	if err != nil {
		c.partial.Store(true)
		return
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		c.add(sys)
		c.walkSoon(dir, sys.Dev)
	}
	c.running.Wait()
}

// walkSoon walks a directory in its own goroutine, or in this one when the limit is reached.
func (c *counter) walkSoon(dir string, dev uint64) {
	select {
	case c.free <- struct{}{}:
		c.running.Go(func() {
			c.walk(dir, dev)
			<-c.free
		})
	default:
		c.walk(dir, dev)
	}
}

func (c *counter) walk(dir string, dev uint64) {
	if c.ctx.Err() != nil {
		c.partial.Store(true)
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		c.partial.Store(true) // the entries that could be read still count
	}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			continue // it was removed meanwhile
		}
		sys, ok := st.Sys().(*syscall.Stat_t)
		// File systems are mounted on directories. On overlayfs a file may have another device than its directory.
		if !ok || e.IsDir() && sys.Dev != dev {
			continue
		}
		c.add(sys)
		if e.IsDir() {
			c.walkSoon(filepath.Join(dir, e.Name()), dev)
		}
	}
}

// add counts one file, or one link of a file that has several.
func (c *counter) add(st *syscall.Stat_t) {
	bytes := st.Blocks * blockSize
	if st.Mode&syscall.S_IFMT == syscall.S_IFDIR || st.Nlink == 1 {
		c.single.Add(bytes)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	id := inode{st.Dev, st.Ino}
	//nolint:unconvert // Nlink has another type on other architectures
	c.links[id] = linked{bytes: bytes, seen: c.links[id].seen + 1, names: uint64(st.Nlink)}
}

func (c *counter) sum() Size {
	s := Size{Bytes: c.single.Load(), Own: c.single.Load(), Partial: c.partial.Load()}
	for _, l := range c.links {
		s.Bytes += l.bytes
		if l.seen >= l.names {
			s.Own += l.bytes
		}
	}
	return s
}
