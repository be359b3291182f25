package releases

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"superctl/plain"
)

// CheckOptions are the requirements on a release.
type CheckOptions struct {
	NoVirtualenv bool // the release needs no virtualenv: not a Python app
	// Run runs a command as the app's user in the release's directory and returns its output; nil =
	// the interpreter is not tested.
	Run func(ctx context.Context, args ...string) (string, error)
}

// Virtualenv returns the release's virtualenv, venv or else .venv, and "" if it has neither.
func (r Release) Virtualenv() string {
	for _, name := range []string{"venv", ".venv"} {
		dir := filepath.Join(r.Path, name)
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			return dir
		}
	}
	return ""
}

// BrokenError is the error when a release cannot be switched to.
type BrokenError struct {
	Release string
	Err     error
}

func (e *BrokenError) Error() string { return "release " + e.Release + " is broken: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *BrokenError) Unwrap() error { return e.Err }

// Check returns why the release cannot be switched to, as one sentence, or nil.
func (r Release) Check(ctx context.Context, opt CheckOptions) error {
	if err := r.check(ctx, opt); err != nil {
		return &BrokenError{r.Name, err}
	}
	return nil
}

func (r Release) check(ctx context.Context, opt CheckOptions) error {
	if r.Broken != nil {
		return r.Broken
	}
	if opt.NoVirtualenv {
		return nil
	}
	venv := r.Virtualenv()
	if venv == "" {
		return fmt.Errorf("it has no virtualenv: neither %s nor %s exists "+
			"(set virtualenv = false for an app without one)",
			filepath.Join(r.Path, "venv"), filepath.Join(r.Path, ".venv"))
	}
	python := filepath.Join(venv, "bin", "python")
	if err := interpreter(python); err != nil {
		return err
	}
	if err := notMoved(venv); err != nil {
		return err
	}
	if opt.Run == nil {
		return nil
	}
	return tryInterpreter(ctx, python, opt.Run)
}

// Try starts the interpreter of the release's virtualenv, which takes tens of milliseconds, and
// returns why it does not run, as one sentence, or nil. A release without a virtualenv has nothing
// to try. Check does the same where it has Run.
func (r Release) Try(ctx context.Context, run func(ctx context.Context, args ...string) (string, error)) error {
	venv := r.Virtualenv()
	if venv == "" {
		return nil
	}
	if err := tryInterpreter(ctx, filepath.Join(venv, "bin", "python"), run); err != nil {
		return fmt.Errorf("release %s is broken: %w", r.Name, err)
	}
	return nil
}

func tryInterpreter(
	ctx context.Context, python string, run func(ctx context.Context, args ...string) (string, error),
) error {
	if out, err := run(ctx, python, "-c", "pass"); err != nil {
		return fmt.Errorf("its interpreter %s does not run: %w%s", python, err, plain.Indented(out))
	}
	return nil
}

// interpreter checks that the virtualenv's Python exists and is not a dangling link.
func interpreter(python string) error {
	if _, err := os.Lstat(python); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("its virtualenv has no interpreter: %s is missing", python)
	}
	if _, err := os.Stat(python); errors.Is(err, fs.ErrNotExist) {
		target, _ := os.Readlink(python)
		return fmt.Errorf("its interpreter %s leads to %s, which does not exist: "+
			"was that Python removed? Recreate the virtualenv", python, target)
	} else if err != nil {
		return fmt.Errorf("its interpreter: %w", err)
	}
	return nil
}

// notMoved refuses a virtualenv that was created at another path and copied: its scripts start the
// interpreter of the original virtualenv, and so would run another release's packages.
func notMoved(venv string) error {
	scripts, err := filepath.Glob(filepath.Join(venv, "bin", "*"))
	if err != nil {
		return err
	}
	for _, path := range scripts {
		line := shebang(path)
		if !strings.HasSuffix(filepath.Dir(line), "/bin") || !strings.HasPrefix(filepath.Base(line), "python") {
			continue
		}
		home := filepath.Dir(filepath.Dir(line))
		if _, err := os.Stat(filepath.Join(home, "pyvenv.cfg")); err != nil {
			if _, gone := os.Stat(line); !errors.Is(gone, fs.ErrNotExist) {
				continue // the system's own interpreter
			}
		}
		if !sameFile(home, venv) {
			return fmt.Errorf("its virtualenv was made elsewhere: %s starts with %s "+
				"(a virtualenv cannot be moved; create it in place)", path, line)
		}
	}
	return nil
}

func sameFile(a, b string) bool {
	sa, errA := os.Stat(a)
	sb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(sa, sb)
}

// shebang returns the interpreter in a script's first line.
func shebang(path string) string {
	f, err := openRegular(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	line, err := bufio.NewReaderSize(f, 512).ReadSlice('\n')
	if err != nil {
		return ""
	}
	text, ok := strings.CutPrefix(string(line), "#!")
	if !ok {
		return ""
	}
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	return first
}
