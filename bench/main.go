// Bench measures switches between releases: superctl beside what people use instead, in one run, with the same Django
// project, the same load and the same number of workers. It writes bench/RESULTS.md and bench/latency.svg.
//
// It judges nothing: times depend on the machine. What must hold is in the tests.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

// What every contender meets.
const (
	switches  = 5
	rate      = 150 // requests a second, each over a new connection
	clients   = 24
	importing = 2.0             // seconds that the app takes to be imported
	calm      = 3 * time.Second // of steady load before the first switch, and between two
)

func main() {
	harness.Guardian()
	if err := bench(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench() error {
	run, err := harness.NewRun()
	if err != nil {
		return err
	}
	if slices.Contains(os.Args[1:], "hook") {
		return errors.Join(hookBench(run), run.Close())
	}
	b := &board{run: run}
	err = b.measure()
	if closed := run.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join("bench", "latency.svg"), plot(b.strips), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("bench", "RESULTS.md"), []byte(b.report()), 0o644)
}

// board is what has been measured.
type board struct {
	run    *harness.Run
	strips []strip
	killed []crash
	small  []figure
}

// strip is one contender's run.
type strip struct {
	name    string
	result  *load.Result
	turns   []turn
	cutover string // as the contender reports it
}

// turn is one switch.
type turn struct {
	asked    time.Time
	firstNew time.Time // the new release's first answer had come
	lastOld  time.Time // the last request was sent that the old release has answered
}

// over is when the new release alone answers.
func (t turn) over() time.Time {
	if t.lastOld.After(t.firstNew) {
		return t.lastOld
	}
	return t.firstNew
}

// mixed is how long both releases answer.
func (t turn) mixed() time.Duration { return max(0, t.lastOld.Sub(t.firstNew)) }

// figure is one line of the table of single figures.
type figure struct{ what, value, how string }

func (b *board) measure() error {
	for _, c := range contenders() {
		scene := &scene{run: b.run}
		s, err := scene.play(c)
		scene.end()
		if err != nil {
			return err
		}
		fmt.Printf("%-44s %d requests, %d failed\n", s.name, len(s.result.Records), len(s.result.Failed()))
		b.strips = append(b.strips, s)
	}
	if err := b.crashes(); err != nil {
		return err
	}
	scene := &scene{run: b.run}
	defer scene.end()
	figures, err := scene.figures()
	b.small = figures
	return err
}

// contender is a way to run the app and to bring a new release into it.
type contender interface {
	name() string
	start(s *scene) (network, address string)
	turn(release string) // returns when the command that a person would type has returned
	cutover() string
}

// play runs one contender under load.
func (s *scene) play(c contender) (out strip, err error) {
	defer s.recovered(&err)
	network, address := c.start(s)
	out.name = c.name()
	r, err := load.Start(load.Config{
		Network: network, Address: address, Clients: clients, Rate: rate, Timeout: 20 * time.Second,
		Shapes: []load.Shape{load.Get("/"), load.Post("/echo", 4<<10)},
	})
	if err != nil {
		return out, err
	}
	defer r.Stop()
	s.calm(r)
	for i := range switches {
		to := names[(i+1)%2]
		t := turn{asked: time.Now()}
		c.turn(to)
		s.until(r, to)
		out.turns = append(out.turns, t)
		s.calm(r)
	}
	out.result, out.cutover = r.Stop(), c.cutover()
	out.answered()
	return out, nil
}

var names = [2]string{"r1", "r2"} //nolint:gochecknoglobals // what the two releases are called

// behaviour is that of both releases.
func behaviour() apps.Behaviour { return apps.Behaviour{ImportSeconds: importing} }

// answered finds out from the answers when each turn began to show and when it was over.
func (s *strip) answered() {
	for i := range s.turns {
		t := &s.turns[i]
		until := s.result.Ended
		if i+1 < len(s.turns) {
			until = s.turns[i+1].asked
		}
		t.lastOld = t.asked
		for _, r := range s.result.Records {
			if r.Begun.Before(t.asked) || r.Begun.After(until) {
				continue
			}
			switch {
			case r.Release == names[i%2] && r.Begun.After(t.lastOld):
				t.lastOld = r.Begun
			case r.Release == names[(i+1)%2] && (t.firstNew.IsZero() || r.Ended.Before(t.firstNew)):
				t.firstNew = r.Ended
			}
		}
	}
}
