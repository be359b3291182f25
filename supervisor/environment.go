package supervisor

import (
	"cmp"
	"slices"

	"superctl/supervisor/worker"
)

// Environment describes the environments of the live generation, as its plan has them: not as a
// config says that has not been read yet.
func (s *Supervisor) Environment() EnvironmentStatus {
	st := EnvironmentStatus{App: s.opt.App, Processes: []ProcessEnvironment{}}
	_ = s.do(func() {
		if s.live == nil {
			return
		}
		st.Release, st.Generation = s.live.plan.Release.Name, s.live.id
		for i := range s.live.plan.Processes {
			p := &s.live.plan.Processes[i]
			st.Processes = append(st.Processes, ProcessEnvironment{
				Process: p.Name, Variables: p.variables(s.opt.Notify, s.opt.Scratch),
			})
		}
	})
	return st
}

// Plans is what all generations run that are there.
func (s *Supervisor) Plans() (plans []Plan, err error) {
	err = s.do(func() {
		for _, g := range s.generations {
			plans = append(plans, g.plan)
		}
	})
	return plans, err
}

// variables is what a worker of the process has in its environment.
func (p *Process) variables(notify, scratch string) []Variable {
	spec := worker.Spec{
		Env: p.Env, Templates: p.Templates, Secrets: p.Secrets, Notify: notify, Scratch: scratch,
		Files: make([]worker.File, len(p.Listen)), HideListen: p.HideListen,
	}
	if p.Hook || p.Counts {
		spec.Hook = "the hook's"
	}
	if p.Flag {
		spec.Flag = "the worker's"
	}
	if p.Hook || p.Flag || p.Counts {
		spec.Requests = "the worker's"
	}
	names := spec.Names()
	slices.Sort(names)
	vars := make([]Variable, len(names))
	for i, name := range names {
		vars[i] = Variable{Name: name, From: cmp.Or(p.EnvFrom[name], "superctl")}
	}
	return vars
}
