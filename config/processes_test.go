package config

import (
	"slices"
	"testing"
)

func TestProcessesStartInTheOrderOfTheFile(t *testing.T) {
	c := mustRead(t, `app = "shop"
releases = "/srv/shop/releases"
[process.zebra.env]
A = "1"
[process.mouse]
command = "mouse"
[process.ant]
command = "ant"
[process.zebra]
command = "zebra"
`)
	var got []string
	for _, p := range c.Processes {
		got = append(got, p.Name)
	}
	if want := []string{"zebra", "mouse", "ant"}; !slices.Equal(got, want) {
		t.Errorf("they start as %v, not %v", got, want)
	}
}
