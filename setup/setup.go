// Package setup prepares a machine to run a project under superctl.
//
// It looks at a project and at the machine, decides what the app is made of (a Site), and plans the
// files and commands that make it: a config, a file of secrets, a drop-in of the unit and a site of
// nginx. Everything up to the plan is a function of what was found, so the same project on the same
// machine always gives the same plan, and a plan that was applied is empty the next time.
//
// Only Apply changes anything. The project is less trusted than root: its files are read without
// following a link out of it, its code runs only through the Run that the caller passes, and what
// belongs below a directory of the app's user is made as that user.
package setup

import (
	"fmt"
	"strings"
)

// Fact is one thing that was found.
type Fact struct {
	Name   string `json:"name"`  // such as "framework"
	Value  string `json:"value"` // such as "Django 5.2"
	Source string `json:"source,omitempty"`
	Guess  bool   `json:"guess,omitempty"` // likely, but another answer is possible
}

// Site is an app to be run: everything that the files of a plan are made of.
type Site struct {
	App      string
	User     string // of the daemon and its workers
	Base     string // directory of the app, such as /srv/shop
	Releases string
	Current  string
	EnvFile  string   // "" = none
	Release  string   // a release in which root makes the links of Shared; "" = superctl makes them
	Checkout string   // directory of a project that has no release yet; "" = it has one
	Python   Python   // of the checkout's virtualenv
	Collect  *Collect // by the build of a release of the checkout; nil = nothing

	Listen    []Listener
	Processes []Process
	Before    []string   // hooks
	Env       []Variable // in the config
	Secrets   []Variable // in EnvFile; a Value of "" is for the administrator to fill in
	Shared    []Shared
	Assets    *Assets  // static files of all releases; nil = nginx serves those of the live one
	Writable  []string // directories outside Base that the app writes to
	Keep      int      // how many releases to keep; 0 = the default
	UnitLines []string // directives for [Unit] of the unit, NAME=VALUE
	DropIn    []string // directives for [Service]

	Nginx *Nginx // nil = nginx is not set up
}

// Collect is how a build collects the static files of Django. A hook cannot: an installed release is
// read-only.
type Collect struct {
	Command string
	Path    string     // what it makes, in the release
	Env     []Variable // what the settings need, with values that only let them be read
}

// Assets is the [assets] table: a directory in each release, and the one that nginx serves.
type Assets struct{ From, To string }

// Listener is a [listen.NAME] table.
type Listener struct{ Name, Address, Mode, Group string }

// Process is a [process.NAME] table.
type Process struct {
	Name    string
	Command string
	Comment string // behind the command
	Listen  []string
	Keys    []Key
	Env     []Variable
	Health  []Key // of [process.NAME.health]; nil = no table
}

// Key is a key of a table, its value in TOML, and a comment.
type Key struct{ Name, TOML, Comment string }

// Variable is an environment variable.
type Variable struct{ Name, Value string }

// Shared is a path in every release that leads to what all releases share.
type Shared struct {
	Path, Target string
	File         bool // not a directory
}

// Nginx is the site of nginx.
type Nginx struct {
	Domains   []string
	Address   string // of the listener, as in the config
	UWSGI     bool   // the listener speaks uWSGI's protocol
	Cert, Key string // "" = no HTTPS yet
	Upgrade   bool   // pass WebSockets on
	// the header that says how the user came, for a setting such as Django's SECURE_PROXY_SSL_HEADER;
	// "" = X-Forwarded-Proto alone
	SchemeHeader, SchemeValue string
	Locations                 []Location
}

// Location is a directory that nginx serves by itself.
type Location struct{ URL, Path string }

// UnknownError is a question that only the user can answer.
type UnknownError struct {
	Name     string // of the flag, such as "domain"
	Question string // such as "the domain of the site"
	Flag     string // that answers it, such as "--domain shop.example.com"
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("%s is unknown: use %s", e.Question, e.Flag)
}

// appName returns a valid name of an app made from a text, or "".
func appName(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
			b.WriteRune(r)
		case r == '.' || r == ' ':
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String(), "-_")[:min(len(strings.Trim(b.String(), "-_")), maxName)]
}

// maxName is the length of the longest name: a user's (useradd(8)).
const maxName = 32
