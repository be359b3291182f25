// Package delta describes a file as its difference to another one, of which the writer knows only
// the chunks: where the content itself says that a chunk ends (content-defined chunking), so that
// what was inserted or removed changes only the chunks around it.
//
// The reader checks the hash of the file that it gets: it is the file of the writer, byte for byte,
// or an error.
package delta

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"

	"github.com/restic/chunker"
)

// Suffix is what the name of a file has in addition if it is only the difference to another one.
const Suffix = ".delta"

// The bounds of chunks. Small ones find more that is the same, and make the list of them longer: with
// 4 KB the list of a bundle of 20 MB has 60 KB, and a changed file costs 100 KB.
const (
	averageBits = 12
	minChunk    = 1 << 10
	maxChunk    = 1 << 15
)

// polynomial is that of the documentation of package chunker. Both sides must have the same.
const polynomial = chunker.Pol(0x3DA3358B4DC173)

// Sum identifies a chunk: the beginning of its SHA-256. A wrong one is noticed by the hash of the
// whole file.
type Sum [12]byte

// Base is what the writer knows of the file that the reader has.
type Base struct {
	SHA256 string `json:"sha256"` // in hex; "" = there is no file
	Sums   []byte `json:"sums"`   // of the chunks, in order, one Sum after the other
	Sizes  []int  `json:"sizes"`
}

// BaseOf returns the chunks of a file.
func BaseOf(r io.Reader) (*Base, error) {
	b, all := &Base{}, sha256.New()
	err := chunks(io.TeeReader(r, all), func(data []byte) error {
		sum := sumOf(data)
		b.Sums, b.Sizes = append(b.Sums, sum[:]...), append(b.Sizes, len(data))
		return nil
	})
	b.SHA256 = hex.EncodeToString(all.Sum(nil))
	return b, err
}

func sumOf(data []byte) (s Sum) {
	all := sha256.Sum256(data)
	copy(s[:], all[:])
	return s
}

// chunks calls f with each chunk of a file.
func chunks(r io.Reader, f func(data []byte) error) error {
	c := chunker.NewWithBoundaries(r, polynomial, minChunk, maxChunk)
	c.SetAverageBits(averageBits)
	buf := make([]byte, maxChunk)
	for {
		one, err := c.Next(buf)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := f(one.Data); err != nil {
			return err
		}
	}
}

// magic begins a delta.
const magic = "superctl delta 1\n"

// The kinds of the parts of a delta.
const (
	end     = 0
	copied  = 1 // from the base: its offset and length
	literal = 2 // its length, and the bytes
)

// Write writes the file as its difference to base. Its content is r, which is read twice.
func Write(w io.Writer, base *Base, r io.ReadSeeker) error {
	of, err := hex.DecodeString(base.SHA256)
	if err != nil || len(of) != sha256.Size || len(base.Sums) != len(base.Sizes)*len(Sum{}) {
		return errors.New("delta: the list of chunks is damaged")
	}
	at := make(map[Sum]int64, len(base.Sizes))
	offset := int64(0)
	for i, size := range base.Sizes {
		at[Sum(base.Sums[i*len(Sum{}):])] = offset
		offset += int64(size)
	}
	all := sha256.New()
	if _, err := io.Copy(all, r); err != nil {
		return err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	out := &writer{w: bufio.NewWriter(w)}
	out.bytes([]byte(magic), of, all.Sum(nil))
	err = chunks(r, func(data []byte) error {
		if from, ok := at[sumOf(data)]; ok {
			out.copy(from, int64(len(data)))
		} else {
			out.flush()
			out.numbers(literal, int64(len(data)))
			out.bytes(data)
		}
		return out.err
	})
	out.flush()
	out.numbers(end)
	return errors.Join(err, out.err, out.w.Flush())
}

// writer writes parts; copies that follow each other in the base are one.
type writer struct {
	w            *bufio.Writer
	from, length int64 // of the copy that is not written yet
	err          error
}

func (w *writer) copy(from, length int64) {
	if w.length > 0 && w.from+w.length == from {
		w.length += length
		return
	}
	w.flush()
	w.from, w.length = from, length
}

func (w *writer) flush() {
	if w.length > 0 {
		w.numbers(copied, w.from, w.length)
	}
	w.length = 0
}

func (w *writer) numbers(list ...int64) {
	for _, n := range list {
		w.bytes(binary.AppendUvarint(nil, uint64(n))) // none is negative
	}
}

func (w *writer) bytes(list ...[]byte) {
	for _, b := range list {
		if w.err == nil {
			_, w.err = w.w.Write(b)
		}
	}
}

// ErrOtherBase is the error when a delta is to another file than the reader has.
var ErrOtherBase = errors.New("the delta is to another file")

// reader reads the file that a delta describes.
type reader struct {
	in   *bufio.Reader
	base io.ReaderAt
	part io.Reader // the rest of the current part
	want [sha256.Size]byte
	all  hash.Hash
}

// Read returns a reader of the file that a delta describes. Its last read is an error unless the
// hash is right, so nothing may be done with the content before io.EOF. BaseSHA256 is the hash of
// base, which must not change meanwhile.
func Read(in io.Reader, base io.ReaderAt, baseSHA256 [sha256.Size]byte) (io.Reader, error) {
	r := &reader{in: bufio.NewReader(in), base: base, part: eof{}, all: sha256.New()}
	head := make([]byte, len(magic)+2*sha256.Size)
	if _, err := io.ReadFull(r.in, head); err != nil || string(head[:len(magic)]) != magic {
		return nil, errors.Join(errors.New("not a delta"), err)
	}
	if [sha256.Size]byte(head[len(magic):]) != baseSHA256 {
		return nil, ErrOtherBase
	}
	copy(r.want[:], head[len(magic)+sha256.Size:])
	return r, nil
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// Read returns the next bytes of the file.
func (r *reader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		n, err := r.part.Read(p)
		if n > 0 {
			r.all.Write(p[:n])
			return n, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

// next begins the next part.
func (r *reader) next() error {
	kind, err := binary.ReadUvarint(r.in)
	if err != nil {
		return cutShort(err)
	}
	switch kind {
	case end:
		if [sha256.Size]byte(r.all.Sum(nil)) != r.want {
			return errors.New("the delta does not give the file that it was made from")
		}
		return io.EOF
	case copied:
		from, err := r.number()
		if err != nil {
			return err
		}
		length, err := r.number()
		if err != nil {
			return err
		}
		r.part = &exactly{io.NewSectionReader(r.base, from, length), length}
	case literal:
		length, err := r.number()
		if err != nil {
			return err
		}
		r.part = &exactly{io.LimitReader(r.in, length), length}
	default:
		return fmt.Errorf("the delta has an unknown part %d", kind)
	}
	return nil
}

func (r *reader) number() (int64, error) {
	n, err := binary.ReadUvarint(r.in)
	if err == nil && n > math.MaxInt32 {
		err = fmt.Errorf("the delta has a part of %d bytes", n)
	}
	return int64(min(n, math.MaxInt32)), cutShort(err)
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// exactly is a part that must have all of its bytes.
type exactly struct {
	io.Reader
	left int64
}

// Read returns the next bytes of the part, and an error if it ends early.
func (e *exactly) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	e.left -= int64(n)
	if errors.Is(err, io.EOF) && e.left > 0 {
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}
