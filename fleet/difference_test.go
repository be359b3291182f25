package fleet

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"superctl/releases/delta"
)

// keeper is a transport to a host that has kept a bundle.
type keeper struct {
	t      *testing.T
	kept   []byte // nil = none
	broken bool   // it refuses differences
	sent   []string
	got    []byte // the bundle as the host has put it together
	size   int    // bytes that were sent
}

func (k *keeper) Run(_ context.Context, _ string, c Call) error {
	if !slices.Equal(c.Args, []string{"install", "--kept"}) {
		k.t.Errorf("run %q", c.Args)
	}
	base := &delta.Base{}
	if k.kept != nil {
		base, _ = delta.BaseOf(bytes.NewReader(k.kept)) // of memory: it does not fail
	}
	return json.NewEncoder(c.Stdout).Encode(base)
}

func sha(t *testing.T, text string) (sum [32]byte) {
	t.Helper()
	if n, err := hex.Decode(sum[:], []byte(text)); n != len(sum) {
		t.Error(err)
	}
	return sum
}

func (k *keeper) Ship(_ context.Context, _ string, b *Bundle, c Call) error {
	k.sent = append(k.sent, filepath.Base(b.sent()))
	data, err := os.ReadFile(b.sent())
	if err != nil {
		k.t.Error(err)
	}
	k.size += len(data)
	k.got = data
	if b.Delta != "" {
		if k.broken {
			_, _ = io.WriteString(c.Stdout, `{"error": "fetch: the delta is to another file", "steps": [{"name": "fetch"}]}`)
			return &ExitError{Code: 1}
		}
		base, _ := delta.BaseOf(bytes.NewReader(k.kept))
		r, err := delta.Read(bytes.NewReader(data), bytes.NewReader(k.kept), sha(k.t, base.SHA256))
		if err == nil {
			k.got, err = io.ReadAll(r)
		}
		if err != nil {
			k.t.Error(err)
		}
	}
	_, _ = io.WriteString(c.Stdout, `{"outcome": "done", "release": "2"}`)
	return nil
}

func TestWhatAHostHasIsNotSentAgain(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	old := make([]byte, 2<<20)
	_, _ = random.Read(old) // never fails
	next := slices.Concat(old[:1<<20], []byte("a changed file"), old[1<<20:])
	path := filepath.Join(t.TempDir(), "shop-2.tar.zst")
	if err := os.WriteFile(path, next, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		host keeper
		sent []string
		most int
	}{
		"a difference":    {keeper{kept: old}, []string{"shop-2.tar.zst.delta"}, 100 << 10},
		"nothing is kept": {keeper{}, []string{"shop-2.tar.zst"}, len(next)},
		"another bundle":  {keeper{kept: []byte("another")}, []string{"shop-2.tar.zst"}, len(next)},
		"a difference is wrong": {
			keeper{kept: old, broken: true}, []string{"shop-2.tar.zst.delta", "shop-2.tar.zst"}, 3 << 20,
		},
	} {
		c.host.t = t
		r := delivery{&run{Plan: Plan{Bundle: &Bundle{Path: path, Release: "2", SHA256: "x"}}, transport: &c.host}}
		out, err := r.ship(t.Context(), "web1")
		if err != nil || out.Release != "2" || !bytes.Equal(c.host.got, next) || !slices.Equal(c.host.sent, c.sent) ||
			c.host.size > c.most {
			t.Errorf("%s: %+v, %v, sent %q with %d bytes", name, out, err, c.host.sent, c.host.size)
		}
	}
}

func TestABundleThatIsRefusedIsNotSentTwice(t *testing.T) {
	var m *made
	if !m.notFetched() {
		t.Error("without an answer nothing is known")
	}
	m = &made{}
	if err := json.Unmarshal([]byte(`{"error": "x", "steps": [{"name": "fetch"}, {"name": "verify"}]}`), m); err != nil {
		t.Fatal(err)
	}
	if m.notFetched() {
		t.Error("it was fetched, and refused")
	}
}
