package api

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RunReport is how a run over several hosts has ended, as its client reports it to one of them, whose
// daemon notifies the team.
type RunReport struct {
	Kind     string   `json:"kind"`            // deploy, switch, rollback, reload, maintenance
	Fleet    string   `json:"fleet,omitempty"` // its name, such as production
	Result   Result   `json:"outcome"`
	Release  string   `json:"release,omitempty"`  // the release that all hosts should run
	Previous string   `json:"previous,omitempty"` // the release before, if it was the same on all hosts
	Hosts    []string `json:"hosts"`              // on which that is how it ended
	Behind   []string `json:"behind,omitempty"`   // those that run another release, or may
	Error    string   `json:"error,omitempty"`
	// Maintenance is what a run of the kind maintenance did: MaintenanceOn or MaintenanceOff.
	Maintenance string  `json:"maintenance,omitempty"`
	Seconds     float64 `json:"seconds,omitempty"`
	Who         string  `json:"who"` // set by the control server from the peer's credentials, never by the client
	Origin              // likewise, but for the run
}

const (
	maxHosts     = 1000
	maxHostName  = 255  // characters
	maxRunReason = 4000 // characters of an error
)

// Validate returns an error that says what is wrong with the report.
func (r *RunReport) Validate() error {
	printable := func(text string, limit int) bool {
		return utf8.RuneCountInString(text) <= limit &&
			!strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) })
	}
	switch {
	case r.Run == "":
		return errors.New("missing option --run ID")
	case r.Result != Done && r.Result != Aborted && r.Result != Reverted:
		return fmt.Errorf("invalid outcome %q: use %s, %s or %s", r.Result, Done, Aborted, Reverted)
	case (r.Kind == string(Maintenance)) != (r.Maintenance == MaintenanceOn || r.Maintenance == MaintenanceOff):
		return fmt.Errorf("invalid maintenance %q: a run of the kind maintenance, and no other, has on or off", r.Maintenance)
	case len(r.Hosts)+len(r.Behind) == 0 || len(r.Hosts) > maxHosts || len(r.Behind) > maxHosts:
		return fmt.Errorf("a report has 1 to %d hosts", maxHosts)
	case !printable(r.Error, maxRunReason):
		return fmt.Errorf("invalid error: use at most %d printable characters", maxRunReason)
	}
	for _, word := range append(append([]string{r.Kind, r.Fleet, r.Release, r.Previous}, r.Hosts...), r.Behind...) {
		if !printable(word, maxHostName) {
			return fmt.Errorf("invalid name %q: use at most %d printable characters", word, maxHostName)
		}
	}
	return r.Origin.Validate()
}
