package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"superctl/beneath"
	"superctl/plain"
	"superctl/releases"
)

// The interpreter comes from the config or PATH, and may belong to the app's user. So it always
// runs as that user, even to create the virtualenv and to byte-compile, and writes into a directory
// of that user. The results are then copied into the release, which only the installer can write
// to.

// scratchName is that directory, within superctl's own directory of the release.
const scratchName = "scratch"

// Limits of copying a virtualenv without packages, which has some 20 small files.
const (
	venvFiles = 1000
	venvFile  = 16 << 20
)

// scratch creates the directory, passes it to do with its path, and removes it.
func (in *install) scratch(ctx context.Context, do func(dir *beneath.Dir, path string) error) error {
	own, err := in.made.Sub(releases.Own)
	if err != nil {
		return err
	}
	defer own.Close()
	dir, err := own.Mkdir(scratchName, 0o700)
	if err != nil {
		return err
	}
	defer dir.Close()
	if in.UserID != nil && os.Geteuid() == 0 {
		if err := dir.Chown(in.UserID.UID, in.UserID.GID); err != nil {
			return err
		}
	}
	err = do(dir, in.workPath(releases.Own, scratchName))
	return errors.Join(err, own.RemoveAll(context.WithoutCancel(ctx), scratchName))
}

// copyVirtualenv copies a virtualenv into in.work.
func (in *install) copyVirtualenv(from *beneath.Dir) error {
	if err := in.work.Mkdir(venvDir, 0o755); err != nil {
		return err
	}
	files := 0
	return walk(from, "", func(d *beneath.Dir, name, rel string, mode uint32) error {
		if files++; files > venvFiles {
			return fmt.Errorf("it has more than %d files", venvFiles)
		}
		to := path.Join(venvDir, rel)
		switch mode & unix.S_IFMT {
		case unix.S_IFDIR:
			return errors.Join(in.work.Mkdir(to, 0o755), in.work.Chmod(to, 0o755)) // independent of the umask
		case unix.S_IFLNK:
			target, err := d.Readlink(name)
			if err != nil {
				return err
			}
			return in.work.Symlink(target, to)
		case unix.S_IFREG:
			perm := fs.FileMode(0o644)
			if mode&0o111 != 0 {
				perm = 0o755
			}
			return in.copyFile(d, name, to, perm, venvFile)
		}
		return fmt.Errorf("%s is neither a file, a directory nor a link", rel)
	})
}

// copyCompiled copies byte-code from a tree that mirrors the release into the __pycache__ next to
// each source.
func (in *install) copyCompiled(from *beneath.Dir) error {
	return walk(from, "", func(d *beneath.Dir, name, rel string, mode uint32) error {
		dir := path.Dir(rel)
		if mode&unix.S_IFMT != unix.S_IFREG || path.Ext(name) != ".pyc" {
			return nil
		}
		switch st, err := in.work.Lstat(dir); {
		case errors.Is(err, fs.ErrNotExist), err == nil && !st.IsDir():
			return nil // not a directory of the release
		case err != nil:
			return err
		}
		cache := path.Join(dir, "__pycache__")
		if err := in.work.Mkdir(cache, 0o755); err == nil {
			err = in.work.Chmod(cache, 0o755) // independent of the umask
			if err != nil {
				return err
			}
		} else if !errors.Is(err, fs.ErrExist) {
			return err
		}
		to := path.Join(cache, name)
		if err := in.work.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) { // the bundle may contain one
			return err
		}
		return in.copyFile(d, name, to, 0o644, compiledFile)
	})
}

func (in *install) copyFile(d *beneath.Dir, name, to string, mode fs.FileMode, limit int64) error {
	r, err := d.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := in.work.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("%s has more than %s", to, sizeText(limit))
	}
	return errors.Join(err, w.Chmod(mode), w.Close()) // independent of the umask
}

// walk calls do for everything below a directory, parents first. It follows no link.
func walk(d *beneath.Dir, at string, do func(d *beneath.Dir, name, rel string, mode uint32) error) error {
	entries, err := d.ReadDir()
	if err != nil {
		return err
	}
	for _, e := range entries {
		st, err := d.Lstat(e.Name())
		if err != nil {
			return err
		}
		rel := path.Join(at, e.Name())
		if err := do(d, e.Name(), rel, st.Mode); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		if err := walkBelow(d, e.Name(), rel, do); err != nil {
			return err
		}
	}
	return nil
}

func walkBelow(d *beneath.Dir, name, rel string, do func(d *beneath.Dir, name, rel string, mode uint32) error) error {
	sub, err := d.Sub(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	return walk(sub, rel, do)
}

// compiledFile is the largest byte-code file that is copied, and compileMemory bounds the memory
// for compiling one file.
const (
	compiledFile  = 256 << 20
	compileMemory = 1 << 30
)

// compileProgram runs compileall with a memory limit for each of its processes: the compiler needs
// some 200 times the size of an expression.
const compileProgram = `import compileall, resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(not compileall.main())`

// compile byte-compiles all Python files as the app's user. Python will compare content hashes, not
// times, and the byte-code has the final path. A file that does not compile, such as a template, is
// not meant to be imported.
func (in *install) compile(ctx context.Context) (detail string, err error) {
	err = in.scratch(ctx, func(dir *beneath.Dir, scratch string) error {
		bad, err := in.runCompiler(ctx, scratch)
		if err != nil {
			return err
		}
		if bad > 0 {
			detail = fmt.Sprintf("all but %d files that are not valid Python, or too large", bad)
		}
		work, err := filepath.EvalSymlinks(in.workPath()) // the path that Python uses
		if err != nil {
			return err
		}
		for _, at := range []string{in.workPath(), work} {
			made, err := dir.SubPath("pyc" + at)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue // nothing was compiled, or it is at the other path
			case err != nil:
				return err
			}
			return errors.Join(in.copyCompiled(made), made.Close())
		}
		return nil
	})
	return detail, err
}

// runCompiler compiles, and returns how many files could not be compiled.
func (in *install) runCompiler(ctx context.Context, scratch string) (bad int, err error) {
	limited, cancel := context.WithTimeoutCause(ctx, in.CompileTime, fmt.Errorf("no end within %s", in.CompileTime))
	defer cancel()
	var last lines
	err = in.Run(limited, Command{Dir: in.workPath(), Args: []string{
		in.python.Path, "-I", "-X", "pycache_prefix=" + filepath.Join(scratch, "pyc"),
		"-c", compileProgram, fmt.Sprint(compileMemory),
		"-q", "-j", "0", "--invalidation-mode", "checked-hash", "-s", in.workPath(), "-p", in.Path, in.workPath(),
	}}, func(line string) {
		if strings.HasPrefix(line, "***") {
			bad++
		}
		last.add(line)
	})
	switch {
	case limited.Err() != nil:
		return bad, context.Cause(limited)
	case err != nil && bad == 0:
		return 0, fmt.Errorf("%w%s", err, plain.Indented(strings.Join(last, "\n")))
	}
	return bad, nil
}
