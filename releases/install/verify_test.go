package install

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"superctl/releases/bundle"
)

func TestOnlyBundlesSignedByATrustedKeyAreInstalled(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "b")
	shop(t).write(t, path, nil)
	keys := make([]bundle.Key, 2)
	for i := range keys {
		public, private, err := bundle.GenerateKey("")
		must(t, err)
		keys[i], err = bundle.ParseKey(public)
		must(t, err)
		secret, err := bundle.PrivateKey(private, nil)
		must(t, err)
		copied := fmt.Sprintf("%s%d", path, i)
		must(t, os.Link(path, copied))
		sign(t, copied, secret)
	}
	o := options(t)
	o.Keys = keys[:1]
	unsigned := "it is not signed, and [trust] requires a signature of " + bundle.KeyID(keys[0].ID())
	untrusted := "it is signed with key " + bundle.KeyID(keys[1].ID())
	for file, says := range map[string]string{path: unsigned, path + "1": untrusted} {
		if _, err := Install(t.Context(), file, o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", file, err)
		}
	}
	r, err := Install(t.Context(), path+"0", o)
	if err != nil || !strings.Contains(r.Steps[1].Detail, bundle.KeyID(keys[0].ID())) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestTheVerifiedFileIsTheOneInstalled(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "shop-1.0.tar.zst"), filepath.Join(dir, "other")
	shop(t).write(t, path, func(m *bundle.Manifest) { m.Smoke = [][]string{{"true"}} })
	shop(t).write(t, other, func(m *bundle.Manifest) {
		m.Commit = strings.Repeat("e",
			40)
		m.Smoke = [][]string{{"false"}}
	})
	evil, err := os.ReadFile(other)
	must(t, err)
	public, private, err := bundle.GenerateKey("")
	must(t, err)
	key, err := bundle.ParseKey(public)
	must(t, err)
	secret, err := bundle.PrivateKey(private, nil)
	must(t, err)
	sign(t, path, secret)
	o := options(t)
	o.Keys = []bundle.Key{key}
	o.Event = func(e Event) { // its owner rewrites the file in place, as soon as it is fetched
		if e.Type == "end" && e.Step == "fetch" {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
			must(t, err)
			_, err = f.Write(evil)
			must(t, errors.Join(err, f.Close()))
		}
	}
	r, err := Install(t.Context(), path, o)
	must(t, err)
	if made, err := o.Store.Get(r.Path); err != nil || !strings.HasPrefix(made.Commit, "4be9") {
		t.Errorf("%+v, %v", made, err)
	}
}
