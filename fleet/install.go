package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"superctl/api"
)

// listed is a release in the output of `superctl releases --json`.
type listed struct {
	Name   string `json:"name"`
	Bundle string `json:"bundle"` // SHA-256 of the bundle that it was made from
	Tree   string `json:"tree"`   // hash of the list of its files
}

// made is the output of `superctl install --json`.
type made struct {
	Changed  bool       `json:"changed"`
	Result   api.Result `json:"outcome"`
	Release  string     `json:"release"`
	Bundle   string     `json:"bundle"` // SHA-256
	Tree     string     `json:"tree"`
	Error    string     `json:"error"`
	Warnings []string   `json:"warnings"`
	Steps    []struct {
		Name string `json:"name"`
	} `json:"steps"`
}

// inventoryOf is what a host has after the install.
type inventoryOf struct {
	release  string            // of the bundle
	releases map[string]listed // by name
	skipped  bool              // the host had the release already
}

// install brings the bundle to the hosts that do not have its release. Without a bundle it only asks
// for the releases that they have.
func (r *run) install() {
	r.enter(installing, r.limits.Install)
	for _, m := range r.members {
		r.begin(r.limits.Install, func(ctx context.Context) event {
			have, err := delivery{r}.to(ctx, m.name)
			return event{kind: installed, host: m, value: have, err: err}
		})
	}
}

// delivery brings a release to one host.
type delivery struct{ *run }

func (r delivery) to(ctx context.Context, host string) (*inventoryOf, error) {
	have := &inventoryOf{releases: make(map[string]listed)}
	var list []listed
	if err := ask(ctx, r.transport, host, &list, "releases", "--json"); err != nil {
		return nil, err
	}
	for _, one := range list {
		have.releases[one.Name] = one
		if b := r.Bundle; b != nil && !b.isURL() && one.Bundle == b.SHA256 {
			have.release, have.skipped = one.Name, true
		}
	}
	if r.Bundle == nil || have.skipped {
		return have, nil
	}
	out, err := r.ship(ctx, host)
	if err != nil {
		return nil, err
	}
	have.release, have.releases[out.Release] = out.Release, listed{out.Release, out.Bundle, out.Tree}
	return have, nil
}

// ship installs the bundle on a host. It sends the difference to the bundle that the host has kept,
// and the whole bundle if that does not work, for whatever reason.
func (r delivery) ship(ctx context.Context, host string) (*made, error) {
	if r.Bundle.isURL() {
		return r.installed(func(c Call) error {
			c.Args = append(c.Args, r.Bundle.Path)
			return r.transport.Run(ctx, host, c)
		})
	}
	send := func(b *Bundle) (*made, error) {
		return r.installed(func(c Call) error {
			c.Args = append(c.Args, "--keep")
			return r.transport.Ship(ctx, host, b, c)
		})
	}
	smaller, remove, err := r.difference(ctx, host)
	if isLost(err) {
		return nil, err
	}
	if err != nil || smaller == nil {
		return send(r.Bundle)
	}
	defer remove()
	out, err := send(smaller)
	if err != nil && !isLost(err) && out.notFetched() {
		return send(r.Bundle)
	}
	return out, err
}

// notFetched reports whether an install has ended before the bundle was whole.
func (m *made) notFetched() bool {
	return m == nil || len(m.Steps) == 0 || len(m.Steps) == 1 && m.Steps[0].Name == "fetch"
}

// installed returns what a command of install has done. The result is nil if it printed none.
func (r delivery) installed(run func(Call) error) (*made, error) {
	var text bytes.Buffer
	err := run(Call{Args: []string{"install", "--json"}, Stdout: &text})
	if failure := failureIn(text.Bytes(), err); failure != nil {
		return nil, failure
	}
	var out made
	switch wrong := json.Unmarshal(bytes.TrimSpace(text.Bytes()), &out); {
	case wrong == nil && out.Error != "":
		return &out, errors.New(out.Error)
	case err != nil:
		return nil, err
	case wrong != nil:
		return nil, fmt.Errorf("install: %w", wrong)
	}
	return &out, nil
}

func (r *run) noteInstalled(ev event) {
	m := ev.host
	if ev.err != nil {
		m.err = ev.err
		r.note(m, Refused, m.err.Error())
		exit := api.ExitAborted
		if isLost(m.err) {
			exit = api.ExitUnreachable
		}
		r.abort(exit, on(m, m.err))
		return
	}
	have := ev.value.(*inventoryOf)
	m.releases, m.release = have.releases, have.release
	detail := ""
	if have.skipped {
		detail = "it has " + have.release + " already"
	}
	r.note(m, Installed, detail)
	if !r.settle(m) {
		return
	}
	if r.Bundle != nil {
		r.Release = r.canary().release
		r.result.Release = r.Release
	}
	if err := r.sameTrees(r.members, r.warn); err != nil {
		r.abort(api.ExitAborted, err)
		return
	}
	r.prepare()
}

// sameTrees returns an error if the release is not the same on all hosts, file by file. A release
// that was not installed from a bundle has no list of its files. Releases of one bundle may differ
// where hosts keep them in different directories, or have different versions of Python.
func (p *Plan) sameTrees(members []*member, warn func(string)) error {
	first := members[0]
	for _, m := range members[1:] {
		if p.Bundle != nil && m.release != first.release {
			return fmt.Errorf("the bundle is %s on %s and %s on %s", first.release, first.name, m.release, m.name)
		}
		a, b := first.releases[p.Release], m.releases[p.Release]
		switch {
		case a.Tree == "" || b.Tree == "" || a.Tree == b.Tree:
		case a.Bundle != "" && a.Bundle == b.Bundle:
			warn(fmt.Sprintf("the files of %s differ on %s and %s, although it is of one bundle: they have different paths "+
				"or versions of Python", p.Release, first.name, m.name))
		default:
			return fmt.Errorf("%s is not the same on %s and %s: install it again on the one that is wrong, and run "+
				"superctl verify %s there", p.Release, first.name, m.name, p.Release)
		}
	}
	return nil
}

// warn adds a warning to the result, once.
func (r *run) warn(text string) {
	if !slices.Contains(r.warnings, text) {
		r.warnings = append(r.warnings, text)
	}
}
