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

// SignatureSuffix is what the name of a bundle's signature has more than that of the bundle.
const SignatureSuffix = ".minisig"

// signatureLimit bounds what is read of a signature or a key: both are a few lines.
const signatureLimit = 8 << 10

// Key is a public key with which signatures are verified.
type Key = minisign.PublicKey

// GenerateKey makes a pair of keys in minisign's format. With a password the private one is encrypted.
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

// ParseKey reads a public key: the line itself, or a whole file of minisign's.
func ParseKey(text []byte) (Key, error) {
	var key Key
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	if err := key.UnmarshalText([]byte(line)); err != nil {
		return key, errors.New("it is no public key of minisign's, which begins with RW and has 56 characters")
	}
	return key, nil
}

// KeyID is the number by which people tell keys apart, as minisign prints it.
func KeyID(id uint64) string { return fmt.Sprintf("%016X", id) }

// PrivateKey reads a private key. password is asked for only when the key is encrypted.
func PrivateKey(text []byte, password func() (string, error)) (minisign.PrivateKey, error) {
	var key minisign.PrivateKey
	text = bytes.TrimSpace(text)
	if !minisign.IsEncrypted(text) {
		if err := key.UnmarshalText(text); err != nil {
			return key, errors.New("it is no private key of minisign's")
		}
		return key, nil
	}
	word, err := password()
	if err != nil {
		return key, err
	}
	if key, err = minisign.DecryptKey(word, text); err != nil {
		return key, errors.New("the password is wrong, or it is no private key of minisign's")
	}
	return key, nil
}

// Sign writes the signature of the file beside it, in minisign's format, which hashes the file first. comment is signed too. The file
// must have that SHA-256: what was built is signed, whatever has been put in its place since.
func Sign(path, sha string, key minisign.PrivateKey, comment string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	defer f.Close() //nolint:errcheck // for reading only
	sum := sha256.New()
	r := minisign.NewReader(io.TeeReader(f, sum))
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("sign %s: %w", path, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != sha {
		return fmt.Errorf("sign %s: it is not the file that was built: somebody has changed it meanwhile", path)
	}
	comment = strings.NewReplacer("\n", " ", "\r", " ").Replace(comment)
	sig := r.SignWithComments(key, comment, "signature of a superctl bundle, key "+KeyID(key.ID()))
	if err := renameio.WriteFile(path+SignatureSuffix, append(bytes.TrimRight(sig, "\n"), '\n'), 0o644, renameio.WithStaticPermissions(0o644)); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	return nil
}

// Verified says which key has signed, and what the signature says beside it.
type Verified struct{ Key, Comment string }

// Verify reads all of r and tells whether sig is a signature of it by one of the keys.
func Verify(r io.Reader, sig []byte, keys []Key) (Verified, error) {
	var s minisign.Signature
	if len(sig) > signatureLimit || s.UnmarshalText(sig) != nil {
		return Verified{}, errors.New("its signature is none of minisign's")
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
		return Verified{}, fmt.Errorf("it is signed with the key %s, and trusted is %s", KeyID(s.KeyID), cmp.Or(strings.Join(id, ", "), "none"))
	}
	if s.Algorithm != minisign.HashEdDSA {
		return Verified{}, errors.New("its signature is of minisign's old kind, for which all of it would have to be in memory: sign it again, without -l")
	}
	in := minisign.NewReader(r)
	if _, err := io.Copy(io.Discard, in); err != nil {
		return Verified{}, err
	}
	if !in.Verify(*mine, sig) {
		return Verified{}, fmt.Errorf("its signature is wrong: it is not what was signed with the key %s", KeyID(s.KeyID))
	}
	return Verified{Key: KeyID(s.KeyID), Comment: s.TrustedComment}, nil
}
