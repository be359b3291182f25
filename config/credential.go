package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// credentialName matches names that systemd and every shell accept.
var credentialName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]*$`)

// maxCredentialName is the maximum length of a file name in bytes.
const maxCredentialName = 255

// credentialUse is a variable whose value is a credential of the unit.
type credentialUse struct {
	key, name string
	position
}

// credential parses { credential = "NAME" }.
func (l *loader) credential(key string, table map[string]any) string {
	for _, k := range slices.Sorted(maps.Keys(table)) {
		if k != "credential" {
			l.at(key+"."+k, `unknown key %q; a variable is a string, or { credential = "NAME" }`, key+"."+k)
		}
	}
	v, ok := table["credential"]
	name, isText := v.(string)
	switch {
	case !ok:
		l.at(key, `%s: a string is expected, in quotes, or { credential = "NAME" }`, key)
	case !isText || len(name) > maxCredentialName || !credentialName.MatchString(name):
		l.at(key+".credential",
			"credential %v: write the name that it has in LoadCredential= of the unit, of letters, digits, -, _, "+
				". and @", quoted(v))
	default:
		l.c.credentials = append(l.c.credentials, credentialUse{key, name, l.where[key]})
	}
	return name
}

func quoted(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprint(v)
}

// Credentials returns the names of the unit's credentials that variables use.
func (c *Config) Credentials() []string {
	var names []string
	for _, u := range c.credentials {
		names = append(names, u.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// CheckCredentials returns an error at the place of each variable whose credential cannot be used.
// why returns the reason, or nil.
func (c *Config) CheckCredentials(why func(name string) error) error {
	var errs []error
	for _, u := range c.credentials {
		if err := why(u.name); err != nil {
			errs = append(errs, &Error{c.Path, u.line, u.column, fmt.Sprintf("%s: %v", u.key, err)})
		}
	}
	return errors.Join(errs...)
}
