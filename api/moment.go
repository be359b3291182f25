package api

import "time"

// Moment returns a time as people read it, with its date and its zone: a lock or a maintenance may be
// days old, and from a server elsewhere.
func Moment(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") }
