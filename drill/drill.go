// Package drill proves the promises of superctl on the user's own app and machine: it sends a steady load to the app while it is
// switched, rolled back, reloaded, killed and upgraded, and counts what becomes of every request.
//
// It drills a copy of the app on a private address, or the one that runs. It sends load to one address of this machine and to nowhere
// else, bounded in requests and in time, and leaves nothing behind: no process, no file, and the release live that was live before.
// A request that was lost is told with its moment, the change that it fell into and the likely cause. It judges no latency.
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

// Options say what to drill and how.
type Options struct {
	Config  *config.Config
	Process config.Process // that answers the load
	Server  Server         // that runs it
	Version string         // of superctl

	// Releases to switch between, the best first: what is live, what was before it, then the newest. Two of them are used. Of a Live
	// drill they are the live one and the one before it.
	Releases []Release
	Switches int

	Temporary string // directory for what a copy needs; its path must leave room for the paths of sockets

	Live   bool   // drill the app that runs
	Kills  bool   // of a Live drill: SIGKILL too
	Binary string // superctl, to run a copy with
	User   string // of the copy's workers; "" = the config's
	// Credentials is the directory with the app's; "" = it has none.
	Credentials string
	Log         string // a file that gets what the copy says; "" = none does

	Target Target // of a Live drill; a copy has its own
	Load   Load

	Show func(Event)
}

// Server is what is known of the program that answers.
type Server struct {
	Name       string // of its preset
	StopSignal string // such as SIGTERM
	HookOff    bool   // it could have the drain hook, and the config says no
}

// Release is one that can be switched to.
type Release struct{ Name, Path, Virtualenv string }

// Load is what is sent.
type Load struct {
	Paths     []string // GET
	Posts     []string // POST
	Host      string   // header; "" = the target's
	Rate      float64  // a second, at most
	FixedRate bool     // exactly Rate, whatever the site can serve
	Clients   int
	KeepAlive bool
	Timeout   time.Duration
}

// Event is what a drill says while it runs. Those of type "progress" come several times a second, for a line that lives.
type Event = api.Event

// The bounds of a drill. Whatever happens it ends, and before that it has not sent more than this.
const (
	mostRequests = 500_000
	longest      = time.Hour
)

// NotBegunError says why a drill could not begin; no load was sent but a look at each page.
type NotBegunError struct {
	Err error
	Log []string // the last lines of what failed
}

// Error is the reason.
func (e *NotBegunError) Error() string { return e.Err.Error() }

// Unwrap is the reason as an error.
func (e *NotBegunError) Unwrap() error { return e.Err }

// site is the app that is drilled.
type site interface {
	Change(ctx context.Context, req api.Request, event func(Event)) (*api.Outcome, error)
	Status(ctx context.Context) (api.Status, error)
	target() Target
	restart(ctx context.Context) error // starts a daemon after the last was killed, or has it started
	lastWords() []string
	close() error
}

// Run drills, and reports also when requests were lost. An error means that there is nothing to report.
func Run(ctx context.Context, opt Options) (rep *Report, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("the drill took longer than %s", longest))
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

// drill is one that goes on.
type drill struct {
	opt      Options
	site     site
	a, b     Release // a is live before and after; b is "" when there is one release only
	shapes   []load.Shape
	run      *load.Run
	bootTime time.Duration // of a release, the longest seen
	began    time.Time

	position string // of the scenario, for people who wait

	changes []change
	broken  []string // promises, each with how
	notes   []string
}

func (d *drill) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

func (d *drill) promiseBroken(format string, args ...any) {
	d.broken = append(d.broken, fmt.Sprintf(format, args...))
}

// end puts everything back. It is not for the context that ended the drill to keep it from doing so.
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
