//go:build linux

package console

import (
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestASilentClientCountsAsGone(t *testing.T) {
	for name, one := range map[string]struct {
		beats, heartbeat time.Duration
		then, want       string
		after            time.Duration
	}{
		"a word after signs of life":     {3 * time.Second, 10 * time.Second, "go\n", GoWord, 30 * time.Second},
		"silence":                        {0, 10 * time.Second, "", "", 10 * time.Second},
		"silence without a heartbeat":    {0, 0, "go\n", GoWord, time.Hour},
		"another word":                   {time.Second, 10 * time.Second, "stop\n", "stop", 5 * time.Second},
		"an end of the input before all": {time.Second, 10 * time.Second, "EOF", "", 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, out := io.Pipe()
				defer in.Close()
				began := time.Now()
				go func() {
					for one.beats > 0 && time.Since(began)+one.beats < one.after {
						time.Sleep(one.beats)
						_, _ = io.WriteString(out, stillHere+"\n")
					}
					time.Sleep(one.after - time.Since(began))
					if one.then == "EOF" {
						_ = out.Close() // of a pipe: it does not fail
						return
					}
					_, _ = io.WriteString(out, one.then)
				}()
				answers := 0
				word := WordOf(in, one.heartbeat, func() { answers++ })
				if word != one.want || time.Since(began) != one.after {
					t.Errorf("%q after %s", word, time.Since(began))
				}
				if (answers > 0) != (one.beats > 0) {
					t.Errorf("%d answers to signs of life every %s", answers, one.beats)
				}
			})
		})
	}
}
