package supervisor

import (
	"context"
	"time"
)

// stepError is the error of a step.
type stepError struct {
	step string
	err  error
}

func (e *stepError) Error() string { return e.step + ": " + e.err.Error() }

func (e *stepError) Unwrap() error { return e.err }

// step runs one step: durable before it begins, unless that would be of no use to the next daemon,
// told when it begins and ends, with a fault point on either side.
func (c *change) step(name string, do func(context.Context) (string, error)) error {
	if err := c.owner.do(func() { c.stepName = name }); err != nil {
		return err
	}
	if err := c.save().before(name); err != nil {
		return err
	}
	c.fault("before " + name)
	c.emit(Event{Type: "begin", Step: name, Limit: c.plan.limitOf(name, c.req.Prepare).Seconds()})
	began := time.Now()
	c.output = nil
	detail, err := do(c.ctx)
	seconds := time.Since(began).Seconds()
	c.fault("after " + name)
	if err != nil {
		c.emit(Event{Type: "fail", Step: name, Detail: err.Error(), Seconds: seconds})
		c.steps = append(c.steps, Step{
			Name: name, Began: began, Seconds: seconds, Detail: c.errorText(err), Output: c.output,
		})
		return &stepError{name, err}
	}
	detail = c.clean(detail)
	c.emit(Event{Type: "end", Step: name, Detail: detail, Seconds: seconds})
	c.steps = append(c.steps, Step{Name: name, Began: began, Seconds: seconds, Detail: detail, Output: c.output})
	return nil
}

// limitOf is the longest that a step takes; 0 = not known. prepare is how long a prepared change
// waits.
func (p *Plan) limitOf(step string, prepare time.Duration) (limit time.Duration) {
	switch step {
	case stepProbation:
		return p.Probation
	case stepReady:
		return prepare
	case stepProve:
		for i := range p.Processes {
			if p := &p.Processes[i]; len(p.Listen) > 0 {
				limit = max(limit, p.StartTimeout)
			}
		}
	}
	return limit
}
