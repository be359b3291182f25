package setup

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

//go:embed ask.py
var askProgram string

// askMark begins a line of the program's answer. The project writes all other lines.
const askMark = "@superctl "

// AskTime is how long a project may take to say what its settings are.
const AskTime = time.Minute

// Run runs a command as a user without privileges and calls line with each line of its output.
type Run func(ctx context.Context, args []string, line func(string)) error

// Settings are the settings of a Django project that matter to the files of a plan.
type Settings struct {
	SecretKey    bool     `json:"secret_key"` // there is one
	Debug        bool     `json:"debug"`
	AllowedHosts []string `json:"allowed_hosts"`
	SSLRedirect  bool     `json:"ssl_redirect"`
	ProxyHeader  []string `json:"proxy_header"` // of SECURE_PROXY_SSL_HEADER: its name in the WSGI environment, its value
	PrependWWW   bool     `json:"prepend_www"`
	StaticURL    string   `json:"static_url"`
	StaticRoot   string   `json:"static_root"` // absolute
	Manifest     string   `json:"manifest"`    // file of the storage of static files; "" = it has none, "?" = not known
	MediaURL     string   `json:"media_url"`
	MediaRoot    string   `json:"media_root"`
	WSGI         string   `json:"wsgi"`
	ASGI         string   `json:"asgi"`
	WhiteNoise   bool     `json:"whitenoise"`
	Databases    []string `json:"databases"` // files of SQLite databases
	Needs        []string `json:"needs"`     // variables without which the settings fail
	Reads        []string `json:"reads"`     // variables that they read and that are not set
	Health       []string `json:"-"`         // those of Project.Health that have a view
	Resolved     bool     `json:"-"`         // Health is known
}

// Ask asks the project for its settings, with the interpreter of its virtualenv. It returns an
// error if the project could not answer.
func (p *Project) Ask(ctx context.Context, run Run) (*Settings, error) {
	paths, err := json.Marshal(append([]string{}, p.Health...))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, AskTime, fmt.Errorf("no answer within %s", AskTime))
	defer cancel()
	args := []string{
		filepath.Join(p.Dir, p.Venv, "bin", "python"), "-B", "-c", askProgram, filepath.Join(p.Dir, p.Root),
		p.Settings, string(paths),
	}
	var a answer
	err = run(ctx, args, a.line)
	switch {
	case a.settings != nil:
		return a.settings, nil // even if the views could not be imported
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case a.failed != "":
		return nil, errors.New(a.failed)
	case err != nil:
		return nil, err
	}
	return nil, errors.New("the project ended without an answer")
}

// answer is what the program has said.
type answer struct {
	settings *Settings
	failed   string
}

func (a *answer) line(line string) {
	text, ours := strings.CutPrefix(line, askMark)
	if !ours {
		return
	}
	var kind string
	var what json.RawMessage
	if json.Unmarshal([]byte(text), &[]any{&kind, &what}) != nil {
		return
	}
	switch kind {
	case "settings":
		var s Settings
		if json.Unmarshal(what, &s) == nil {
			a.settings = &s
		}
	case "paths":
		if a.settings != nil && json.Unmarshal(what, &a.settings.Health) == nil {
			a.settings.Resolved = true
		}
	case "error":
		_ = json.Unmarshal(what, &a.failed) // an answer that cannot be read is none
	}
}
