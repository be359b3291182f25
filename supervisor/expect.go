package supervisor

import (
	"errors"
	"fmt"

	"superctl/api"
)

// unexpectedError refuses a change that expects another release to be live.
type unexpectedError struct {
	expected string
	is       *Release // nil = none
}

func (e *unexpectedError) Error() string {
	is := "no release is live"
	if e.is != nil {
		is = e.is.Name + " is live"
	}
	if e.expected == api.NoRelease {
		return is + ", and none was expected: superctl status shows who made it live"
	}
	return fmt.Sprintf("%s, and %s was expected: superctl status shows who made it live", is, e.expected)
}

// meets reports whether what is live is what a request expects. A release that should be live and
// fails to start counts as live: it is what a rollback leaves.
func meets(expect string, live *generation, release *Release) bool {
	switch expect {
	case "":
		return true
	case api.NoRelease:
		return live == nil
	}
	return release != nil && release.Name == expect
}

func (c *change) meetsExpectation() bool { return meets(c.req.Expect, c.from, c.was.release) }

// leaveLive ends a rollback from a release that is not live: there is nothing to do.
func (rs resolution) leaveLive() (string, error) {
	if rs.was.release != nil {
		rs.plan.Release = *rs.was.release
	}
	rs.unchanged = rs.req.Expect + " is not live"
	return rs.unchanged, rs.noteRelease()
}

// takesBack reports whether the change is a rollback by the run that made the live release live.
func (c *change) takesBack() bool {
	return c.kind == Rollback && c.req.Run != "" && c.req.Expect != "" && c.was.liveSince != nil &&
		c.was.liveSince.Run == c.req.Run && c.meetsExpectation()
}

// refuseClaims says what is wrong with what a request says of its run and of the live release.
func (ad *admission) refuseClaims(req Request) error {
	if req.Expect != "" && !turnsOver(req.Kind) {
		return &RefusedError{Usage: true, Err: fmt.Errorf(
			"--expect is for switch, rollback and reload, not for %s", req.Kind,
		)}
	}
	if req.Kind == Rollback && req.Expect == api.NoRelease {
		return &RefusedError{Usage: true, Err: errors.New("--from needs the name of a release")}
	}
	if req.Follower && (req.Run == "" || !turnsOver(req.Kind) && req.Kind != api.Maintenance) {
		return &RefusedError{Usage: true, Err: errors.New("a follower needs a run, and a switch, a rollback, a reload or maintenance")}
	}
	if err := req.Validate(); err != nil {
		return &RefusedError{Usage: true, Err: err}
	}
	return nil
}
