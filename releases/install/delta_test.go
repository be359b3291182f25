package install

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"superctl/releases/bundle"
	"superctl/releases/delta"
)

// differenceTo writes a bundle as its difference to the one that is kept, into the same directory.
func differenceTo(t *testing.T, o Options, path string) string {
	t.Helper()
	base, err := Kept(o.Store.Dir)
	must(t, err)
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	var out bytes.Buffer
	must(t, delta.Write(&out, base, f))
	must(t, os.WriteFile(path+delta.Suffix, out.Bytes(), 0o644))
	must(t, os.Remove(path))
	return path + delta.Suffix
}

func TestABundleIsInstalledFromItsDifference(t *testing.T) {
	o := options(t)
	o.Keep = true
	public, private, err := bundle.GenerateKey("")
	must(t, err)
	key, err := bundle.ParseKey(public)
	must(t, err)
	o.Keys = []bundle.Key{key}
	secret, err := bundle.PrivateKey(private, nil)
	must(t, err)
	write := func(version string) string {
		path := filepath.Join(t.TempDir(), "shop-"+version+".tar.zst")
		shop(t).write(t, path, func(m *bundle.Manifest) { m.Version = version })
		sign(t, path, secret)
		return path
	}
	if base, err := Kept(o.Store.Dir); err != nil || base.SHA256 != "" {
		t.Errorf("before the first install: %+v, %v", base, err)
	}
	_, err = Install(t.Context(), write("1.0"), o)
	must(t, err)
	two := differenceTo(t, o, write("2.0"))
	three := differenceTo(t, o, write("3.0"))
	r, err := Install(t.Context(), two, o)
	if err != nil || !r.Changed || r.Release != "2.0" || len(r.Warnings) > 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if base, err := Kept(o.Store.Dir); err != nil || base.SHA256 != r.Bundle {
		t.Errorf("%s is kept after %s, %v", base.SHA256, r.Bundle, err)
	}
	if r, err := Install(t.Context(), three, o); err == nil || r.Changed || r.Steps[len(r.Steps)-1].Name != "fetch" ||
		!strings.Contains(err.Error(), delta.ErrOtherBase.Error()) {
		t.Errorf("a difference to a bundle that is no longer kept: %+v, %v", r, err)
	}
	four, five := differenceTo(t, o, write("4.0")), write("5.0")
	must(t, os.Rename(five+bundle.SignatureSuffix, strings.TrimSuffix(four, delta.Suffix)+bundle.SignatureSuffix))
	if r, err := Install(t.Context(), four, o); err == nil || r.Changed || !strings.Contains(err.Error(), "signature") {
		t.Errorf("a wrong signature: %+v, %v", r, err)
	}
}
