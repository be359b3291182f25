package worker

// Credential is the user that a worker runs as. It takes effect only when the daemon is root.
type Credential struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
}
