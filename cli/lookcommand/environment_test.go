//go:build linux

package lookcommand

import (
	"bytes"
	"testing"

	"superctl/api"
)

func TestStatusShowsEachVariableWithItsSource(t *testing.T) {
	var out bytes.Buffer
	web := api.ProcessEnvironment{Process: "web", Variables: []api.Variable{
		{Name: "DJANGO_SETTINGS_MODULE", From: "config"}, {Name: "LANG", From: "superctl"},
	}}
	writeEnvironment(&out, &api.EnvironmentStatus{
		App: "shop", Release: "r1", Generation: 3, Processes: []api.ProcessEnvironment{web},
	}, false)
	const want = `shop: r1, generation 3

  WEB                     SOURCE
  DJANGO_SETTINGS_MODULE  config
  LANG                    superctl
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	writeEnvironment(&out, &api.EnvironmentStatus{App: "shop"}, false)
	if out.String() != "shop: no release is live\n" {
		t.Errorf("got %q", out.String())
	}
}
