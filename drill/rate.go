package drill

import (
	"context"
	"time"

	"superctl/load"
)

// adaptTime is how long a single client sends requests to measure how fast the site answers.
const adaptTime = 2 * time.Second

// steadyShare is the share of a single client's rate that the drill uses: the site must keep up
// with it while it serves other clients and boots releases.
const steadyShare = 0.7

// adapt lowers the rate to one that the site can serve steadily. A higher rate would measure a
// queue, and disturb a live site.
func (d *drill) adapt(ctx context.Context) error {
	if d.opt.Load.FixedRate {
		return nil
	}
	cfg := d.loadConfig()
	cfg.Clients, cfg.Rate = 1, 0
	run, err := load.Start(cfg)
	if err != nil {
		return err
	}
	over := time.NewTimer(adaptTime)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
	}
	rate, each := steadyRate(d.opt.Load.Rate, run.Stop())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if rate < d.opt.Load.Rate {
		d.note("the load is %.3g requests a second instead of %g, because the site takes %s for each; --rate sets it",
			rate, d.opt.Load.Rate, each.Round(time.Millisecond/10))
		d.opt.Load.Rate = rate
	}
	return nil
}

// steadyRate returns the rate in requests per second, at most `most`, that a site can serve
// steadily, from the answers that a single client got, and the time for each answer. Failed
// requests are ignored.
func steadyRate(most float64, res *load.Result) (rate float64, each time.Duration) {
	var took time.Duration
	n := 0
	for i := range res.Records {
		if rec := &res.Records[i]; rec.Failure == load.None {
			took += rec.Ended.Sub(rec.Begun)
			n++
		}
	}
	if n == 0 || took <= 0 {
		return most, 0
	}
	each = took / time.Duration(n)
	return min(most, steadyShare/each.Seconds()), each
}

// loadConfig returns the load of the options.
func (d *drill) loadConfig() load.Config {
	t, l := d.site.target(), &d.opt.Load
	return load.Config{
		Network: t.Network, Address: t.Address, Host: hostOf(l, t), Shapes: d.shapes, Clients: l.Clients, Rate: l.Rate,
		KeepAlive: l.KeepAlive,
		Timeout:   l.Timeout, MaxRequests: maxRequests, MaxDuration: maxDuration,
	}
}
