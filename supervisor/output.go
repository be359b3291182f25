package supervisor

import (
	"path/filepath"

	"go.uber.org/zap"
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
