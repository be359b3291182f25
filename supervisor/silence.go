package supervisor

import (
	"fmt"
	"math"
	"slices"
	"time"

	"superctl/api"
	"superctl/plain"
	"superctl/supervisor/guard"
	"superctl/supervisor/requests"
)

// silence judges a release by the number of its answers: one that is as good as silent is bad.
type silence struct{}

func (silence) name() string { return "rate" }

func (silence) of(c *requests.Counts) guard.Counts {
	n := errorsOf{}.of(c)
	return guard.Counts{Requests: n.Requests, InFlight: c.InFlight}
}

func (silence) report(r *api.GuardReport, f guard.Facts, _, _ *requests.Histogram) {
	r.Of, r.Rate = "rate", &api.GuardRate{InFlight: f.New.InFlight}
}

func (silence) sentence(r *api.GuardReport, old string) string {
	text := fmt.Sprintf("%s in %d s, and %s", plain.Count(r.Requests, "answer", "answers"), r.Seconds,
		plain.Count(r.Rate.InFlight, "request waits", "requests wait"))
	if r.Rate.OldShare > 0 {
		text += fmt.Sprintf("; %s had %d answers with %g %% of the connections", old, r.OldRequests, r.Rate.OldShare)
	}
	return text
}

// watchRate has the rate of a process judged, if there can be a verdict.
func (gd *guarding) watchRate(g *guarded) {
	longest := g.before.Durations.Quantile(1)
	switch {
	case gd.canary:
		g.watch = guard.NewRate(longest)
	case g.together:
		g.watch = guard.RateBeside(gd.usualRate(g.process), longest)
	default:
		g.watch = guard.RateAfter(gd.usualRate(g.process), longest)
	}
	switch {
	case g.apart:
		g.obstacle = api.OldCannotServe
	case !gd.closesConnections(g.process):
		g.obstacle = api.ConnectionsKept
	case gd.canary && len(gd.req.Canary.Networks) > 0:
		g.obstacle = api.ByNetwork
	case g.of(&g.before).Requests < g.least:
		g.obstacle = api.FewAnswers
	case longest > guard.LongestAnswer:
		g.obstacle = api.LongAnswers
	default:
		return
	}
	g.verdict = api.NoVerdict
}

// usualRate returns how many requests of a process have ended per second, from the begin of the change
// to the cutover; 0 = unknown.
func (gd *guarding) usualRate(process string) float64 {
	t := &gd.traffic
	if t.began.at.IsZero() || t.closed.at.Sub(t.began.at) < time.Second {
		return 0
	}
	before := trafficOf(t.old, process, &t.began, &t.closed)
	if before == nil {
		return 0
	}
	return float64(before.Requests) / before.Seconds
}

// closesConnections reports whether all workers of a process, of both releases, close a connection
// after its answer when they are told to.
func (gd *guarding) closesConnections(process string) bool {
	return ask(gd.owner.core, func() bool {
		workers := slices.Concat(gd.from.of(process), gd.to.of(process))
		return !slices.ContainsFunc(workers, func(in *instance) bool {
			gd.owner.flags.findHook(in)
			return !in.proc.Hook || !in.hooked
		})
	})
}

// shareOf returns the part of the new connections that the new release has had since the last look.
func (gd *guarding) shareOf(g *guarded) float64 {
	switch {
	case gd.canary:
		return gd.trying
	case !g.divided:
		return 1
	case gd.comparing:
		return 0.5
	}
	return 1 - float64(g.control)/10_000
}

// reportRate completes a report of the rate.
func (g *guarded) reportRate(r *api.GuardReport) {
	switch r.Rate.Obstacle = g.obstacle; g.obstacle {
	case "":
		r.Rate.OldShare = math.Round(1e4*(1-g.share)) / 100
	case api.LongAnswers:
		r.Rate.OldLongest = g.before.Durations.Quantile(1).Seconds()
	default:
	}
}
