package api

// Origin is where a request has come from, beside who asks.
type Origin struct {
	Peer *Peer `json:"peer,omitempty"` // nil for one that came by no socket
	// From and SudoUser are what the client says of itself, and nobody has proved: the host from
	// which its person has come by ssh, and who that is behind sudo, where the daemon cannot see
	// who has logged in.
	From     string `json:"from,omitempty"`
	SudoUser string `json:"sudo_user,omitempty"`
}

// Peer is the kernel's word on a client.
type Peer struct {
	UID uint32 `json:"uid"`
	PID int32  `json:"pid"`
	// who has logged in, whatever they have become since (proc_pid_loginuid(5))
	Login *uint32 `json:"login_uid,omitempty"`
}

// By is who asks and from where, as people say it: anna (as root) from 203.0.113.7.
func (o Origin) By(who string) string {
	if o.SudoUser != "" {
		who += " (sudo by " + o.SudoUser + ")"
	}
	if o.From != "" {
		who += " from " + o.From
	}
	return who
}
