package bundle

import (
	"archive/tar"
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Visitor receives the contents of a bundle in order. An error from it ends the reading and is
// returned unwrapped.
type Visitor struct {
	// Manifest is called first, with a manifest that is valid in itself.
	Manifest func(*Manifest) error
	// Member is called for each member, with the content of a file. The content is verified only
	// once the reading has ended without an error: a member's hash is known at its end.
	Member func(m Member, content io.Reader) error
}

// magic begins a frame of zstd (RFC 8878, 3.1.1).
const magic = "\x28\xb5\x2f\xfd"

var errNoZstd = errors.New("not a bundle: it is not compressed with zstd")

// Read reads a whole bundle, with memory for a window and a manifest. Any contradiction to the
// manifest is an error.
func Read(r io.Reader, v Visitor) (*Manifest, error) {
	begins := bufio.NewReaderSize(r, len(magic))
	if first, _ := begins.Peek(len(magic)); !strings.HasPrefix(magic, string(first)) { // fewer bytes are left to the reader
		return nil, errNoZstd
	}
	z, err := zstd.NewReader(begins, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(window),
		zstd.WithDecoderMaxMemory(math.MaxInt64)) // limits the whole stream; the window is the limit that matters
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	defer z.Close()
	in := &reader{tar: tar.NewReader(z), v: v, at: "its beginning"}
	m, err := in.read()
	if err != nil {
		return nil, in.explain(err)
	}
	if n, err := z.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		in.at = "its last member"
		return nil, in.explain(errors.Join(errors.New("there is data after its end"), ignoreEOF(err)))
	}
	return m, nil
}

// ReadManifest reads only the manifest of a bundle.
func ReadManifest(r io.Reader) (*Manifest, error) {
	var m *Manifest
	_, err := Read(r, Visitor{Manifest: func(first *Manifest) error { m = first; return errEnough }})
	if errors.Is(err, errEnough) {
		return m, nil
	}
	return nil, err
}

var errEnough = errors.New("enough was read")

type reader struct {
	tar *tar.Reader
	v   Visitor
	at  string // the current member, for error messages
}

// visitorError is an error that a visitor returned.
type visitorError struct{ error }

func (e *visitorError) Unwrap() error { return e.error }

// explain translates an error of the archive or of the compression.
func (in *reader) explain(err error) error {
	var theirs *visitorError
	switch {
	case errors.As(err, &theirs):
		return theirs.error
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("the bundle is cut short, at %s: fetch it again", in.at)
	case errors.Is(err, zstd.ErrMagicMismatch):
		return errNoZstd
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("the bundle needs more than %d MB of memory to read", window>>20)
	case errors.Is(err, zstd.ErrCRCMismatch):
		return fmt.Errorf("the bundle is damaged, at %s: fetch it again", in.at)
	case errors.Is(err, tar.ErrHeader) && in.at == "its beginning":
		return errors.New("not a bundle: it contains no tar archive")
	}
	return fmt.Errorf("the bundle is refused: %w", err)
}

func (in *reader) read() (*Manifest, error) {
	h, err := in.tar.Next()
	if err != nil {
		return nil, err
	}
	if h.Name != manifestName || h.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("it begins with %q instead of a manifest", h.Name)
	}
	if h.Size > manifestLimit {
		return nil, fmt.Errorf("its manifest has %d bytes, and at most %d are read", h.Size, manifestLimit)
	}
	in.at = "its manifest"
	m, err := decode(in.tar)
	if err != nil {
		return nil, err
	}
	if in.v.Manifest != nil {
		if err := in.v.Manifest(m); err != nil {
			return nil, &visitorError{err}
		}
	}
	for i := range m.Members {
		in.at = "member " + m.Members[i].Path
		if err := in.member(&m.Members[i]); err != nil {
			return nil, err
		}
	}
	if h, err := in.tar.Next(); err == nil {
		return nil, fmt.Errorf("member %q is not in its manifest", h.Name)
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return m, nil
}

// member reads the next member, which must be e.
func (in *reader) member(e *Member) error {
	h, err := in.tar.Next()
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("member %q of its manifest is missing", e.Path)
	}
	if err != nil {
		return err
	}
	switch {
	case h.Name != e.Path:
		return fmt.Errorf("member %q is in the place of %q", h.Name, e.Path)
	case e.Link != "" && (h.Typeflag != tar.TypeSymlink || h.Linkname != e.Link):
		return fmt.Errorf("member %q is not the link to %q that its manifest lists", e.Path, e.Link)
	case e.Link == "" && h.Typeflag != tar.TypeReg:
		return fmt.Errorf("member %q is not a regular file", e.Path)
	case h.Size != e.Size:
		return fmt.Errorf("member %q has %d bytes, and its manifest says %d", e.Path, h.Size, e.Size)
	}
	if e.Link != "" {
		return in.visit(e, nil)
	}
	sum := sha256.New()
	content := io.TeeReader(in.tar, sum)
	damaged := &damage{r: content}
	if err := in.visit(e, damaged); err != nil {
		if damaged.err != nil { // the visitor failed because the bundle is damaged
			return damaged.err
		}
		return err
	}
	if _, err := io.Copy(io.Discard, content); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != e.SHA256 {
		return fmt.Errorf("member %q does not match its manifest: its SHA-256 is %s, not %s", e.Path, got, e.SHA256)
	}
	return nil
}

func (in *reader) visit(e *Member, content io.Reader) error {
	if in.v.Member == nil {
		return nil
	}
	if err := in.v.Member(*e, content); err != nil {
		return &visitorError{err}
	}
	return nil
}

// damage records an error of the bundle that reaches the visitor through its reader.
type damage struct {
	r   io.Reader
	err error
}

func (d *damage) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		d.err = err
	}
	return n, err
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
