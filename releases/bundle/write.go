package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// window is the window size of the compression, and so the memory that a reader needs: RFC 8878
// recommends that every decoder support 8 MB.
const window = 8 << 20

// Write writes a bundle. It sorts the members; open returns the content of each member that is not
// a link, which must match the manifest. The same manifest produces the same bytes, on any machine
// and at any time.
func Write(w io.Writer, m *Manifest, open func(Member) (io.ReadCloser, error)) error {
	m.Format = Format
	slices.SortFunc(m.Members, func(a, b Member) int { return strings.Compare(a.Path, b.Path) })
	if err := m.Check(); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	// One thread: several would cut the blocks differently.
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if err := write(z, m, open); err != nil {
		return errors.Join(err, z.Close())
	}
	return z.Close()
}

func write(w io.Writer, m *Manifest, open func(Member) (io.ReadCloser, error)) error {
	text, err := m.encode()
	if err != nil {
		return fmt.Errorf("bundle: manifest: %w", err)
	}
	if len(text) > manifestLimit {
		return fmt.Errorf("bundle: the manifest has %d bytes, more than the limit of %d", len(text), manifestLimit)
	}
	t := tar.NewWriter(w)
	if err := t.WriteHeader(header(m, &Member{Path: manifestName, Mode: 0o644, Size: int64(len(text))})); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	if _, err := io.Copy(t, bytes.NewReader(text)); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	for i := range m.Members {
		if err := writeMember(t, m, &m.Members[i], open); err != nil {
			return fmt.Errorf("bundle: member %s: %w", m.Members[i].Path, err)
		}
	}
	return t.Close()
}

// header returns a member's header, with nothing that depends on the machine.
func header(m *Manifest, e *Member) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.Path, Mode: int64(e.Mode), Size: e.Size, ModTime: m.Time()}
	if e.Link != "" {
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.Link, 0o777
	}
	return h
}

// Time is the modification time of every file of the release, the same on every machine: web
// servers derive the ETag from it.
func (m *Manifest) Time() time.Time {
	for _, t := range []time.Time{m.Built, m.Committed} {
		if !t.IsZero() {
			return t.UTC().Truncate(time.Second)
		}
	}
	return time.Unix(0, 0).UTC()
}

func writeMember(t *tar.Writer, m *Manifest, e *Member, open func(Member) (io.ReadCloser, error)) error {
	if err := t.WriteHeader(header(m, e)); err != nil || e.Link != "" {
		return err
	}
	content, err := open(*e)
	if err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(t, sum), io.LimitReader(content, e.Size+1))
	if err = errors.Join(err, content.Close()); err != nil && !errors.Is(err, tar.ErrWriteTooLong) {
		return err
	}
	if n != e.Size || hex.EncodeToString(sum.Sum(nil)) != e.SHA256 {
		return errors.New("it changed while the bundle was built")
	}
	return nil
}

// Sum returns the size and the SHA-256 of a file.
func Sum(path string) (size int64, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), err
}
