package fleet

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"

	"superctl/releases/bundle"
)

// Bundle is the bundle that a deploy brings to the hosts.
type Bundle struct {
	Path    string // a file of this machine; or a URL, which each host fetches by itself
	Release string // its version; "" if it is a URL
	SHA256  string // of the file; "" if it is a URL
	// Delta is a file with the difference to the bundle that a host has kept, which is sent in place of
	// Path; "" = none. Its name is that of the bundle with .delta.
	Delta string
}

// ReadBundle reads which release a bundle makes.
func ReadBundle(word string) (*Bundle, error) {
	if strings.Contains(word, "://") {
		return &Bundle{Path: word}, nil
	}
	f, err := os.Open(word)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	defer f.Close()
	m, err := bundle.ReadManifest(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", word, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return nil, err
	}
	return &Bundle{Path: word, Release: m.Version, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

func (b *Bundle) isURL() bool { return b.SHA256 == "" }

// sent returns the file that is sent for the bundle.
func (b *Bundle) sent() string { return cmp.Or(b.Delta, b.Path) }

// files returns the files that are sent.
func (b *Bundle) files() []string {
	files := []string{b.sent()}
	if _, err := os.Stat(b.Path + bundle.SignatureSuffix); err == nil {
		files = append(files, b.Path+bundle.SignatureSuffix)
	}
	return files
}
