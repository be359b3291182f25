package install

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"
)

// A signature says who has made a bundle, not what it may be used for: whoever serves bundles can serve another one that is
// signed as well. So what a bundle says of itself is compared with what was asked for.

// versioned is a file name that names a version, such as shop-1.2.tar.zst or shop-v3.tar.zst.
var versioned = regexp.MustCompile(`^.+-v?[0-9].*\.tar\.zst$`)

// asked refuses a bundle that is not the one that was asked for: of another app, or of another version than the file's name has. A
// name that says nothing, such as shop-latest.tar.zst, may hold any version.
func (in *install) asked(word string) error {
	m := in.Manifest
	if in.Name != "" && m.Name != in.Name {
		return fmt.Errorf("it is a bundle of %s, and this app takes those of %s: if it is the right one, write name = %q in [install]", m.Name, in.Name, m.Name)
	}
	file := fileName(word)
	rest, own := strings.CutPrefix(file, m.Name+"-")
	if file == m.File() || own && !versioned.MatchString("x-"+rest) || !own && !versioned.MatchString(file) {
		return nil
	}
	return fmt.Errorf("%s was asked for, and this is %s: another bundle was put in its place. If it is the right one, give the file its own name", file, m.File())
}

// fileName is the last name of a path or an address.
func fileName(word string) string {
	if strings.Contains(word, "://") {
		if u, err := url.Parse(word); err == nil {
			word = u.Path
		}
	}
	return path.Base(word)
}

// notOlder refuses a signed bundle that is older than another one of its name that is installed, unless it was asked for. Without
// keys nobody's bundles are trusted more than others, and a version is what its name says.
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
			return fmt.Errorf("it is of %s, and %s, which is installed, of %s: --older installs an older one", day(at), r.Name, day(then))
		}
	}
	return nil
}

func made(built, committed time.Time) time.Time {
	if built.IsZero() {
		return committed
	}
	return built
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
