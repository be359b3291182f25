package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"superctl/api"
	"superctl/plain"
)

// announceTime limits how long the hosts are asked to notify the team.
const announceTime = 15 * time.Second

// announce has one host notify the team of the end of a run: the canary host, whose lease keeps its
// own messages back until then, or the next host that answers. A run that has begun nothing, or had
// nothing to do, is not announced.
func announce(ctx context.Context, t Transport, hosts []string, fleet string, res *Result) error {
	ctx, cancel := context.WithTimeout(ctx, announceTime)
	defer cancel()
	words := notifyWords(fleet, res)
	var errs []error
	for _, host := range hosts {
		err := t.Run(ctx, host, Call{Args: words})
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", host, err))
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("the team was not notified of the end of the run: %w", errors.Join(errs...))
}

// notifyWords returns the command that notifies the team.
func notifyWords(fleet string, res *Result) []string {
	var hosts, behind []string
	reason, previous := res.Error, res.Hosts[0].Before
	for _, h := range res.Hosts {
		switch {
		case h.behind(res.Result):
			behind = append(behind, h.Host)
			reason = cmp.Or(reason, h.Error)
		case res.Result != api.Reverted || h.State == Reverted || h.State == Returned:
			hosts = append(hosts, h.Host)
		}
		if h.Before != previous {
			previous = ""
		}
	}
	words := []string{
		"notify", "--run", res.Run, "--by", res.By, "--kind", res.Kind, "--outcome", string(res.Result),
		"--seconds", fmt.Sprintf("%.1f", res.Seconds),
	}
	for _, option := range [][2]string{
		{"--maintenance", res.Maintenance},
		{"--fleet", fleet},
		{"--release", res.Release},
		{"--previous", previous},
		{"--hosts", strings.Join(hosts, ",")},
		{"--behind", strings.Join(behind, ",")},
		{"--error", short(reason)},
	} {
		if option[1] != "" {
			words = append(words, option[:]...)
		}
	}
	return words
}

// behind reports whether a host runs another release than the others after a run, or may.
func (h *HostResult) behind(result api.Result) bool {
	switch h.State {
	case Behind, Unknown, Stuck:
		return true
	case Refused:
		return result == api.Done // a maintenance page: other hosts show it, or have ended it
	default:
		return result == api.Reverted && h.State == Done
	}
}

// maxReason limits a reason in a message, in characters.
const maxReason = 1000

func short(reason string) string {
	reason = plain.Line(reason)
	if runes := []rune(reason); len(runes) > maxReason {
		return string(runes[:maxReason]) + "..."
	}
	return reason
}

// announce notifies the team, if the run has begun anything.
func (r conclusion) announce() {
	if r.canary().change == nil || r.result.Result == api.Done && !r.result.Changed {
		return
	}
	var hosts []string
	for _, m := range r.members {
		if m.lease != nil && m.state != Unknown && m.state != Stuck && !isLost(m.err) {
			hosts = append(hosts, m.name)
		}
	}
	if err := announce(r.ctx, r.transport, hosts, r.Env, r.result); err != nil {
		r.result.Warnings = append(r.result.Warnings, err.Error())
	}
}
