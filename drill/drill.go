// Package drill proves superctl's promises with the user's own app and machine. It sends a steady
// load to the app while it switches, rolls back, reloads, kills and upgrades it, and counts the
// outcome of every request.
//
// It drills a copy of the app on a private address, or the running app. It sends load to one
// address of this machine only, with limits on requests and time. It leaves nothing behind: no
// process, no file, and the release that was live before is live again. It reports each lost
// request with its time, the change that it fell into and the likely cause. It does not judge
// latency.
package drill

import (
	"context"
	"errors"
	"fmt"
	"time"

	"superctl/api"
	"superctl/config"
	"superctl/load"
)

// Options describe what to drill, and how.
type Options struct {
	Config  *config.Config
	Process config.Process // the process that answers the load
	Server  Server         // the server that runs it
	Version string         // of superctl

	// Releases to switch between, the preferred first: the live one, the previous one, then the
	// newest. Two of them are used. For a Live drill they are the live one and the previous one.
	Releases []Release
	Switches int

	Temporary string // directory for the files of a copy; its path must be short, because socket paths are limited

	Live   bool   // drill the running app
	Kills  bool   // for a Live drill: send SIGKILL too
	Binary string // superctl's path, to run a copy
	User   string // of the copy's workers; "" = as configured
	// Credentials is the directory of the app's credentials; "" = none.
	Credentials string
	Log         string // file for the copy's output; "" = none

	Target Target // for a Live drill; a copy has its own
	Load   Load

	Show func(Event)
}

// Server describes the server that answers.
type Server struct {
	Name       string // of its preset
	StopSignal string // such as SIGTERM
	HookOff    bool   // the config disables the drain hook, which the server supports
}

// Release is a release to switch to.
type Release struct{ Name, Path, Virtualenv string }

// Load describes the requests to send.
type Load struct {
	Paths     []string // GET
	Posts     []string // POST
	Host      string   // header; "" = the target's
	Rate      float64  // maximum per second
	FixedRate bool     // exactly Rate, even if the site cannot keep up
	Clients   int
	KeepAlive bool
	Timeout   time.Duration
}

// Event reports the drill's progress. Events of type "progress" come several times a second, for a
// status line.
type Event = api.Event

// The limits of a drill in requests and time.
const (
	maxRequests = 500_000
	maxDuration = time.Hour
)

// StartError reports why a drill could not start. No load was sent, except for one request to each
// page.
type StartError struct {
	Err error
	Log []string // the last lines of the failed process
}

// Error returns the reason.
func (e *StartError) Error() string { return e.Err.Error() }

// Unwrap returns the reason as an error.
func (e *StartError) Unwrap() error { return e.Err }

// site is the app under test.
type site interface {
	Change(ctx context.Context, req api.Request, event func(Event)) (*api.Outcome, error)
	Status(ctx context.Context) (api.Status, error)
	target() Target
	// starts a daemon after the previous one was killed, or waits for the service manager to do so
	restart(ctx context.Context) error
	lastWords() []string
	close() error
}

// Run runs a drill. It returns a report even if requests were lost. An error means that there is no
// report.
func Run(ctx context.Context, opt Options) (rep *Report, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxDuration, fmt.Errorf("the drill took longer than %s", maxDuration))
	defer cancel()
	d := &drill{opt: opt}
	if opt.Live {
		d.site = openLive(opt)
	} else if d.site, err = openCopy(ctx, opt); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.end()) }()
	if err := d.prepare(ctx); err != nil {
		return nil, err
	}
	if err := d.adapt(ctx); err != nil {
		return nil, err
	}
	if err := d.begin(); err != nil {
		return nil, err
	}
	interrupted := d.play(ctx)
	res := d.run.Stop()
	if interrupted != nil {
		return nil, interrupted
	}
	return d.judge(res), nil
}

// drill is a running drill.
type drill struct {
	opt      Options
	site     site
	a, b     Release // a is live before and after; b is empty if there is only one release
	shapes   []load.Shape
	run      *load.Run
	bootTime time.Duration // the longest boot of a release
	began    time.Time

	position string // position in the scenario, for the status line

	changes []change
	broken  []string // broken promises, with details
	notes   []string
}

func (d *drill) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

func (d *drill) promiseBroken(format string, args ...any) {
	d.broken = append(d.broken, fmt.Sprintf(format, args...))
}

// end cleans up, even if the context of the drill has ended.
func (d *drill) end() error {
	began := time.Now()
	d.opt.Show(Event{Type: "begin", Step: "end"})
	if d.run != nil {
		d.run.Stop()
	}
	err := d.site.close()
	if err != nil {
		d.opt.Show(Event{Type: "fail", Step: "end", Detail: err.Error(), Seconds: time.Since(began).Seconds()})
		return err
	}
	d.opt.Show(Event{Type: "end", Step: "end", Detail: d.left(), Seconds: time.Since(began).Seconds()})
	return nil
}

func (d *drill) left() string {
	if d.opt.Live {
		return d.opt.Releases[0].Name + " is live, as before"
	}
	return "the copy is gone"
}

// begin starts the load.
func (d *drill) begin() error {
	run, err := load.Start(d.loadConfig())
	d.run, d.began = run, time.Now()
	return err
}

func hostOf(l *Load, t Target) string {
	if l.Host != "" {
		return l.Host
	}
	return t.Host
}
