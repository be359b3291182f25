package releases

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// separators are what names of packages may have between words: all mean the same (PEP 503).
var separators = regexp.MustCompile(`[-_.]+`)

// Packages returns the versions of the packages in a release's virtualenv, by normalized name. It
// reads the names of their .dist-info directories, and runs nothing.
func (r Release) Packages() (map[string]string, error) {
	venv := r.Virtualenv()
	if venv == "" {
		return nil, errors.New("release " + r.Name + " has no virtualenv")
	}
	dirs, _ := filepath.Glob(filepath.Join(venv, "lib", "python*", "site-packages")) // the pattern is valid
	if len(dirs) == 0 {
		return nil, errors.New("release " + r.Name + " has no site-packages in " + venv)
	}
	found := make(map[string]string)
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			base, isInfo := strings.CutSuffix(e.Name(), ".dist-info")
			name, version, ok := strings.Cut(base, "-")
			if isInfo && ok {
				found[strings.ToLower(separators.ReplaceAllString(name, "-"))] = version
			}
		}
	}
	return found, nil
}
