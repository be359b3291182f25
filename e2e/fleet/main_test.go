package fleet

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"superctl/e2e/harness"
	"superctl/e2e/systemd"
)

// fleets is how many fleets there are at most, and how many tests run at once: these wait for times
// of superctl and of ssh more than for the processor.
const fleets = 4

var (
	run     *harness.Run
	hosts   *pool
	ansible = sync.OnceValues(installAnsible)
)

func TestMain(m *testing.M) {
	harness.Guardian()
	relay()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	if systemd.Unavailable() != "" {
		return m.Run() // each test says why it is skipped
	}
	return harness.Main(booted{m}, func(r *harness.Run) { run = r })
}

// booted runs the tests on fleets that are booted once for all of them.
type booted struct{ m *testing.M }

func (b booted) Run() int {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(fleets)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binds, err := Binds(run, filepath.Join(run.Dir, "site"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	hosts = newPool(binds)
	code := b.m.Run()
	if err := hosts.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// pool has the fleets, of which each test takes one. A fleet is booted when a test finds none.
type pool struct {
	binds []Bind
	idle  chan *Fleet
	count chan int // how many have been booted
}

func newPool(binds []Bind) *pool {
	p := &pool{binds: binds, idle: make(chan *Fleet, fleets), count: make(chan int, 1)}
	p.count <- 0
	return p
}

// take returns a fleet that no other test has. There are as many as tests that run at once.
func (p *pool) take(t *testing.T) *Fleet {
	t.Helper()
	select {
	case f := <-p.idle:
		return f
	default:
	}
	select {
	case f := <-p.idle:
		return f
	case n := <-p.count:
		// The name of the directory names control groups of this machine.
		dir := filepath.Join(run.Dir, filepath.Base(run.Dir)+"-"+strconv.Itoa(n+1))
		f, err := Boot(dir, 3, p.binds...)
		if err == nil {
			n++
		}
		p.count <- n
		must(t, err)
		return f
	}
}

// close ends all fleets, once no test has one.
func (p *pool) close() (err error) {
	for n := <-p.count; n > 0; n-- {
		err = errors.Join(err, (<-p.idle).Close())
	}
	return err
}

// clean returns a fleet that has been put back for the test, which from then on runs with others.
func clean(t *testing.T) *Fleet {
	t.Helper()
	if why := systemd.Unavailable(); why != "" {
		t.Skip(why)
	}
	t.Parallel()
	f := hosts.take(t)
	t.Cleanup(func() { hosts.idle <- f })
	f.Reset(t)
	return f
}
