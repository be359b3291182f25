package supervisor

import (
	"context"
	"errors"
	"sync"

	"superctl/supervisor/worker"
)

// fakeOutput is a pipe of which every reader reads one line. It cannot be used once it is closed.
type fakeOutput struct {
	w     *world
	path  string
	fd    int
	place pipePlace

	mu      sync.Mutex
	line    func(worker.Line)
	reading bool
	closed  bool
}

func (o *fakeOutput) OnLine(line func(worker.Line)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.line = line
}

// hasReader fails the test when nobody is handed the lines.
func (o *fakeOutput) hasReader(what string) (line func(worker.Line), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.line == nil {
		err = o.w.wrong("%s: nobody is handed the lines of the pipe %s", what, o.path)
	}
	return o.line, err
}

func (o *fakeOutput) isClosed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

// usable fails the test when the pipe is closed.
func (o *fakeOutput) usable(what string) error {
	if o.isClosed() {
		return o.w.wrong("%s: the pipe %s is closed", what, o.path)
	}
	return nil
}

func (o *fakeOutput) Run(ctx context.Context) error {
	if err := o.usable("Run"); err != nil {
		return err
	}
	line, err := o.hasReader("Run")
	if err != nil {
		return err
	}
	if o.reads(true) {
		return o.w.wrong("Run: the pipe %s is read already", o.path)
	}
	defer o.reads(false)
	line(worker.Line{Text: []byte("hello from " + o.path)})
	<-ctx.Done()
	return nil
}

// reads notes whether it is read, and returns whether it was.
func (o *fakeOutput) reads(now bool) (before bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before, o.reading = o.reading, now
	return before
}

// Drain may come after Close: the instance lets go of its pipe while its worker's end is looked at.
func (o *fakeOutput) Drain() error {
	_, err := o.hasReader("Drain")
	return err
}

func (o *fakeOutput) Close() error {
	if err := o.usable("Close"); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.reading {
		return o.w.wrong("Close: the pipe %s is being read", o.path)
	}
	o.closed = true
	return nil
}

func (o *fakeOutput) Descriptor(f func(int) error) error {
	if err := o.usable("Descriptor"); err != nil {
		return err
	}
	return f(o.fd)
}

// realOutput is a pipe of the kernel's, which is used as the fake says.
type realOutput struct {
	*worker.Output
	fake *fakeOutput
}

func (o realOutput) OnLine(line func(worker.Line)) {
	o.fake.OnLine(func(worker.Line) {})
	o.Output.OnLine(line)
}

func (o realOutput) Run(ctx context.Context) error {
	return errors.Join(o.fake.Run(ctx), o.Output.Run(ctx))
}

func (o realOutput) Close() error { return errors.Join(o.fake.Close(), o.Output.Close()) }
