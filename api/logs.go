package api

import "time"

// LogLine is one line of a worker's output, or a part of a line longer than 64 KiB.
type LogLine struct {
	Time       time.Time `json:"time"`
	Release    string    `json:"release"`
	Generation int       `json:"generation"`
	Process    string    `json:"process"`
	Instance   int       `json:"instance"`
	PID        int       `json:"pid"`
	// without the newline; invalid UTF-8 becomes U+FFFD in JSON
	Text string `json:"text"`
}

// LogQuery selects log lines. An empty field selects all.
type LogQuery struct {
	Process string `json:"process,omitempty"`
	Release string `json:"release,omitempty"`
	Lines   int    `json:"lines"` // the newest N
	Follow  bool   `json:"follow"`
}
