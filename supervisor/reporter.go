package supervisor

import (
	"fmt"

	"go.uber.org/zap"
)

// reporter is what a change tells its client, the log and the history while it runs. None of it has a
// secret value of the two releases.
type reporter struct {
	of        *change
	events    chan Event // for the client; a client that does not read delays nothing
	followers followers  // other clients that follow the change
	warnings  []string
}

// emit reports whether the client gets the event. What hooks write leaves room for the steps.
func (r *reporter) emit(ev Event) bool {
	if ev.Type != "output" { // a transcript's is clean
		ev.Detail = r.clean(ev.Detail)
	}
	r.followers.tell(ev)
	return pass(r.events, ev)
}

// dropEvents waits for the end of a change without a client.
func (r *reporter) dropEvents() {
	for range r.events {
	}
	<-r.of.done
}

func (r *reporter) warn(format string, args ...any) {
	text := r.clean(fmt.Sprintf(format, args...))
	r.warnings = append(r.warnings, text)
	r.of.owner.log.Warn(text, zap.String("kind", string(r.of.req.Kind)))
}

// clean is a text of the application's, or with one in it, as it may be kept and sent.
func (r *reporter) clean(s string) string {
	if r.of.from != nil {
		s = r.of.from.plan.redactor.Text(s)
	}
	return r.of.plan.redactor.Text(s)
}

// errorText is an error as it may be kept and sent; "" for none.
func (r *reporter) errorText(err error) string {
	if err == nil {
		return ""
	}
	return r.clean(err.Error())
}

func (r *reporter) cleanAll(lines []string) (clean []string) {
	for _, line := range lines {
		clean = append(clean, r.clean(line))
	}
	return clean
}
