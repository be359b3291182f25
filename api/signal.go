package api

// SignalRequest asks for a signal to the main process of each worker of a process, in all
// generations that have some.
type SignalRequest struct {
	Process string `json:"process"`
	Signal  string `json:"signal"` // one of Signals
	Who     string `json:"who"`    // set by the control server from the peer's credentials, never by the client
	Origin         // likewise
}

// Signals are the signals that can be sent. The others stop a program, pause it, or are the
// supervisor's own.
var Signals = []string{"HUP", "USR1", "USR2"} //nolint:gochecknoglobals // a constant that Go cannot say

// Signaled says to which workers a signal was sent.
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
	Reason     string `json:"reason,omitempty"` // why it was not sent
	Failed     bool   `json:"failed,omitempty"` // it should have been
}

// Complete reports whether every worker that can take the signal has got it.
func (s *Signaled) Complete() bool {
	for _, w := range s.Workers {
		if w.Failed {
			return false
		}
	}
	return true
}
