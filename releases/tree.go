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
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// Own is the name of superctl's own directory, both among the releases and in an installed release.
const Own = ownName

// treeFile is the list of a release's files, and treeLimit bounds its size.
const (
	treeFile  = ownName + "/tree"
	treeLimit = 256 << 20
)

// ErrNoTree is the error for a release without a list of its files: it was not installed from a
// bundle.
var ErrNoTree = errors.New("it has no list of its files: it was not installed from a bundle")

// Tree lists the contents of a release: every file with its mode, size and hash, every link with
// its target, every directory. The same bundle at the same path has the same tree, whenever it was
// installed.
type Tree []Entry

// Entry is one file, directory or symbolic link of a tree.
type Entry struct {
	Kind   byte // 'f', 'd', 'l', or 'o' for other types, such as a FIFO
	Mode   uint32
	Size   int64  // of a file
	SHA256 string // of a file
	Target string // of a link
	Path   string
}

// ReadTree lists the contents of dir except the paths in without and everything below them. It
// follows no link.
func ReadTree(ctx context.Context, dir string, without []string) (Tree, error) {
	d, err := beneath.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	w := &treeReader{ctx: ctx, without: without}
	if err := w.read(d, ""); err != nil {
		return nil, err
	}
	slices.SortFunc(w.tree, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	return w.tree, nil
}

type treeReader struct {
	ctx     context.Context //nolint:containedctx // it lives for one reading
	without []string
	tree    Tree
}

// read adds the contents of a directory, whose path in the release is at.
func (w *treeReader) read(d *beneath.Dir, at string) error {
	entries, err := d.ReadDir()
	if err != nil {
		return err
	}
	for _, found := range entries {
		rel := path.Join(at, found.Name())
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		if rel == treeFile || slices.Contains(w.without, rel) {
			continue
		}
		e, err := readEntry(d, found.Name(), rel)
		if err != nil {
			return err
		}
		w.tree = append(w.tree, e)
		if e.Kind == 'd' {
			if err := w.below(d, found.Name(), rel); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *treeReader) below(d *beneath.Dir, name, rel string) error {
	sub, err := d.Sub(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	return w.read(sub, rel)
}

func readEntry(d *beneath.Dir, name, rel string) (Entry, error) {
	st, err := d.Lstat(name)
	if err != nil {
		return Entry{}, err
	}
	e := Entry{Kind: 'o', Mode: st.Mode & 0o7777, Path: rel}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		e.Kind = 'd'
	case unix.S_IFLNK:
		e.Kind = 'l'
		e.Target, err = d.Readlink(name)
	case unix.S_IFREG:
		e.Kind = 'f'
		e.Size, e.SHA256, err = hashFile(d, name, rel == MetadataName)
	}
	return e, err
}

// hashFile reads a regular file. Of release.toml it omits the lines that do not come from the
// bundle: the hash of the tree itself, and the installation time.
func hashFile(d *beneath.Dir, name string, metadata bool) (int64, string, error) {
	f, err := d.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
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

// constant returns a release.toml without the lines that differ between installations.
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

// write writes one line. The writer keeps the error.
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

// parseTree parses a list.
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
	case 'd', 'o':
	default:
		return e, strconv.ErrSyntax
	}
	e.Path, err = strconv.Unquote(path)
	return e, errors.Join(err, errMode, errSize, errTarget)
}
