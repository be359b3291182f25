package releases

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Own is the name of superctl's own directory: among the releases, and in an installed release.
const Own = ownName

// treeFile is the list of a release's files, and treeLimit what is read of one.
const (
	treeFile  = ownName + "/tree"
	treeLimit = 256 << 20
)

// ErrNoTree says that a release was not installed from a bundle, so that nobody has written down what was in it.
var ErrNoTree = errors.New("it has no list of its files: it was not installed from a bundle")

// Tree is what is in a release: every file with its mode, size and hash, every link with its target, every directory. It is
// the same for the same bundle in the same place, whenever it was installed.
type Tree []Entry

// Entry is one file, directory or symbolic link of a tree.
type Entry struct {
	Kind   byte // 'f', 'd', 'l', or 'o' for what a release does not have, such as a FIFO
	Mode   uint32
	Size   int64  // of a file
	SHA256 string // of a file
	Target string // of a link
	Path   string
}

// ReadTree lists what is in dir. What lies at or under one of the paths in without is passed over.
func ReadTree(ctx context.Context, dir string, without []string) (Tree, error) {
	var t Tree
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." || rel == treeFile {
			return err
		}
		if slices.Contains(without, rel) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		e, err := readEntry(path, rel)
		if err != nil {
			return err
		}
		t = append(t, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(t, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return t, nil
}

func readEntry(path, rel string) (Entry, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Entry{}, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	e := Entry{Kind: 'o', Mode: st.Mode & 0o7777, Path: rel}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Kind = 'd'
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		e.Kind, e.Target = 'l', target
		return e, err
	case unix.S_IFREG:
		e.Kind = 'f'
		var err error
		e.Size, e.SHA256, err = hashFile(path, rel == MetadataName)
		return e, err
	}
	return e, nil
}

// hashFile reads a regular file. Of release.toml it passes over the lines that are not the bundle's, which stand at its top:
// the hash of the tree itself and the time.
func hashFile(path string, metadata bool) (int64, string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, "", err
	}
	defer f.Close() //nolint:errcheck // for reading only
	sum := sha256.New()
	var n int64
	if metadata {
		text, readErr := io.ReadAll(io.LimitReader(f, metadataLimit))
		n, err = io.Copy(sum, bytes.NewReader(constant(text)))
		err = errors.Join(readErr, err)
	} else {
		n, err = io.Copy(sum, f)
	}
	return n, hex.EncodeToString(sum.Sum(nil)), err
}

// constant is a release.toml without what is of one installation alone.
func constant(text []byte) []byte {
	var out []byte
	top := true
	for line := range bytes.Lines(text) {
		top = top && !bytes.HasPrefix(line, []byte("["))
		if top && (bytes.HasPrefix(line, []byte("tree =")) || bytes.HasPrefix(line, []byte("installed ="))) {
			continue
		}
		out = append(out, line...)
	}
	return out
}

// Write writes the list into a release, and returns its hash.
func (t Tree) Write(root *os.Root) (hash string, err error) {
	f, err := root.OpenFile(treeFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return "", fmt.Errorf("write the list of files: %w", err)
	}
	sum := sha256.New()
	w := bufio.NewWriter(io.MultiWriter(f, sum))
	for i := range t {
		t[i].write(w)
	}
	if err := errors.Join(w.Flush(), f.Chmod(0o444), f.Close()); err != nil {
		return "", fmt.Errorf("write the list of files: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// write writes one line. The writer keeps its error.
func (e *Entry) write(w *bufio.Writer) {
	what := "-"
	switch e.Kind {
	case 'f':
		what = e.SHA256
	case 'l':
		what = strconv.Quote(e.Target)
	}
	fmt.Fprintf(w, "%c %04o %d %s %s\n", e.Kind, e.Mode, e.Size, what, strconv.Quote(e.Path))
}

// parseTree reads a list.
func parseTree(text []byte) (Tree, error) {
	var t Tree
	for line := range strings.Lines(string(text)) {
		e, err := parseEntry(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("line %d cannot be read", len(t)+1)
		}
		t = append(t, e)
	}
	return t, nil
}

func parseEntry(line string) (e Entry, err error) {
	fields := strings.SplitN(line, " ", 4)
	if len(fields) < 4 || len(fields[0]) != 1 {
		return e, strconv.ErrSyntax
	}
	mode, errMode := strconv.ParseUint(fields[1], 8, 16)
	size, errSize := strconv.ParseInt(fields[2], 10, 64)
	e = Entry{Kind: fields[0][0], Mode: uint32(mode), Size: size}
	what, path, _ := strings.Cut(fields[3], " ")
	var errTarget error
	switch e.Kind {
	case 'f':
		e.SHA256 = what
	case 'l':
		if what, errTarget = strconv.QuotedPrefix(fields[3]); errTarget == nil {
			path = strings.TrimPrefix(fields[3][len(what):], " ")
			e.Target, errTarget = strconv.Unquote(what)
		}
	}
	e.Path, err = strconv.Unquote(path)
	return e, errors.Join(err, errMode, errSize, errTarget)
}
