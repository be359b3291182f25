package supervisor

import "time"

// liveSince is the change that has made the live release what it is.
type liveSince struct {
	At  time.Time `json:"at"`
	Who string    `json:"who"`
	Origin
}

// restoreRecords makes live again, for the state file and for people, what was live before a
// change.
func (u undo) restoreRecords() {
	u.owner.release, u.owner.previous = u.was.release, u.was.previous
	u.owner.liveSince, u.owner.previousSince = u.was.liveSince, u.was.previousSince
}

// before is the previous release before an interrupted change. A daemon of an earlier version has
// not written it down; then none is known.
func (st *state) before() (*Release, *liveSince) { return st.WasPrevious, st.WasPreviousSince }

// becomeLive notes which change has made a release the live one; on the same release it stays the
// one that was.
func (c *change) becomeLive() {
	c.noteLeader()
	if c.owner.release != nil && c.owner.release.Path == c.plan.Release.Path {
		return
	}
	c.owner.previousSince = c.owner.liveSince
	c.owner.liveSince = &liveSince{time.Now(), c.req.Who, c.req.Origin}
}
