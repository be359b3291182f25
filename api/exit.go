package api

// Exit codes of superctl (DESIGN 9).
const (
	ExitDone        = 0 // done, or nothing to do
	ExitAborted     = 1 // refused or failed; the live release did not change
	ExitUsage       = 2 // wrong command or config
	ExitUnreachable = 3 // the daemon, or a host, cannot be reached
	ExitBusy        = 4 // another change is in progress
	ExitReverted    = 5 // the new release was live and failed; the previous one is live again
	ExitBehind      = 6 // several hosts only: done, but a host is behind or its state unknown
)

// Exit returns the exit code of a change that ended so.
func (r Result) Exit() int {
	switch r {
	case Done:
		return ExitDone
	case Reverted:
		return ExitReverted
	default:
		return ExitAborted
	}
}
