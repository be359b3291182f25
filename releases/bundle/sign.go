package bundle

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"aead.dev/minisign"
	"github.com/google/renameio/v2"
)

// SignatureSuffix is the suffix of a signature's file name, after the bundle's.
const SignatureSuffix = ".minisig"

// signatureLimit bounds the size of a signature or a key: both are a few lines.
const signatureLimit = 8 << 10

// Key is a public key for verifying signatures.
type Key = minisign.PublicKey

// GenerateKey generates a key pair in minisign's format. With a password the private key is
// encrypted.
func GenerateKey(password string) (public, private []byte, err error) {
	pub, priv, err := minisign.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	if public, err = pub.MarshalText(); err != nil {
		return nil, nil, err
	}
	if password != "" {
		private, err = minisign.EncryptKey(password, priv)
	} else {
		private, err = priv.MarshalText()
	}
	return append(public, '\n'), append(private, '\n'), err
}

// ParseKey parses a public key: the line itself, or a whole minisign key file.
func ParseKey(text []byte) (Key, error) {
	var key Key
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	if err := key.UnmarshalText([]byte(line)); err != nil {
		return key, errors.New("not a minisign public key: it begins with RW and has 56 characters")
	}
	return key, nil
}

// KeyID returns a key's ID as minisign prints it.
func KeyID(id uint64) string { return fmt.Sprintf("%016X", id) }

// PrivateKey parses a private key. It calls password only if the key is encrypted.
func PrivateKey(text []byte, password func() (string, error)) (minisign.PrivateKey, error) {
	var key minisign.PrivateKey
	text = bytes.TrimSpace(text)
	if !minisign.IsEncrypted(text) {
		if err := key.UnmarshalText(text); err != nil {
			return key, errors.New("not a minisign private key")
		}
		return key, nil
	}
	word, err := password()
	if err != nil {
		return key, err
	}
	if key, err = minisign.DecryptKey(word, text); err != nil {
		return key, errors.New("wrong password, or not a minisign private key")
	}
	return key, nil
}

// Sign writes the signature of a file next to it, in minisign's prehashed format. comment is signed
// too. The file must have the given SHA-256: a file that was replaced since the build is not
// signed.
func Sign(path, sha string, key minisign.PrivateKey, comment string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	defer f.Close()
	sum := sha256.New()
	r := minisign.NewReader(io.TeeReader(f, sum))
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("sign %s: %w", path, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != sha {
		return fmt.Errorf("sign %s: it is not the file that was built: it was changed since", path)
	}
	comment = strings.NewReplacer("\n", " ", "\r", " ").Replace(comment)
	sig := r.SignWithComments(key, comment, "signature of a superctl bundle, key "+KeyID(key.ID()))
	sig = append(bytes.TrimRight(sig, "\n"), '\n')
	static := renameio.WithStaticPermissions(0o644)
	if err := renameio.WriteFile(path+SignatureSuffix, sig, 0o644, static); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	return nil
}

// Verified is the key that signed a file, and the signed comment.
type Verified struct{ Key, Comment string }

// Verify reads all of r and checks that sig is a signature of it by one of the keys.
func Verify(r io.Reader, sig []byte, keys []Key) (Verified, error) {
	var s minisign.Signature
	if len(sig) > signatureLimit || s.UnmarshalText(sig) != nil {
		return Verified{}, errors.New("its signature is not a minisign signature")
	}
	var id []string
	var mine *Key
	for i := range keys {
		if keys[i].ID() == s.KeyID {
			mine = &keys[i]
		}
		id = append(id, KeyID(keys[i].ID()))
	}
	if mine == nil {
		return Verified{}, fmt.Errorf("it is signed with key %s, which is not trusted (trusted: %s)",
			KeyID(s.KeyID), cmp.Or(strings.Join(id, ", "), "none"))
	}
	if s.Algorithm != minisign.HashEdDSA {
		return Verified{}, errors.New("its signature has minisign's legacy format, " +
			"which would need the whole file in memory: sign it again without -l")
	}
	in := minisign.NewReader(r)
	if _, err := io.Copy(io.Discard, in); err != nil {
		return Verified{}, err
	}
	if !in.Verify(*mine, sig) {
		return Verified{}, fmt.Errorf("its signature is invalid: the file is not the one signed with key %s",
			KeyID(s.KeyID))
	}
	return Verified{Key: KeyID(s.KeyID), Comment: s.TrustedComment}, nil
}
