package api

import "time"

// LogLine is one line that a worker wrote, or a part of one that was longer than 64 KiB.
type LogLine struct {
	Time       time.Time `json:"time"`
	Release    string    `json:"release"`
	Generation int       `json:"generation"`
	Process    string    `json:"process"`
	Instance   int       `json:"instance"`
	PID        int       `json:"pid"`
	// as written, without the newline; bytes that are not UTF-8 become U+FFFD in JSON
	Text string `json:"text"`
}

// LogQuery chooses log lines. Empty fields choose all.
type LogQuery struct {
	Process string `json:"process,omitempty"`
	Release string `json:"release,omitempty"`
	Lines   int    `json:"lines"` // the last so many
	Follow  bool   `json:"follow"`
}
