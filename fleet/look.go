package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"superctl/api"
)

// View is what the hosts of a fleet run at a moment; its JSON is the contract of `superctl @ENV
// status --json`.
type View struct {
	App string `json:"app"`
	// Release is the release that the hosts should run: the one that became live last.
	Release string     `json:"release"`
	Run     string     `json:"run,omitempty"` // that made it live
	Mix     string     `json:"mix,omitempty"` // how the hosts differ, in words; "" = they do not
	Exit    int        `json:"exit"`
	Hosts   []HostView `json:"hosts"`
}

// HostView is one host in a View.
type HostView struct {
	Host      string    `json:"host"`
	Release   string    `json:"release"`
	Health    string    `json:"health,omitempty"`
	Reason    string    `json:"reason,omitempty"` // why Health is not "ok"
	Since     time.Time `json:"since,omitzero"`   // when the release became live
	By        string    `json:"by,omitempty"`
	Run       string    `json:"run,omitempty"`
	TakenBack bool      `json:"taken_back,omitempty"` // the release is live again because Run was taken back
	// Maintenance is the maintenance that users get; nil = they reach the release.
	Maintenance *api.MaintenanceStatus `json:"maintenance,omitempty"`
	Behind      bool                   `json:"behind,omitempty"`
	Changing    string                 `json:"changing,omitempty"` // the change or the run that has the host
	Error       string                 `json:"error,omitempty"`    // why there is no status
}

// Look asks all hosts for their status.
func Look(ctx context.Context, app string, hosts []string, t Transport, limit time.Duration) *View {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	v := &View{App: app, Hosts: make([]HostView, len(hosts))}
	var asked sync.WaitGroup
	for i, host := range hosts {
		asked.Go(func() {
			st, err := statusOf(ctx, t, host)
			v.Hosts[i] = viewOf(host, st, err)
		})
	}
	asked.Wait()
	v.judge()
	return v
}

func viewOf(host string, st *api.Status, err error) HostView {
	if err != nil {
		return HostView{Host: host, Error: err.Error()}
	}
	h := HostView{
		Host: host, Release: st.Release, Health: st.Health, Reason: st.Reason, Since: st.LiveSince, Run: st.Run,
		By: st.LiveBy, TakenBack: st.TakenBack, Maintenance: st.Maintenance,
	}
	if st.LiveOrigin != nil {
		h.By = cmp.Or(st.LiveOrigin.Behalf, st.LiveOrigin.By(st.LiveBy))
	}
	switch {
	case st.Changing != nil:
		h.Changing = (&api.BusyError{Changing: *st.Changing}).Error()
	case st.Lock != nil:
		h.Changing = st.Lock.String()
	}
	return h
}

// judge finds the release that the hosts should run, and those that do not.
func (v *View) judge() {
	on := make(map[string][]string)
	var newest *HostView
	for i := range v.Hosts {
		h := &v.Hosts[i]
		if h.Error != "" {
			v.Exit = api.ExitUnreachable
			continue
		}
		on[h.Release] = append(on[h.Release], h.Host)
		if h.Release != "" && (newest == nil || newer(h, newest)) {
			newest = h
		}
	}
	if newest == nil {
		return
	}
	v.Release, v.Run = newest.Release, newest.Run
	if len(on) == 1 {
		return
	}
	var parts []string
	for _, release := range slices.Sorted(maps.Keys(on)) {
		parts = append(parts, fmt.Sprintf("%s on %s", orNone(release), list(on[release])))
	}
	v.Mix = strings.Join(parts, ", ")
	v.Exit = max(v.Exit, api.ExitBehind)
	for i := range v.Hosts {
		h := &v.Hosts[i]
		h.Behind = h.Error == "" && h.Release != v.Release
	}
}

// InMaintenance returns the hosts whose users get a maintenance page, and those whose users reach the app.
func (v *View) InMaintenance() (on, off []string) {
	for i := range v.Hosts {
		switch h := &v.Hosts[i]; {
		case h.Maintenance != nil:
			on = append(on, h.Host)
		case h.Error == "":
			off = append(off, h.Host)
		}
	}
	return on, off
}

// newer reports whether a release became live after another. One that is live again because a run
// was taken back is older than all.
func newer(a, b *HostView) bool {
	if a.TakenBack != b.TakenBack {
		return b.TakenBack
	}
	return a.Since.After(b.Since)
}

// ErrNoMix is the error when there is nothing to finish or to take back.
var ErrNoMix = errors.New("all hosts run the same release: there is nothing to end")

// mixed returns why there is no mix to end, or why that is not known; nil if there is one.
func (v *View) mixed() error {
	if v.Mix != "" {
		return nil
	}
	for _, h := range v.Hosts {
		if h.Error != "" {
			return &LostError{fmt.Errorf("%s: %s; what it runs is not known, and the hosts that answer run the same release",
				h.Host, h.Error)}
		}
	}
	return ErrNoMix
}

// Back takes the hosts on which the newest run made its release live back to the release before,
// and returns what the hosts run then.
func (v *View) Back(ctx context.Context, fleet, by string, t Transport, limit time.Duration) (*View, error) {
	if err := v.mixed(); err != nil {
		return nil, err
	}
	if !v.byRun() {
		return nil, v.errNoRun()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var done sync.WaitGroup
	res := &Result{Run: v.Run + backSuffix, By: by, Kind: string(api.Rollback), Release: v.Release, Result: api.Reverted}
	var hosts []string
	errs := make([]error, len(v.Hosts))
	for i, h := range v.Hosts {
		hosts = append(hosts, h.Host)
		if h.Run != v.Run || h.Release != v.Release || h.TakenBack {
			continue
		}
		done.Go(func() {
			if _, err := takeBackFrom(ctx, t, h.Host, v.Release, v.Run, by, true, true); err != nil {
				errs[i] = fmt.Errorf("%s: %w", h.Host, err)
			}
		})
	}
	done.Wait()
	for i, h := range v.Hosts {
		switch end := (HostResult{Host: h.Host, State: Returned, Before: v.Release}); {
		case errs[i] != nil:
			end.State, end.Error = Stuck, errs[i].Error()
			res.Hosts = append(res.Hosts, end)
		case h.Run == v.Run && h.Release == v.Release && !h.TakenBack:
			res.Hosts = append(res.Hosts, end)
		}
	}
	err := announce(ctx, t, hosts, fleet, res)
	return Look(ctx, v.App, hosts, t, limit), errors.Join(append(errs, err)...)
}

// backSuffix makes the name of what takes a run back from the name of the run.
const backSuffix = "-back"

// byRun reports whether a run made the release live.
func (v *View) byRun() bool {
	return v.Run != "" && slices.ContainsFunc(v.Hosts, func(h HostView) bool {
		return h.Run == v.Run && h.Release == v.Release && !h.TakenBack
	})
}

func (v *View) errNoRun() error {
	return fmt.Errorf("%s was not made live by a run, but on one host alone: name the release for all hosts, with switch",
		v.Release)
}

// Finish returns the release that a run must make live on all hosts to end the mix.
func (v *View) Finish() (release string, err error) {
	if err := v.mixed(); err != nil {
		return "", err
	}
	if !v.byRun() {
		return "", v.errNoRun()
	}
	return v.Release, nil
}
