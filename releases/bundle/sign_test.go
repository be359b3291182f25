package bundle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// signed returns a signed file and its key. The key has no password: encrypting it with minisign's
// scrypt would take a gigabyte and seconds.
func signed(t *testing.T) (path string, key Key) {
	t.Helper()
	public, private, err := GenerateKey("")
	if err != nil {
		t.Fatal(err)
	}
	if key, err = ParseKey(public); err != nil {
		t.Fatal(err)
	}
	priv, err := PrivateKey(private, nil)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "shop-1.tar.zst")
	if err := os.WriteFile(path, []byte("a bundle"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = Sign(path, hash("another"), priv, "")
	if err == nil || !strings.Contains(err.Error(), "is not the file that was built") {
		t.Error(err)
	}
	if err := Sign(path, hash("a bundle"), priv, "built by anna\nat noon"); err != nil {
		t.Fatal(err)
	}
	return path, key
}

func verify(t *testing.T, text string, sig []byte, keys ...Key) (Verified, error) {
	t.Helper()
	return Verify(strings.NewReader(text), sig, keys)
}

func TestASignatureIsVerifiedWithItsComment(t *testing.T) {
	path, key := signed(t)
	sig, err := os.ReadFile(path + SignatureSuffix)
	if err != nil {
		t.Fatal(err)
	}
	_, other := signed(t)
	v, err := verify(t, "a bundle", sig, other, key)
	if err != nil || v.Comment != "built by anna at noon" || v.Key != KeyID(key.ID()) {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestAnInvalidSignatureIsRefused(t *testing.T) {
	path, key := signed(t)
	sig, err := os.ReadFile(path + SignatureSuffix)
	if err != nil {
		t.Fatal(err)
	}
	_, other := signed(t)
	for name, bad := range map[string]struct {
		text, sig string
		keys      []Key
		says      string
	}{
		"another file": {"a bundlf", string(sig), []Key{key}, "its signature is invalid"},
		"another key":  {"a bundle", string(sig), []Key{other}, "(trusted: " + KeyID(other.ID())},
		"no key":       {"a bundle", string(sig), nil, "(trusted: none)"},
		"another comment": {
			"a bundle", strings.Replace(string(sig), "anna", "eve", 1), []Key{key}, "its signature is invalid",
		},
		"nothing":   {"a bundle", "", []Key{key}, "not a minisign signature"},
		"cut short": {"a bundle", string(sig[:len(sig)/2]), []Key{key}, "not a minisign signature"},
		"something endless": {
			"a bundle", string(sig) + strings.Repeat("x", signatureLimit), []Key{key}, "not a minisign signature",
		},
	} {
		_, err := verify(t, bad.text, []byte(bad.sig), bad.keys...)
		if err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnInvalidKeyIsReported(t *testing.T) {
	_, err := PrivateKey([]byte("ssh-ed25519 AAAA"), nil)
	if err == nil || !strings.Contains(err.Error(), "not a minisign private key") {
		t.Errorf("an SSH key: %v", err)
	}
	_, err = ParseKey([]byte("RWnonsense"))
	if err == nil || !strings.Contains(err.Error(), "not a minisign public key") {
		t.Errorf("nonsense: %v", err)
	}
}
