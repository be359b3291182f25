package supervisor

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// UnreadableStateError says that the state file is there and cannot be understood.
type UnreadableStateError struct{ Path, Why string }

// Error names the file, the reason and the next step.
func (e *UnreadableStateError) Error() string {
	return fmt.Sprintf("state file %s %s; nothing was started, and running workers keep serving. To start without the file, "+
		"run superctl end: the live release is then the one that `current` points to", e.Path, e.Why)
}

// notRegularError says what is in the place of a file.
type notRegularError struct{ what string }

func (e *notRegularError) Error() string { return "it is " + e.what }

// readRegular reads a regular file. Anything else in its place is a *notRegularError: a FIFO would
// block for ever.
func readRegular(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENXIO) {
		return nil, &notRegularError{"a socket"}
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch mode := st.Mode(); {
	case mode.IsDir():
		return nil, &notRegularError{"a directory"}
	case mode&fs.ModeNamedPipe != 0:
		return nil, &notRegularError{"a FIFO"}
	case !mode.IsRegular():
		return nil, &notRegularError{"not a regular file"}
	}
	return io.ReadAll(f)
}

// whyNotJSON returns the reason of an error of encoding/json, without the names of Go's types.
func whyNotJSON(err error) string {
	wrong := new(json.UnmarshalTypeError)
	if !errors.As(err, &wrong) {
		return err.Error()
	}
	return fmt.Sprintf("%s is a JSON %s", cmp.Or(wrong.Field, "the file"), wrong.Value)
}

// unreadableSuffix is the suffix of a state file that was moved out of the way.
const unreadableSuffix = ".unreadable"

// setAside moves a state file that cannot be understood out of the way, so that it does not keep
// the site down, for instance after a power failure: the daemon begins with the release that
// `current` points to. It leaves the file in place while workers run,
// because a daemon that does not know them would stop them. `superctl end` moves it even then.
func (j *journal) setAside(unreadable *UnreadableStateError) error {
	running := false
	if err := j.os.sweep(j.mark(), func(string) bool { running = true; return true }); err != nil {
		return errors.Join(unreadable, err)
	}
	if running && !j.opt.End {
		return unreadable
	}
	aside := unreadable.Path + unreadableSuffix
	for n := 1; ; n++ {
		if _, err := os.Lstat(aside); err != nil {
			break
		}
		aside = fmt.Sprint(unreadable.Path, unreadableSuffix, ".", n) // keep earlier ones
	}
	err := os.Rename(unreadable.Path, aside)
	if err == nil {
		err = j.os.sync(filepath.Dir(aside))
	}
	if err != nil {
		return errors.Join(unreadable, err)
	}
	why := fmt.Sprintf("it %s; it was moved to %s, and superctl started the release that `current` points to", unreadable.Why, aside)
	j.log.Error("the state file is unreadable", zap.String("why", why))
	j.owner.health.report(Trouble{Of: "state file", Since: time.Now(), Why: why})
	return nil
}
