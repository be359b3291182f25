package api

// SignalRequest asks the daemon to send a signal to the main process of each worker of a process,
// in all generations.
type SignalRequest struct {
	Process string `json:"process"`
	Signal  string `json:"signal"` // one of Signals
	Who     string `json:"who"`    // set by the control server from the peer's credentials, never by the client
	Origin         // likewise
}

// Signals are the signals that can be sent. Other signals stop or pause a program, or are reserved
// for the supervisor.
var Signals = []string{"HUP", "USR1", "USR2"} //nolint:gochecknoglobals // a constant that Go cannot say

// Signaled lists the workers of a process and whether each was sent the signal.
type Signaled struct {
	App     string           `json:"app"`
	Process string           `json:"process"`
	Signal  string           `json:"signal"`
	Workers []SignaledWorker `json:"workers"`
}

// SignaledWorker is one worker of the process.
type SignaledWorker struct {
	Generation int    `json:"generation"`
	Release    string `json:"release"`
	Instance   int    `json:"instance"`
	PID        int    `json:"pid"`
	Sent       bool   `json:"sent"`
	Reason     string `json:"reason,omitempty"` // why the signal was not sent
	Failed     bool   `json:"failed,omitempty"` // it should have been sent
}

// Complete reports whether the signal was sent to every worker that should get it.
func (s *Signaled) Complete() bool {
	for _, w := range s.Workers {
		if w.Failed {
			return false
		}
	}
	return true
}
