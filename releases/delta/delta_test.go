package delta

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

func random(seed uint64, n int) []byte {
	rnd := rand.NewChaCha8([32]byte{byte(seed)})
	data := make([]byte, n)
	_, _ = rnd.Read(data) // never fails
	return data
}

// difference returns the delta from one file to another.
func difference(t *testing.T, from, to []byte) []byte {
	t.Helper()
	base, err := BaseOf(bytes.NewReader(from))
	if err != nil || base.SHA256 != fmt.Sprintf("%x", sha256.Sum256(from)) {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Write(&out, base, bytes.NewReader(to)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func apply(delta, base []byte) ([]byte, error) {
	r, err := Read(bytes.NewReader(delta), bytes.NewReader(base), sha256.Sum256(base))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestADeltaGivesTheFileAndIsSmall(t *testing.T) {
	old := random(1, 1<<20)
	for name, to := range map[string][]byte{
		"the same":  old,
		"changed":   slices.Concat(old[:1<<18], []byte("changed"), old[1<<18+7:]),
		"longer":    slices.Concat(old[:1<<19], random(2, 5000), old[1<<19:]),
		"shorter":   slices.Concat(old[:100], old[1<<18:]),
		"moved":     slices.Concat(old[1<<19:], old[:1<<19]),
		"empty":     {},
		"all other": random(3, 100),
	} {
		d := difference(t, old, to)
		if got, err := apply(d, old); err != nil || !bytes.Equal(got, to) {
			t.Errorf("%s: %d bytes instead of %d, %v", name, len(got), len(to), err)
		}
		if len(d) > 80<<10 {
			t.Errorf("%s: the delta has %d bytes", name, len(d))
		}
	}
}

func TestADamagedDeltaIsRefused(t *testing.T) {
	old := random(1, 1<<16)
	to := slices.Concat(old[:1<<15], random(2, 3000), old[1<<15:])
	d := difference(t, old, to)
	if _, err := apply(d, random(4, 1<<16)); !errors.Is(err, ErrOtherBase) {
		t.Errorf("another base: %v", err)
	}
	for at := range d {
		if at > 200 && at%97 != 0 {
			continue
		}
		bad := slices.Clone(d)
		bad[at] ^= 1
		if got, err := apply(bad, old); err == nil && !bytes.Equal(got, to) {
			t.Errorf("byte %d is changed, and that is not noticed", at)
		}
		if _, err := apply(d[:at], old); err == nil {
			t.Errorf("cut after %d bytes, and that is not noticed", at)
		}
	}
	short := old[:len(old)-1]
	r, err := Read(bytes.NewReader(d), bytes.NewReader(short), sha256.Sum256(old)) // the base was truncated meanwhile
	if err == nil {
		_, err = io.ReadAll(r)
	}
	if err == nil {
		t.Error("a base that was cut is not noticed")
	}
}
