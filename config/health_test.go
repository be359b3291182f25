package config

import (
	"strings"
	"testing"
	"time"

	"superctl/supervisor/health"
)

func TestChecksShareTheKeysOfTheirTable(t *testing.T) {
	c := mustRead(t, `app = "shop"
releases = "/srv/shop/releases"
[listen.web]
address = "127.0.0.1:8000"
[process.web]
command = "gunicorn shop.wsgi"
listen = ["web"]
[process.web.health]
host = "shop.example"
scheme = "https"
timeout = "2s"
headers = { X-A = "1", X-B = "1" }
[[process.web.health.check]]
path = "/healthz/"
[[process.web.health.check]]
path = "/"
host = "www.shop.example"
headers = { X-B = "2" }
max_latency = "1s"
[[process.web.health.check]]
kind = "tcp"
[process.worker]
command = "celery -A shop worker"
[process.worker.health]
command = "celery -A shop inspect ping"
`)
	all := c.Processes[0].Health.Checks()
	if len(all) != 3 {
		t.Fatalf("%d checks: %+v", len(all), all)
	}
	first, second, third := all[0], all[1], all[2]
	if first.Path != "/healthz/" || first.Host != "shop.example" || first.Scheme != "https" ||
		first.Timeout != 2*time.Second || first.Headers["X-B"] != "1" || first.AnyAnswer {
		t.Errorf("%+v", first)
	}
	if second.Host != "www.shop.example" || second.Headers["X-A"] != "1" || second.Headers["X-B"] != "2" ||
		second.MaxLatency != time.Second {
		t.Errorf("%+v", second)
	}
	if third.Kind != health.TCP || third.Host != "" || third.Timeout != 2*time.Second {
		t.Errorf("%+v", third)
	}
	worker := c.Processes[1].Health
	if worker == nil || worker.Kind != health.Exec || worker.Interval != 2*time.Second || len(worker.Command) != 5 {
		t.Errorf("%+v", worker)
	}
}

func TestAHostThatIsNoNameIsWarnedOf(t *testing.T) {
	for host, want := range map[string]string{
		"shop.example": "", "shop.example:8000": "", "[::1]:8000": "", "127.0.0.1": "", "my_shop": "",
		"http://shop.example":  `write "shop.example"`,
		"shop.example/healthz": `write "shop.example"`,
		"::1":                  `write "[::1]"`,
		"müller.example":       `write "xn--mller-kva.example"`,
	} {
		c, err := Parse("shop.toml", []byte("app = \"shop\"\nreleases = \"/srv/shop/releases\"\n[listen.web]\naddress = \"127.0.0.1:8000\"\n"+
			"[process.web]\ncommand = \"gunicorn shop.wsgi\"\nlisten = [\"web\"]\n[process.web.health]\npath = \"/\"\nhost = \""+host+"\"\n"))
		if err != nil {
			t.Fatal(err)
		}
		said := strings.Join(c.Warnings, "\n")
		if want == "" && said != "" || !strings.Contains(said, want) {
			t.Errorf("%s: %q", host, said)
		}
	}
}
