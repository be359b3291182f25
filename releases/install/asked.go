package install

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"
)

// A signature proves who built a bundle, not what it is meant for: the operator of a bundle server
// can serve a different signed bundle. So a bundle's name and version are compared with the
// request.

// versioned matches a file name with a version, such as shop-1.2.tar.zst or shop-v3.tar.zst.
var versioned = regexp.MustCompile(`^.+-v?[0-9].*\.tar\.zst$`)

// asked refuses a bundle that was not requested: of another app, or of another version than the
// file name has. A file name without a version, such as shop-latest.tar.zst, may contain any
// version.
func (in *install) asked(word string) error {
	m := in.Manifest
	if in.Name != "" && m.Name != in.Name {
		return fmt.Errorf("it is a bundle of %s, and this app installs bundles of %s: if it is the right one, "+
			"write name = %q in [install]",
			m.Name, in.Name, m.Name)
	}
	file := fileName(withoutDelta(word))
	rest, own := strings.CutPrefix(file, m.Name+"-")
	if file == m.File() || own && !versioned.MatchString("x-"+rest) || !own && !versioned.MatchString(file) {
		return nil
	}
	return fmt.Errorf("%s was requested, and this is %s: it was replaced by another bundle. If it is the right one, "+
		"give the file its own name",
		file, m.File())
}

// fileName returns the last element of a path or of a URL's path.
func fileName(word string) string {
	if strings.Contains(word, "://") {
		if u, err := url.Parse(word); err == nil {
			word = u.Path
		}
	}
	return path.Base(word)
}

// notOlder refuses a signed bundle that is older than an installed one of the same app, unless
// Older is set. Without keys nothing is proved about a bundle's age, so it is not checked.
func (in *install) notOlder() error {
	m := in.Manifest
	at := made(m.Built, m.Committed)
	if len(in.Keys) == 0 || in.Older || at.IsZero() {
		return nil
	}
	list, err := in.Store.List()
	if err != nil {
		return err
	}
	for i := range list {
		r := &list[i]
		if then := made(r.Built, r.Committed); r.Bundle != "" && r.Project == m.Name && then.After(at) {
			return fmt.Errorf("it is from %s, and the installed %s is from %s: use --older to install an older one",
				day(at), r.Name, day(then))
		}
	}
	return nil
}

// made returns the time of a build, or else of its commit.
func made(built, committed time.Time) time.Time {
	if built.IsZero() {
		return committed
	}
	return built
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
