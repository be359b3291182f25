package config

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"superctl/releases/bundle"
)

// installTable is [install], and trustTable is [trust], as written.
type installTable struct {
	Name   string `toml:"name"`
	Python string `toml:"python"`
}

type trustTable struct {
	Keys []string `toml:"keys"`
}

// Install is [install] and [trust]: how a bundle becomes a release, and which signatures it needs.
type Install struct {
	Name   string // of the bundles to install
	Python string // path of the interpreter; "" = the one in PATH that the bundle needs
	// one of these must have signed a bundle, each a line or the path of a file; none = signatures
	// are not checked
	Keys []string
}

func (l *loader) install() Install {
	in := Install{
		Name:   cmp.Or(l.f.Install.Name, l.f.App),
		Python: l.path("install.python", l.f.Install.Python), Keys: l.f.Trust.Keys,
	}
	if l.f.Install.Name != "" {
		if err := bundle.CheckName("name", l.f.Install.Name); err != nil {
			l.at("install.name", "%v", err)
		}
	}
	for _, key := range in.Keys {
		if strings.HasPrefix(key, "/") {
			continue // read when it is used
		}
		if _, err := bundle.ParseKey([]byte(key)); err != nil {
			l.at("trust.keys",
				`keys: %q: write the second line of a public key of superctl keygen or minisign, such as "RW...", `+
					`or the path of its file, from /`, key)
		}
	}
	if in.Keys != nil && len(in.Keys) == 0 {
		l.at("trust.keys",
			"keys: the list is empty, so that no bundle could be installed: name a key, or leave keys out to take "+
				"any bundle")
	}
	return in
}

// TrustedKeys returns the keys of [trust].
func (c *Config) TrustedKeys() ([]bundle.Key, error) {
	var keys []bundle.Key
	for _, key := range c.Install.Keys {
		text := []byte(key)
		if strings.HasPrefix(key, "/") {
			var err error
			if text, err = os.ReadFile(key); err != nil {
				return nil, &Error{File: c.Path, Msg: fmt.Sprintf("trust.keys: %v", err)}
			}
		}
		one, err := bundle.ParseKey(text)
		if err != nil {
			return nil, &Error{File: c.Path, Msg: fmt.Sprintf("trust.keys: %s: %v", key, err)}
		}
		keys = append(keys, one)
	}
	return keys, nil
}
