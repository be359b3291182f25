//go:build linux

package movecommand

import (
	"errors"
	"fmt"
	"strings"

	"superctl/cli/terminal"
	"superctl/daemon"
	"superctl/releases"
	"superctl/takeover/eject"
)

// ejectOutcome is what `eject --json` prints.
type ejectOutcome struct {
	App      string     `json:"app"`
	Address  string     `json:"address"`
	Units    []string   `json:"units"` // the plain ones: the socket unit, its service, those of background processes
	Files    []initFile `json:"files"`
	Warnings []string   `json:"warnings"`
	Steps    []string   `json:"steps"`   // what is going to happen, or was done
	Changed  bool       `json:"changed"` // by this command
	Done     bool       `json:"done"`    // the plain units serve, and superctl has ended
	Kept     bool       `json:"kept"`    // the eject was given up, and superctl serves as before
	Error    string     `json:"error,omitempty"`
}

// say shows a step, and keeps it for --json.
func (e *ejection) say(text string) {
	e.did = append(e.did, text)
	if !e.cc.Bool("json") {
		fmt.Fprintf(e.Stdout, "%s %s\n", terminal.PaletteFor(e.Stdout).Green("did"), text)
	}
}

func (e *ejection) outcome(changed, done bool, err error) *ejectOutcome {
	var kept *eject.KeptError
	out := &ejectOutcome{
		App: e.conf.App, Address: e.site.Listen.Address, Units: append([]string{e.site.Socket(), e.site.Service()}, e.site.Others()...),
		Files: filesOf(e.plan), Steps: append([]string{}, e.did...), Changed: changed, Kept: errors.As(err, &kept),
		Done: done, Warnings: e.warnings(),
	}
	if !done && !e.cc.Bool("apply") {
		out.Steps = e.steps()
	}
	if err != nil {
		out.Error = err.Error()
	}
	return out
}

// warnings says what an eject cannot save.
func (e *ejection) warnings() []string {
	list := []string{}
	if e.daemon.PID != 0 && daemon.CommandOf(e.conf, releases.Release{}, e.web).Server == "cheroot" {
		list = append(list, "cheroot shuts down the connections that clients keep open when it ends: a client that uses one at "+
			"that moment loses that request")
	}
	return list
}

// steps says what is going to happen.
func (e *ejection) steps() (list []string) {
	s := e.site
	if e.daemon.PID != 0 {
		list = []string{
			"write the units, and start " + s.Service() + " next to superctl, which keeps all connections",
			s.Service() + " must answer the health check within " + e.web.StartTimeout.String(),
			"all new connections go to " + s.Service() + "; superctl's workers finish their requests within " +
				longestDrain(e.conf).String(),
		}
	}
	if others := s.Others(); len(others) > 0 {
		list = append(list, "superctl has ended: start "+strings.Join(others, ", "))
	}
	return append(list, "disable "+e.unit+", and enable the plain units")
}

// ejectPlan prints what was found, and what is going to happen.
func (pr printer) ejectPlan(e *ejection) {
	p := terminal.PaletteFor(pr.Stdout)
	switch {
	case e.daemon.PID != 0:
		fmt.Fprintf(pr.Stdout, "%s superctl (pid %d) on %s, started by %s\n", p.Bold("Found"), e.daemon.PID, e.site.Listen.Address, e.unit)
	default:
		fmt.Fprintf(pr.Stdout, "%s %s on %s; superctl does not run\n", p.Bold("Found"), e.site.Service(), e.site.Listen.Address)
	}
	if e.installed() {
		fmt.Fprintf(pr.Stdout, "The units are written already.\n")
	}
	for _, w := range e.warnings() {
		terminal.Prose(pr.Stdout, "%s %s", p.Yellow("warning:"), w)
	}
	pr.planFiles(e.plan)
	fmt.Fprintf(pr.Stdout, "\n%s of the app %s:\n", p.Bold("Eject"), e.conf.App)
	for i, step := range e.steps() {
		terminal.Prose(pr.Stdout, "%4d. %s", i+1, step)
	}
}

// conclude prints the verdict.
func (e *ejection) conclude(changed bool, err error) error {
	if e.cc.Bool("json") {
		if also := e.JSON(e.outcome(changed, err == nil, err)); also != nil {
			return also
		}
	}
	var kept *eject.KeptError
	switch {
	case errors.As(err, &kept):
		return fmt.Errorf("%w\nsuperctl serves %s as before", err, e.conf.App)
	case err != nil:
		return fmt.Errorf("%w\n%s serves; to go on, run the same command again", err, e.site.Service())
	case e.cc.Bool("json"):
	case changed:
		fmt.Fprintf(e.Stdout, "%s: %s %s on %s; superctl has ended\n", e.conf.App, e.site.Service(),
			terminal.PaletteFor(e.Stdout).Green("serves"), e.site.Listen.Address)
	default:
		fmt.Fprintf(e.Stdout, "%s serves %s already; %s\n", e.site.Service(), e.site.Listen.Address,
			terminal.PaletteFor(e.Stdout).Green("nothing to do"))
	}
	return nil
}
