package api

// Origin is where a request came from.
type Origin struct {
	Peer *Peer `json:"peer,omitempty"` // nil if the request did not come over a socket
	// From and SudoUser are unverified claims of the client: the host of its ssh session, and the
	// user behind sudo where the daemon cannot see the login user.
	From     string `json:"from,omitempty"`
	SudoUser string `json:"sudo_user,omitempty"`
}

// Peer identifies a client as the kernel reports it (SO_PEERCRED).
type Peer struct {
	UID uint32 `json:"uid"`
	PID int32  `json:"pid"`
	// the user who logged in, before any sudo or su (proc_pid_loginuid(5))
	Login *uint32 `json:"login_uid,omitempty"`
}

// By returns text for the requester and the origin: anna (as root) from 203.0.113.7.
func (o Origin) By(who string) string {
	if o.SudoUser != "" {
		who += " (sudo by " + o.SudoUser + ")"
	}
	if o.From != "" {
		who += " from " + o.From
	}
	return who
}
