package config

import (
	"slices"
	"testing"
)

func TestAfterChangesTheStartOrder(t *testing.T) {
	c, err := Parse("shop.toml", []byte(`
app = "shop"
releases = "/srv/shop/releases"
[process.beat]
command = "beat"
after = ["worker", "web"]
[process.mail]
command = "mail"
[process.worker]
command = "worker"
[listen.web]
address = "127.0.0.1:8000"
[process.web]
command = "gunicorn shop.wsgi"
listen = ["web"]
`))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range c.Processes {
		names = append(names, p.Name)
	}
	if want := []string{"mail", "worker", "beat", "web"}; !slices.Equal(names, want) {
		t.Errorf("%q, not %q", names, want)
	}
}
