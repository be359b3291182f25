package fleet

import (
	"cmp"
	"context"
	"sync"

	"superctl/api"
)

// Rehearsal is what a run would do; its JSON is the contract of `superctl @ENV deploy --dry-run
// --json`.
type Rehearsal struct {
	DryRun  bool            `json:"dry_run"`
	Kind    string          `json:"kind"`
	Changed bool            `json:"changed"`
	Exit    int             `json:"exit"` // of the run, as far as it can be known
	Hosts   []RehearsalHost `json:"hosts"`
}

// RehearsalHost is what a run would do on one host.
type RehearsalHost struct {
	Host    string `json:"host"`
	Live    string `json:"live"`
	Release string `json:"release"`           // that would be live
	Install bool   `json:"install,omitempty"` // the bundle would be sent and installed
	Changed bool   `json:"changed"`
	Refused string `json:"refused,omitempty"`
	exit    int
}

// Rehearse asks all hosts what a run would do there, and changes nothing.
func Rehearse(ctx context.Context, plan Plan, t Transport) *Rehearsal {
	r := newRun(ctx, plan, t, Limits{}, func(Progress) {})
	defer r.cancel()
	d := &Rehearsal{DryRun: true, Kind: r.result.Kind, Hosts: make([]RehearsalHost, len(r.members))}
	var done sync.WaitGroup
	for i, m := range r.members {
		done.Go(func() {
			h := &d.Hosts[i]
			h.Host = m.name
			if err := (rehearsing{r}).ask(ctx, m, h); err != nil {
				m.err, h.Refused = err, err.Error()
			}
		})
	}
	done.Wait()
	if err := r.allFit(); err != nil {
		d.Exit = r.exit
	}
	for i := range d.Hosts {
		d.Changed = d.Changed || d.Hosts[i].Changed
		d.Exit = cmp.Or(d.Exit, d.Hosts[i].exit)
	}
	return d
}

// rehearsing asks hosts what a run would do.
type rehearsing struct{ *run }

func (r rehearsing) ask(ctx context.Context, m *member, h *RehearsalHost) error {
	st, err := statusOf(ctx, r.transport, m.name)
	if err != nil {
		return err
	}
	m.before, h.Live = st, st.Release
	if err := r.unfit(st); err != nil {
		return err
	}
	release := r.Release
	if r.Bundle != nil {
		if h.Install, err = r.lacks(ctx, m.name); err != nil {
			return err
		}
		if h.Install {
			h.Release, h.Changed = r.Bundle.Release, true
			return nil
		}
	}
	var out api.Outcome // also of a change that would be refused
	args := []string{string(r.Kind)}
	if r.Kind == api.Switch {
		args = append(args, release)
	}
	args = append(args, "--dry-run", "--json")
	if r.Force {
		args = append(args, "--force")
	}
	err = ask(ctx, r.transport, m.name, &out, args...)
	h.Release, h.Changed, h.Refused = out.Release, out.Changed, out.Error
	if err != nil && h.Refused != "" {
		h.exit = exitOf(err)
		return nil
	}
	return err
}

// lacks reports whether a host has no release of the bundle.
func (r rehearsing) lacks(ctx context.Context, host string) (bool, error) {
	var list []listed
	if err := ask(ctx, r.transport, host, &list, "releases", "--json"); err != nil {
		return false, err
	}
	for _, one := range list {
		if one.Bundle == r.Bundle.SHA256 && !r.Bundle.isURL() {
			return false, nil
		}
	}
	return true, nil
}
