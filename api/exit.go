package api

// Exit codes of superctl. ExitCodes says what they mean.
const (
	ExitDone        = 0
	ExitAborted     = 1
	ExitUsage       = 2
	ExitUnreachable = 3
	ExitBusy        = 4
	ExitReverted    = 5
	ExitBehind      = 6
)

// ExitCode is an exit code of superctl and what it means, for the manual page and the documents.
type ExitCode struct {
	Code    int
	Meaning string
}

// ExitCodes returns all exit codes in order.
func ExitCodes() []ExitCode {
	return []ExitCode{
		{ExitDone, "done, or there was nothing to do"},
		{ExitAborted, "aborted: the change was refused or failed, and the live release is untouched; or the command was interrupted, " +
			"or its output could not be written"},
		{ExitUsage, "wrong command or config"},
		{ExitUnreachable, "the daemon, or a host, cannot be reached"},
		{ExitBusy, "another change is in progress"},
		{ExitReverted, "reverted: the new release was live and failed, or the guard found it worse in a canary; the previous one is live"},
		{ExitBehind, "several hosts only: done, but a host is behind, or its state is unknown"},
	}
}

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

// Failure is what a command with --json prints if it fails and has no outcome of its own: a wrong
// command line or config, a daemon that cannot be reached, a change that did not begin.
type Failure struct {
	Error string `json:"error"` // the reason, and what to do
	Exit  int    `json:"exit"`  // the exit code of superctl
}
