package config

import (
	"maps"
	"slices"

	"superctl/supervisor/guard"
)

// Guard is how the requests of a new release are judged.
type Guard struct {
	Off     bool    // errors are not judged
	Warn    bool    // a release with more errors is only told
	Points  float64 // the least difference of the shares of errors, between 0 and 1
	Factor  float64 // the least ratio of the shares of errors
	Latency *GuardLatency
	Rate    *GuardRate
	Control int // the part of the connections that the old release keeps in the probation, in 10,000; 0 = none
}

// GuardLatency is how the latency of a new release is judged.
type GuardLatency struct {
	Warn   bool    // a slower release is only told
	Slower float64 // how many times as long its p50 or p95 must at least be
}

// GuardRate is how a new release is judged that stops answering.
type GuardRate struct {
	Warn bool // it is only told
}

// guardKeys lists the keys of [process.NAME.guard].
const guardKeys = "errors, points, factor, latency, slower, rate, control"

// What a guard does about errors, and about slow answers.
const (
	guardModes   = `"revert" (the default), "warn" or "off"`
	latencyModes = `"revert", "warn" or "off" (the default)` // of the rate, too
)

// guard parses what happens to a new release that is worse than the old one. A process with listeners
// is guarded by default.
func (l *loader) guard(key string, t processTable) *Guard {
	key += ".guard"
	listens := len(t.Listen) > 0
	if t.Guard != nil && !listens {
		l.at(key, "a guard judges requests, and this process has no listener: remove guard")
	}
	g := &Guard{Points: guard.DefaultPoints, Factor: guard.DefaultFactor}
	mode := "revert"
	switch v := t.Guard.(type) {
	case nil:
	case string:
		mode = l.guardMode(key, v, guardModes)
	case map[string]any:
		mode = l.guardTable(key, v, g)
	default:
		l.at(key, "guard is %s, or a table [%s]", guardModes, key)
	}
	g.Warn, g.Off = mode == "warn", mode == "off"
	judges := !g.Off || g.Latency != nil || g.Rate != nil
	if !judges && g.Control > 0 {
		l.at(key+".control", "control is for a guard, which is off: remove control")
	}
	if !judges || !listens {
		return nil
	}
	return g
}

func (l *loader) guardMode(key, mode, modes string) string {
	if !slices.Contains([]string{"revert", "warn", "off"}, mode) {
		l.at(key, "%q is not known: write %s", mode, modes)
	}
	return mode
}

func (l *loader) guardTable(key string, table map[string]any, g *Guard) (mode string) {
	mode = "revert"
	latency, slower := "off", guard.DefaultSlower
	for _, name := range slices.Sorted(maps.Keys(table)) {
		at, v := key+"."+name, table[name]
		switch name {
		case "errors":
			mode = l.guardKey(at, name, v, guardModes)
		case "latency":
			latency = l.guardKey(at, name, v, latencyModes)
		case "rate":
			if rate := l.guardKey(at, name, v, latencyModes); rate != "off" {
				g.Rate = &GuardRate{Warn: rate == "warn"}
			}
		case "slower":
			slower = l.between(at, v, 1.1, 100)
		case "control":
			g.Control = l.share(at, v)
		case "points":
			g.Points = l.between(at, v, 0.1, 100) / 100
		case "factor":
			g.Factor = l.between(at, v, 1, 1000)
		default:
			l.at(at, "unknown key %q: a guard has %s", name, guardKeys)
		}
	}
	if latency != "off" {
		g.Latency = &GuardLatency{Warn: latency == "warn", Slower: slower}
	} else if table["slower"] != nil {
		l.at(key+".slower", `slower is for latency, which is off: write latency = "revert" too, or remove slower`)
	}
	return mode
}

// guardKey parses the mode that a key of the table has.
func (l *loader) guardKey(at, name string, v any, modes string) string {
	text, ok := v.(string)
	if !ok {
		l.at(at, "%s is %s", name, modes)
		return "revert"
	}
	return l.guardMode(at, text, modes)
}

// between parses a number that may have a fraction.
func (l *loader) between(key string, v any, least, most float64) float64 {
	var n float64
	switch v := v.(type) {
	case int64:
		n = float64(v)
	case float64:
		n = v
	default:
		l.at(key, "a number is expected, from %g to %g", least, most)
		return least
	}
	if !(n >= least && n <= most) { // also a NaN
		l.at(key, "%g: write a number from %g to %g", n, least, most)
		return least
	}
	return n
}
