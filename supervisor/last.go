package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Last is what was live when the daemon wrote its state; a zero Release where none was.
type Last struct {
	Release, Previous Release
	Running           []Release // of the generations that had workers, or a change that went to them
}

// ReadLast reads what was live last from the state directory of an app whose daemon does not run.
func ReadLast(dir, app string) (Last, error) {
	s := &Supervisor{opt: Options{State: dir, App: app}}
	st, err := s.load()
	var last Last
	if st.Release != nil {
		last.Release = *st.Release
	}
	if st.Previous != nil {
		last.Previous = *st.Previous
	}
	for i := range st.Generations {
		last.Running = append(last.Running, st.Generations[i].Plan.Release)
	}
	return last, err
}

// StateOwner is the user as whom the daemon of a state directory runs, or ran; not ok if none has.
func StateOwner(dir string) (uid uint32, ok bool, err error) {
	var st syscall.Stat_t
	err = syscall.Stat(filepath.Join(dir, stateName), &st)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("look at the state: %w", &os.PathError{Op: "stat", Path: filepath.Join(dir, stateName), Err: err})
	}
	return st.Uid, true, nil
}
