package daemon

import (
	"cmp"

	"superctl/releases"
	"superctl/supervisor"
)

// readValues sets the variables in the plan of an earlier daemon from the current config.
func (p *planner) readValues(plan *supervisor.Plan) error {
	c, err := loadOrKept(p.path)
	if c == nil {
		return err
	}
	store, err := releases.Open(c.Releases, c.Current)
	if err != nil {
		return err
	}
	r, err := store.Get(plan.Release.Path)
	if err != nil {
		return err
	}
	common, err := p.environment(c, r, c.User, nil)
	if err != nil {
		return err
	}
	plan.Hooks.Env = common.List()
	for i := range plan.Processes {
		process := &plan.Processes[i]
		env := common
		for _, one := range c.Processes {
			if one.Name != process.Name {
				continue
			}
			if env, err = p.environment(c, r, cmp.Or(one.User, c.User), one.Env); err != nil {
				return err
			}
		}
		process.Env, process.Templates = env.List(), env.templates()
	}
	return nil
}
