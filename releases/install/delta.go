package install

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"superctl/beneath"
	"superctl/releases/delta"
)

// The bundle that is kept, and the one that will be, in the store's own directory.
const (
	ownDir   = ".superctl"
	keptName = "kept.tar.zst"
	newKept  = "kept.new"
)

// openKept opens the bundle that an install with Keep has left in a directory of releases. The error
// is fs.ErrNotExist if there is none.
func openKept(releases string) (io.ReadSeekCloser, error) {
	root, err := beneath.Open(releases)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenPath(ownDir + "/" + keptName)
}

// Kept returns the chunks of the bundle that is kept in a directory of releases; none if there is
// none.
func Kept(releases string) (*delta.Base, error) {
	f, err := openKept(releases)
	if errors.Is(err, fs.ErrNotExist) {
		return &delta.Base{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return delta.BaseOf(f)
}

// deltaFile is a bundle as its difference to the one that is kept.
type deltaFile struct {
	localFile
	releases string
}

func (f deltaFile) open(ctx context.Context, _ int64, _ string) (*stream, error) {
	in, err := f.localFile.open(ctx, 0, "")
	if err != nil {
		return nil, err
	}
	base, err := openKept(f.releases)
	if err != nil {
		return nil, &finalError{errors.Join(fmt.Errorf("the bundle that %s is a difference to: %w", f, err), in.Close())}
	}
	content, err := f.read(in, base)
	if err != nil {
		return nil, &finalError{errors.Join(err, in.Close(), base.Close())}
	}
	return &stream{ReadCloser: &joined{content, []io.Closer{in, base}}, size: -1, once: true}, nil
}

func (f deltaFile) read(in io.Reader, base io.ReadSeeker) (io.Reader, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, base); err != nil {
		return nil, err
	}
	at, ok := base.(io.ReaderAt)
	if !ok {
		return nil, errors.New("the kept bundle is not a file")
	}
	return delta.Read(in, at, [sha256.Size]byte(sum.Sum(nil)))
}

// joined reads from one reader, and closes all that it needs.
type joined struct {
	io.Reader
	closers []io.Closer
}

// Close closes everything.
func (j *joined) Close() error {
	var errs []error
	for _, c := range j.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// keep keeps the bundle, so that the next one can be sent as the difference to it. A failure is a
// warning: the next bundle is then sent as a whole.
func (in *install) keep() {
	if err := in.copyKept(); err != nil {
		in.Warnings = append(in.Warnings, fmt.Sprintf("the bundle was not kept, so the next one is sent as a whole: %v", err))
	}
}

func (in *install) copyKept() (err error) {
	if err := in.roomFor(in.size, "the bundle that is kept"); err != nil {
		return err
	}
	own, err := in.root.OpenOrMkdir(ownDir)
	if err != nil {
		return err
	}
	defer own.Close()
	f, err := own.OpenWritable(newKept, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.NewSectionReader(in.file, 0, in.size))
	if err = errors.Join(err, f.Truncate(in.size), f.Close()); err != nil {
		return errors.Join(err, own.Remove(newKept))
	}
	return own.Rename(newKept, keptName)
}

// withoutDelta returns a word without delta.Suffix.
func withoutDelta(word string) string { return strings.TrimSuffix(word, delta.Suffix) }
