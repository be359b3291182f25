package config

import (
	"maps"
	"slices"
	"strings"

	"superctl/supervisor/guard"
)

// Guard is how the requests of a new release are judged.
type Guard struct {
	Warn   bool    // a worse release is only told
	Points float64 // the least difference of the shares of errors, between 0 and 1
	Factor float64 // the least ratio of the shares of errors
}

// guardModes lists what a guard does about errors.
const guardModes = `"revert" (the default), "warn" or "off"`

// guard parses what happens to a new release that answers with more errors. A process with
// listeners is guarded by default.
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
		mode = l.guardMode(key, v)
	case map[string]any:
		mode = l.guardTable(key, v, g)
	default:
		l.at(key, "guard is %s, or a table [%s]", guardModes, key)
	}
	g.Warn = mode == "warn"
	if mode == "off" || !listens {
		return nil
	}
	return g
}

func (l *loader) guardMode(key, mode string) string {
	if !slices.Contains([]string{"revert", "warn", "off"}, mode) {
		l.at(key, "%q is not known: write %s", mode, guardModes)
	}
	return mode
}

func (l *loader) guardTable(key string, table map[string]any, g *Guard) (mode string) {
	mode = "revert"
	for _, name := range slices.Sorted(maps.Keys(table)) {
		at, v := key+"."+name, table[name]
		switch name {
		case "errors":
			text, ok := v.(string)
			if !ok {
				l.at(at, "errors is %s", guardModes)
				continue
			}
			mode = l.guardMode(at, text)
		case "points":
			g.Points = l.between(at, v, 0.1, 100) / 100
		case "factor":
			g.Factor = l.between(at, v, 1, 1000)
		default:
			l.at(at, "unknown key %q: a guard has %s", name, strings.Join([]string{"errors", "points", "factor"}, ", "))
		}
	}
	return mode
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
