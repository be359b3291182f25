package bundle

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
)

// Visitor gets what is in a bundle, in its order. An error from it ends the reading and is returned as it is.
type Visitor struct {
	// Manifest is called first, with a manifest that is right in itself.
	Manifest func(*Manifest) error
	// Member is called for each member, with the content of a file. What it gets is not proved until the reading ends without
	// an error: the hash is known at the end of a member.
	Member func(m Member, content io.Reader) error
}

// Read reads a bundle from its beginning to its end, with memory for a window and a manifest. Whatever is not as the manifest
// says ends it.
func Read(r io.Reader, v Visitor) (*Manifest, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(window),
		zstd.WithDecoderMaxMemory(math.MaxInt64)) // of a whole stream; the window is the limit
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
		return nil, in.explain(errors.Join(errors.New("there is more behind its end"), ignoreEOF(err)))
	}
	return m, nil
}

// ReadManifest reads only what a bundle says of itself.
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
	at  string // the member that is read, for what is said of a damage
}

// visitorError is one that a visitor has returned.
type visitorError struct{ error }

func (e *visitorError) Unwrap() error { return e.error }

// explain says what an error of the layers below means.
func (in *reader) explain(err error) error {
	var theirs *visitorError
	switch {
	case errors.As(err, &theirs):
		return theirs.error
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("the bundle is cut short, at %s: fetch it again", in.at)
	case errors.Is(err, zstd.ErrMagicMismatch):
		return errors.New("this is no bundle: it is not compressed with zstd")
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("the bundle wants more than %d MB of memory to be read", window>>20)
	case errors.Is(err, zstd.ErrCRCMismatch):
		return fmt.Errorf("the bundle is damaged, at %s: fetch it again", in.at)
	case errors.Is(err, tar.ErrHeader) && in.at == "its beginning":
		return errors.New("this is no bundle: there is no tar archive in it")
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
		return fmt.Errorf("member %q is where its manifest has %q", h.Name, e.Path)
	case e.Link != "" && (h.Typeflag != tar.TypeSymlink || h.Linkname != e.Link):
		return fmt.Errorf("member %q is not the link to %q that its manifest says", e.Path, e.Link)
	case e.Link == "" && h.Typeflag != tar.TypeReg:
		return fmt.Errorf("member %q is no regular file", e.Path)
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
		if damaged.err != nil { // what the visitor met is the bundle's fault, not its own
			return damaged.err
		}
		return err
	}
	if _, err := io.Copy(io.Discard, content); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != e.SHA256 {
		return fmt.Errorf("member %q is not what its manifest says: its SHA-256 is %s, not %s", e.Path, got, e.SHA256)
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

// damage remembers an error of the bundle's that a visitor passes on.
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
