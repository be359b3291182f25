//go:build linux

package checkcommand

import (
	"bytes"
	"testing"

	"superctl/api"
	"superctl/cli/console"
	"superctl/config"
)

func TestATrialSaysWhatItHasNotTried(t *testing.T) {
	web, worker := config.Process{Name: "web", Listen: []string{"web"}}, config.Process{Name: "worker"}
	for want, processes := range map[string][]config.Process{
		"shop: r1 works: its health check passed on a private socket\n":                                          {web},
		"shop: r1 works: its health check passed on a private socket. Not started, without a listener: worker\n": {web, worker},
		"shop: r1 is complete. Nothing of it was started: without a listener, worker would do real work\n":       {worker},
	} {
		conf := &config.Config{App: "shop", Processes: processes}
		var b bytes.Buffer
		pr := printer{&command{&console.Console{Stdout: &b}}}
		pr.trial(conf, &api.Outcome{Result: api.Done, Release: "r1"}, notTried(conf))
		if b.String() != want {
			t.Errorf("got %q, want %q", b.String(), want)
		}
	}
}
