package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"superctl/releases/bundle"
)

// verify verifies the signature of the private copy and then reads its manifest. The members are
// checked against the manifest when they are unpacked.
func (in *install) verify(ctx context.Context, word string, signature source) error {
	return in.step(ctx, "verify", func(ctx context.Context) (string, error) {
		detail, err := in.signed(ctx, signature)
		if err != nil {
			return "", err
		}
		if in.Manifest, err = bundle.ReadManifest(in.reader(ctx, nil)); err != nil {
			return "", err
		}
		return detail, in.asked(word)
	})
}

// signed reads the whole file, for its signature and its hash.
func (in *install) signed(ctx context.Context, signature source) (string, error) {
	sum := sha256.New()
	all := io.TeeReader(in.reader(ctx, in.progress("verify")), sum)
	if len(in.Keys) == 0 {
		_, err := io.Copy(io.Discard, all)
		in.Bundle = hex.EncodeToString(sum.Sum(nil))
		return "no signature is required: [trust] names no keys", err
	}
	text, err := in.readSignature(ctx, signature)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("it is not signed, and [trust] requires a signature of %s: %s does not exist. "+
			"Sign it where it is built: superctl build --sign KEY", in.trusted(), signature)
	}
	if err != nil {
		return "", fmt.Errorf("its signature: %w", err)
	}
	found, err := bundle.Verify(all, text, in.Keys)
	if err != nil {
		return "", err
	}
	in.Bundle = hex.EncodeToString(sum.Sum(nil))
	return "signed with the key " + found.Key, nil
}

// trusted returns the IDs of the keys of [trust].
func (in *install) trusted() string {
	text := ""
	for i := range in.Keys {
		if i > 0 {
			text += " or "
		}
		text += bundle.KeyID(in.Keys[i].ID())
	}
	return text
}

// reader reads the bundle from its beginning, until ctx ends.
func (in *install) reader(ctx context.Context, note func(done, all int64)) *reader {
	return &reader{ctx: ctx, r: io.NewSectionReader(in.file, 0, in.size), all: in.size, note: note}
}

type reader struct {
	ctx       context.Context //nolint:containedctx // an io.Reader cannot be cancelled otherwise
	r         io.Reader
	done, all int64
	note      func(done, all int64)
}

func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	n, err := r.r.Read(p)
	r.done += int64(n)
	if r.note != nil {
		r.note(r.done, r.all)
	}
	return n, err
}
