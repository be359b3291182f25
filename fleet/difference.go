package fleet

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"superctl/releases/delta"
)

// worthwhile is the greatest part of a bundle that its difference may be: above it the bundle is
// sent as a whole.
const worthwhile = 0.7

// difference returns the bundle with its difference to the one that a host has kept, and a function
// that removes the file; nil if the host has kept none, or if the difference is too large.
func (r delivery) difference(ctx context.Context, host string) (smaller *Bundle, remove func(), err error) {
	var base delta.Base
	if err := ask(ctx, r.transport, host, &base, "install", "--kept"); err != nil || base.SHA256 == "" {
		return nil, nil, err
	}
	f, err := os.Open(r.Bundle.Path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	whole, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "superctl-delta-")
	if err != nil {
		return nil, nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) } // of a temporary directory
	path := filepath.Join(dir, filepath.Base(r.Bundle.Path)+delta.Suffix)
	size, err := writeDelta(path, &base, f)
	if err != nil || float64(size) > worthwhile*float64(whole.Size()) {
		remove()
		return nil, nil, err
	}
	with := *r.Bundle
	with.Delta = path
	return &with, remove, nil
}

func writeDelta(path string, base *delta.Base, bundle *os.File) (size int64, err error) {
	out, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(delta.Write(out, base, bundle), out.Close()); err != nil {
		return 0, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
