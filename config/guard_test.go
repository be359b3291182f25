package config

import (
	"reflect"
	"testing"
)

func TestAGuard(t *testing.T) {
	for text, want := range map[string]*Guard{
		"":                    {Points: 0.02, Factor: 2},
		`guard = "revert"`:    {Points: 0.02, Factor: 2},
		`guard = "warn"`:      {Warn: true, Points: 0.02, Factor: 2},
		`guard = "off"`:       nil,
		`[process.web.guard]`: {Points: 0.02, Factor: 2},
		"[process.web.guard]\nerrors = \"warn\"\npoints = 5\nfactor = 1.5": {Warn: true, Points: 0.05, Factor: 1.5},
		"[process.web.guard]\ncontrol = \"5%\"":                            {Points: 0.02, Factor: 2, Control: 500},
		"[process.web.guard]\ncontrol = \"0.01 %\"":                        {Points: 0.02, Factor: 2, Control: 1},
		"[process.web.guard]\nerrors = \"off\"":                            nil,
		"[process.web.guard]\nlatency = \"off\"":                           {Points: 0.02, Factor: 2},
		"[process.web.guard]\nlatency = \"revert\"": {
			Points: 0.02, Factor: 2, Latency: &GuardLatency{Slower: 1.5},
		},
		"[process.web.guard]\nerrors = \"off\"\nlatency = \"warn\"\nslower = 3": {
			Off: true, Points: 0.02, Factor: 2, Latency: &GuardLatency{Warn: true, Slower: 3},
		},
		"[process.web.guard]\nrate = \"revert\"": {Points: 0.02, Factor: 2, Rate: &GuardRate{}},
		"[process.web.guard]\nerrors = \"off\"\nrate = \"warn\"\ncontrol = \"5%\"": {
			Off: true, Points: 0.02, Factor: 2, Rate: &GuardRate{Warn: true}, Control: 500,
		},
	} {
		c, err := Parse("shop.toml", []byte(`app = "shop"
releases = "/srv/shop/releases"
[listen.web]
address = "127.0.0.1:8000"
[process.web]
command = "gunicorn shop.wsgi"
listen = ["web"]
`+text+"\n"))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := c.Processes[0].Guard; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", text, got)
		}
	}
}
