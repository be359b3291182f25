package supervisor

import "time"

// liveSince is the change that has made the live release what it is.
type liveSince struct {
	At  time.Time `json:"at"`
	Who string    `json:"who"`
	Origin
}

// takeBack makes live again, for the state file and for people, what was live before a change.
func (s *Supervisor) takeBack(c *change) {
	s.release, s.previous = c.was.release, c.was.previous
	s.liveSince, s.previousSince = c.was.liveSince, c.was.previousSince
}

// becomeLive notes which change has made a release the live one; on the same release it stays the
// one that was.
func (s *Supervisor) becomeLive(c *change) {
	if s.release != nil && s.release.Path == c.plan.Release.Path {
		return
	}
	s.previousSince = s.liveSince
	s.liveSince = &liveSince{time.Now(), c.req.Who, c.req.Origin}
}
