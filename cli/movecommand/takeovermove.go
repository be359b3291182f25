//go:build linux

package movecommand

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"superctl/setup"
	"superctl/takeover"
	"superctl/takeover/nginx"
	"superctl/takeover/oldserver"
	"superctl/takeover/running"
)

// checkServer decides whether the server can be replaced in place. It returns an error if it cannot
// be replaced at all.
func (t *takeOver) checkServer() error {
	if t.server == nil {
		return nil
	}
	if t.why = takeover.Check(t.server); t.why == nil {
		t.why = takeover.CheckListeners(t.server)
	}
	if t.why != nil {
		if err := takeover.CheckMove(t.server); err != nil {
			return t.refused(err)
		}
	}
	return nil
}

// decideAddress decides on the address of a new config.
func (t *takeOver) decideAddress() {
	switch {
	case t.cc.String("address") != "" || t.server == nil:
	case t.why != nil:
		t.answers.Address = t.machine.FreeAddress(t.answers.Name)
	case len(t.server.Listeners) == 1:
		t.answers.Address = t.server.Listeners[0].String()
	}
	t.answers.InPlace = t.why == nil
}

// decideMove plans how nginx moves to the address of the app.
func (t *takeOver) decideMove(ctx context.Context) error {
	if err := takeover.CheckMove(t.server); err != nil {
		return t.refused(err)
	}
	if len(t.addresses) != 1 {
		return t.refused(fmt.Errorf("the app listens on %s", strings.Join(t.addresses, ", ")))
	}
	address := t.addresses[0]
	if asked := t.cc.String("address"); asked != "" && asked != address {
		return fmt.Errorf("%s has the address %s: leave --address out, or change it there", setup.ConfigPath(t.app), address)
	}
	if slices.ContainsFunc(t.server.Listeners, func(l running.Listener) bool { return l.String() == address }) {
		return t.refused(fmt.Errorf("%s has the address of the old server: change it to another one, such as %s",
			setup.ConfigPath(t.app), t.machine.FreeAddress(t.app)))
	}
	var err error
	if t.move, err = takeover.NewNginxMove(ctx, t.server, t.app, address, t.why); err != nil {
		if errors.Is(err, nginx.ErrNotNamed) {
			err = fmt.Errorf("its configuration does not name %s", t.server.Listeners[0])
		}
		return t.refused(err)
	}
	return nil
}

// refused returns the error of a server that superctl cannot replace, with the way by hand. cannot is
// why nginx is not moved to another port.
func (t *takeOver) refused(cannot error) error {
	if t.server.Kind == running.Unknown || t.manager.Kind != running.Systemd {
		return fmt.Errorf("%w\nsuperctl cannot move nginx to another port instead: %w", t.why, cannot)
	}
	name := strings.TrimSuffix(t.manager.Unit, ".service")
	begin := setup.Command{Args: []string{
		"superctl", "init", "--from", t.manager.Unit, "--address", t.machine.FreeAddress(name),
	}}
	return fmt.Errorf("%w\nsuperctl cannot move nginx to another port instead: %w\nto do that by hand, begin with: %s",
		t.why, cannot, begin)
}

// nginxOutcome is what `takeover --json` prints of a move of nginx.
type nginxOutcome struct {
	Why     string      `json:"why"`     // the server's address cannot be shared
	Address string      `json:"address"` // nginx uses it from then on
	Files   []nginxFile `json:"files"`   // empty if an interrupted takeover has changed them
	Kept    string      `json:"kept"`    // directory of the present files
	Reload  string      `json:"reload"`  // the command that loads them
}

type nginxFile struct {
	Path string `json:"path"`
	Diff string `json:"diff"`
}

// nginxOutcome returns the plan for nginx, or nil.
func (t *takeOver) nginxOutcome() *nginxOutcome {
	if t.move == nil {
		return nil
	}
	o := &nginxOutcome{
		Why: t.whyMove(), Address: t.move.Address, Files: []nginxFile{}, Kept: t.move.Kept,
		Reload: strings.Join(t.move.Nginx.ReloadCommand(), " "),
	}
	for _, f := range t.move.Changes() {
		o.Files = append(o.Files, nginxFile{f.Path, f.Diff()})
	}
	return o
}

// whyMove says why the server is not replaced in place.
func (t *takeOver) whyMove() string {
	var refused *takeover.RefusedError
	if errors.As(t.move.Why, &refused) {
		return refused.Why
	}
	return t.move.Why.Error()
}

// listening returns the addresses of the server.
func (t *takeOver) listening() string {
	var list []string
	for _, l := range t.server.Listeners {
		list = append(list, l.String())
	}
	return strings.Join(slices.Compact(list), ", ")
}

// moveWarnings returns what the user should know of a takeover on another port.
func (t *takeOver) moveWarnings() (list []string) {
	tells := func(f *nginx.File) bool { return strings.Contains(strings.ToLower(f.Old), "x-forwarded-proto") }
	if t.server.TLS && !slices.ContainsFunc(t.move.Nginx.Files, tells) {
		list = append(list, "the app sees requests over HTTP from now on. If it must know that users use HTTPS, add "+
			"\"proxy_set_header X-Forwarded-Proto $scheme;\" to nginx's configuration first")
	}
	for _, l := range t.server.Listeners {
		if l.Addr.IsValid() && !l.Addr.Addr().IsLoopback() {
			list = append(list, fmt.Sprintf("clients that use %s without nginx lose it: tell them %s", l, t.move.Address))
			break
		}
	}
	return list
}

// move prints why the server is replaced on another port, and how nginx's files change.
func (pr printer) move(t *takeOver) {
	fmt.Fprintf(pr.Stdout, "not in place: %s\nso it is replaced on another port, and nginx moves to %s:\n", t.whyMove(), t.move.Address)
	for _, f := range t.move.Changes() {
		pr.diff(f.Diff())
	}
}

// nginxText says what is done to nginx's configuration.
func (t *takeOver) nginxText() string {
	reload := strings.Join(t.move.Nginx.ReloadCommand(), " ")
	var paths []string
	for _, f := range t.move.Changes() {
		paths = append(paths, f.Path)
	}
	if len(paths) == 0 {
		return reload
	}
	return fmt.Sprintf("change %s, nginx -t, %s", strings.Join(paths, ", "), reload)
}

// moveSteps returns the steps of a takeover on another port.
func (t *takeOver) moveSteps(release string) []string {
	unit := "superctl@" + t.app
	return []string{
		"start " + unit + " on " + t.move.Address,
		"switch to " + release + ": it is proved first",
		"enable " + unit,
		t.nginxText() + "; the present files are kept in " + t.move.Kept,
		"when nginx's old workers have finished, stop the old server: " + oldserver.DescribeIdle(t.server),
	}
}
