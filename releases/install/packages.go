package install

import (
	"path"

	"superctl/releases/bundle"
	"superctl/releases/wheel"
)

// Packages returns the versions of the packages that a bundle installs, by normalized name.
func Packages(m *bundle.Manifest) map[string]string {
	found := make(map[string]string)
	for i := range m.Members {
		if path.Dir(m.Members[i].Path) != bundle.Wheels {
			continue
		}
		if n, err := wheel.ParseName(m.Members[i].Path); err == nil { // else the install refuses it
			found[n.Normal()] = n.Version
		}
	}
	return found
}
