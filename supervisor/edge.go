package supervisor

import (
	"context"
	"syscall"
	"time"

	"superctl/supervisor/worker"
)

// system is the edge to the operating system, for tests in virtual time.
type system struct {
	start  func(context.Context, worker.Spec) (process, error)
	output func(path string, user *worker.Credential) (output, error)
	run    func(ctx context.Context, c worker.Command, line func(string)) error
	adopt  func(ws workerState, pidfd int) (process, error)
	inode  func(fd int) (uint64, error)              // of a socket
	end    func(workerState) error                   // of an earlier daemon, and all that it left
	find   func(mark string) ([]worker.Found, error) // the workers that run
	sweep  func(mark string, kept func(tag string) bool) error
	strays func(running []worker.Running) error   // of no worker that runs
	keep   func(dir, mark string) (keeper, error) // nil for no keeper
	// measure returns what each worker uses, in the order given.
	measure func([]process) []worker.Usage
	// memory returns how much memory would be free without each worker, in bytes; 0 = unknown.
	memory func([]process) []uint64
	// alarm calls ring when the clock of the machine shows a time, or is set before that, until stop.
	alarm  func(at time.Time, ring func()) (stop func())
	close  func(fd int)
	write  func(path string, data []byte) error // replaces a file, complete or not at all
	sync   func(dir string) error               // makes what was renamed in a directory durable
	held   func(flag string) (bool, error)      // a worker with the drain hook has its flag open
	chance func() float64                       // in [0, 1)
	// enter is called by a goroutine before it hands something to the owner, and woken when the owner
	// has let it go on. Tests in virtual time give what would come at the same instant an order; who
	// tells apart what comes from the same place in the code; nil = as it comes.
	enter func(who string) (woken func())
}

// process is a running worker; *worker.Worker is the real one.
type process interface {
	PID() int
	StartTime() uint64
	Tag() string
	Cgroup() string
	Done() <-chan struct{}
	AfterExit(f func())
	Exit() worker.Exit
	Signal(sig syscall.Signal) error
	Handles(sig syscall.Signal) (bool, error)
	KillAll() error
	PIDs() []int
	Family() []int
	Socket(inode uint64) (fd int, err error)
	Descriptor(f func(fd int) error) error
}

// output is what a worker writes; *worker.Output is the real one.
type output interface {
	OnLine(line func(worker.Line))
	Run(ctx context.Context) error
	Drain() error
	Descriptor(f func(fd int) error) error
	Close() error
}

// notifier is the socket on which workers speak; *worker.Notify is the real one.
type notifier interface {
	Run(ctx context.Context, handle func(worker.Message)) error
	Descriptor(f func(fd int) error) error
	Reachable() bool
	Abandon(handle func(worker.Message)) error
	Close() error
}
