package drill

import (
	"context"
	"time"

	"superctl/load"
)

// adaptTime is how long one client asks, one request after another, to find out how fast the site answers.
const adaptTime = 2 * time.Second

// steadyShare is how much of what one client gets is asked for: the site, which serves others too, must keep up with it, and so must the
// releases that boot beside it.
const steadyShare = 0.7

// adapt lowers the rate to what the site serves steadily. A drill that asks for more measures a queue, and disturbs a live site.
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
	enough := time.NewTimer(adaptTime)
	defer enough.Stop()
	select {
	case <-enough.C:
	case <-ctx.Done():
	}
	rate, each := steadyRate(d.opt.Load.Rate, run.Stop())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if rate < d.opt.Load.Rate {
		d.note("the load is %.3g requests a second, and not %g: the site takes %s for one; --rate sets another", rate, d.opt.Load.Rate, each.Round(time.Millisecond/10))
		d.opt.Load.Rate = rate
	}
	return nil
}

// steadyRate returns the requests a second, at most so many, that a site serves steadily which has answered one client so, and how long
// it took for each. A failed request says nothing of that.
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

// loadConfig is the load as it is asked for.
func (d *drill) loadConfig() load.Config {
	t, l := d.site.target(), &d.opt.Load
	return load.Config{
		Network: t.Network, Address: t.Address, Host: hostOf(l, t), Shapes: d.shapes, Clients: l.Clients, Rate: l.Rate, KeepAlive: l.KeepAlive,
		Timeout: l.Timeout, MaxRequests: mostRequests, MaxDuration: longest,
	}
}
