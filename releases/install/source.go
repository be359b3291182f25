package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"superctl/releases/bundle"
)

// source is a file that can be read from any offset.
type source interface {
	// open opens the file at an offset. tag is that of an earlier stream to be continued; "" =
	// none. If the file has changed since, the stream starts at 0.
	open(ctx context.Context, from int64, tag string) (*stream, error)
	String() string // for messages, without secrets
}

// stream is the content of a source from an offset.
type stream struct {
	io.ReadCloser
	from int64
	size int64  // of the whole file; -1 = unknown
	tag  string // changes with the file; "" = unknown, so that it must be read from the beginning
	once bool   // an error would occur again, so there is no retry
}

// finalError is an error after which a retry makes no sense.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// missing wraps an error as fs.ErrNotExist.
func missing(err error) error { return &finalError{fmt.Errorf("%w%w", err, silent{fs.ErrNotExist})} }

// silent wraps an error for errors.Is without adding text.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// SourceError is the error when a word is not a valid source of a bundle.
type SourceError struct{ error }

func (e *SourceError) Unwrap() error { return e.error }

// sources returns the bundle and its signature.
func (o *Options) sources(word string) (file, signature source, err error) {
	scheme, _, isURL := strings.Cut(word, "://")
	if !isURL {
		return o.localSources(word)
	}
	u, err := url.Parse(word)
	if err != nil {
		// The parser's own error would contain a password.
		return nil, nil, &SourceError{fmt.Errorf("this %s:// address cannot be read; "+
			"write blanks and %% as %%20 and %%25", scheme)}
	}
	switch strings.ToLower(u.Scheme) {
	case "https", "http":
		client, err := o.webClient(u)
		if err != nil {
			return nil, nil, err
		}
		u, err := login(u, os.Getenv)
		if err != nil {
			return nil, nil, err
		}
		return &web{o, client, u}, &web{o, client, signatureURL(u)}, nil
	case "s3":
		bucket, err := o.openBucket(u)
		if err != nil {
			return nil, nil, err
		}
		return bucket.object(u), bucket.object(signatureURL(u)), nil
	case "file":
		return localFile(u.Path), localFile(signatureURL(u).Path), nil
	}
	return nil, nil, &SourceError{fmt.Errorf("unknown scheme %s://: a bundle is a file, "+
		"or comes from https:// or s3://BUCKET/KEY",
		scheme)}
}

// localSources returns the bundle and its signature on this machine.
func (o *Options) localSources(word string) (file, signature source, err error) {
	path, err := filepath.Abs(word)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: the current directory does not exist any more: write the whole path", word)
	}
	if whole := withoutDelta(path); whole != path {
		return deltaFile{localFile(path), o.Store.Dir}, localFile(whole + bundle.SignatureSuffix), nil
	}
	return localFile(path), localFile(path + bundle.SignatureSuffix), nil
}

// signatureURL returns the URL of the signature of a bundle.
func signatureURL(u *url.URL) *url.URL {
	sig := *u
	sig.Path, sig.RawPath = u.Path+bundle.SignatureSuffix, ""
	if u.RawPath != "" {
		sig.RawPath = u.RawPath + bundle.SignatureSuffix
	}
	return &sig
}

// localFile is a file on this machine.
type localFile string

func (f localFile) String() string { return string(f) }

func (f localFile) open(ctx context.Context, from int64, _ string) (*stream, error) {
	r, err := os.OpenFile(string(f), os.O_RDONLY|syscall.O_NONBLOCK, 0) // do not block on a FIFO
	if err != nil {
		return nil, &finalError{err}
	}
	st, err := r.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", f)
	}
	if err == nil {
		_, err = r.Seek(from, io.SeekStart)
	}
	if err != nil {
		return nil, &finalError{errors.Join(err, r.Close())}
	}
	return &stream{ReadCloser: untilEnd{ctx, r}, from: from, size: st.Size(), once: true}, nil
}

// untilEnd is a reader that fails once ctx has ended.
type untilEnd struct {
	ctx context.Context //nolint:containedctx // an io.Reader cannot be cancelled otherwise
	io.ReadCloser
}

func (r untilEnd) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.ReadCloser.Read(p)
}

// signatureLimit bounds the size of a signature.
const signatureLimit = 8 << 10

// readSignature reads a signature. If it is missing the error is fs.ErrNotExist.
func (o *Options) readSignature(ctx context.Context, s source) ([]byte, error) {
	var text []byte
	err := o.retry(ctx, func(ctx context.Context) (bool, error) {
		in, err := s.open(ctx, 0, "")
		if err != nil {
			return false, err
		}
		defer in.Close()
		text, err = io.ReadAll(io.LimitReader(in, signatureLimit+1))
		return false, err
	})
	return text, err
}
