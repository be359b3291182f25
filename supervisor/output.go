package supervisor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"superctl/supervisor/worker"
)

// keeper sees to it that the workers' output pipes do not fill up when this daemon dies;
// *worker.Keeper is the real one.
type keeper interface {
	// Release has it look after the pipes, because this daemon leaves them.
	Release() error
	// End ends it, because there are no pipes any more.
	End() error
}

type noKeeper struct{}

func (noKeeper) Release() error { return nil }
func (noKeeper) End() error     { return nil }

// startKeeper starts a keeper. Without one the app serves as ever, so a failure is only said.
func (s *Supervisor) startKeeper() keeper {
	if s.os.keep == nil || s.opt.End {
		return noKeeper{}
	}
	k, err := s.os.keep(filepath.Join(s.opt.State, "log"), s.mark())
	if err != nil {
		s.log.Error("without a daemon, workers will wait when their output pipes are full", zap.Error(err))
		return noKeeper{}
	}
	return k
}

// errPaused ends the reading of a pipe that is to be read on, by the next daemon or after all by
// this one.
var errPaused = errors.New("paused")

// pause stops the reading of an instance's pipe, and waits until it has stopped.
func (in *instance) pause() {
	in.mute(errPaused)
	<-in.readEnded
}

// outputPlace is where the pipe will be that all workers of the instance write to. Its path is one that
// there has never been: the pipe of an earlier worker is removed, by its path, when its last words are read.
func (in *instance) outputPlace() string {
	return filepath.Join(
		in.owner.opt.State, "log", fmt.Sprintf("g%d.%s.%d.%s", in.gen.id, in.proc.Name, in.index, rand.Text()),
	)
}

// readOutput reads a pipe that has been opened until the instance is released.
func (in *instance) readOutput(out output) {
	in.out = out
	in.read()
}

// read reads an instance's pipe until it is released or paused.
func (in *instance) read() {
	ctx, mute := context.WithCancelCause(context.Background())
	ended := make(chan struct{})
	in.mute, in.readEnded = mute, ended
	out := in.out
	from := LogLine{Release: in.gen.plan.Release.Name, Generation: in.gen.id, Process: in.proc.Name, Instance: in.index}
	tail, secrets := in.tail, in.gen.plan.redactor
	// Before the goroutine: its worker may have ended, and its last words are asked for first.
	out.OnLine(func(l worker.Line) {
		text := secrets.Logged(string(l.Text))
		tail.Add([]byte(text))
		line := from
		line.Time, line.PID, line.Text = time.Now(), int(in.pid.Load()), text
		in.owner.book.add(line)
	})
	in.owner.async(func() {
		defer close(ended)
		if err := out.Run(ctx); err != nil {
			in.owner.log.Error(
				"read worker output", zap.String("process", from.Process), zap.Int("generation", from.Generation),
				zap.Error(err),
			)
		}
		if errors.Is(context.Cause(ctx), errPaused) {
			return
		}
		if err := out.Close(); err != nil {
			in.owner.log.Error("close worker output", zap.Error(err))
		}
	})
}
