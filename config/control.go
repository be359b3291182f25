package config

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"superctl/api"
)

// maxControl is the largest control, in 10,000: a comparison gives the old release as much.
const maxControl = 5000

// share parses the part of the connections that a control keeps, such as "5%", in 10,000.
func (l *loader) share(key string, v any) int {
	text, _ := v.(string)
	digits, isShare := strings.CutSuffix(strings.TrimSpace(text), "%")
	percent, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	share := int(math.Round(percent * 100))
	switch {
	case err != nil || !isShare:
		l.at(key, `control is a share such as "5%%"`)
	case share < 1 || share > maxControl: // int(NaN) is one of these
		l.at(key, "control: invalid share %s: use 0.01%% to 50%%", text)
	default:
		return share
	}
	return 0
}

// controls reports each control that could never be kept: the old release must run during the
// probation, and the gate must be able to choose which release a connection reaches.
func (l *loader) controls() {
	for i := range l.c.Processes {
		p := &l.c.Processes[i]
		if p.Guard == nil || p.Guard.Control == 0 {
			continue
		}
		key := "process." + p.Name + ".guard.control"
		if l.c.Probation == 0 {
			l.at(key, `control is for the probation, which is "0s": set probation, or remove control`)
		}
		if p.Strategy != api.Overlap {
			l.at(key, `process.%s has the strategy %q, with which two complete releases never run at once: `+
				`remove control, or write strategy = "overlap"`, p.Name, p.Strategy)
		}
		for _, name := range p.Listen {
			l.controlled(key, name)
		}
	}
}

// controlled reports a listener that a control cannot have a part of.
func (l *loader) controlled(key, name string) {
	const wayOut = `control needs one on TCP that the daemon opens itself (address = "127.0.0.1:8000", ` +
		`without gate = "shared"); or remove control`
	i := slices.IndexFunc(l.c.Listen, func(li Listen) bool { return li.Name == name })
	if i < 0 {
		return // reported already
	}
	li := l.c.Listen[i]
	switch {
	case li.Address.Network() == "systemd" || li.Gate == "shared":
		l.at(key, "listener %q (%s) has one queue for all generations, so superctl cannot choose which of them "+
			"a connection reaches: "+wayOut, name, li.Address)
	case li.Address.Network() == "unix":
		l.at(key, "listener %q (%s) is a path, which leads to one generation at a time: "+wayOut, name, li.Address)
	}
}
