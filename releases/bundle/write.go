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

// window is how far back the compression looks, and so what a reader needs in memory: RFC 8878 recommends that every decoder
// takes 8 MB.
const window = 8 << 20

// Write writes a bundle. It puts the members in order; open gives the content of each that is no link, which must be what the
// manifest says of it. The same manifest makes the same bytes, whoever writes it and when.
func Write(w io.Writer, m *Manifest, open func(Member) (io.ReadCloser, error)) error {
	m.Format = Format
	slices.SortFunc(m.Members, func(a, b Member) int { return strings.Compare(a.Path, b.Path) })
	if err := m.Check(); err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	// One thread: the blocks of several would be cut differently.
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
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
		return fmt.Errorf("bundle: the manifest has %d bytes, more than the %d that are read", len(text), manifestLimit)
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

// header says nothing that differs from machine to machine.
func header(m *Manifest, e *Member) *tar.Header {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.Path, Mode: int64(e.Mode), Size: e.Size, ModTime: m.Time()}
	if e.Link != "" {
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.Link, 0o777
	}
	return h
}

// Time is what every file of the release has for its time of change, on every machine: web servers make their ETag of it.
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
		return errors.New("it has changed while the bundle was made")
	}
	return nil
}

// Sum reads a file for its size and its SHA-256.
func Sum(path string) (size int64, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close() //nolint:errcheck // for reading only
	h := sha256.New()
	size, err = io.Copy(h, f)
	return size, hex.EncodeToString(h.Sum(nil)), err
}
