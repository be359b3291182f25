//go:build linux

package console

import (
	"bytes"
	"testing"
	"time"

	"superctl/api"
	"superctl/cli/terminal"
)

func TestTheReasonOfAFailedStepIsSaidOnce(t *testing.T) {
	fail := api.Event{Type: "fail", Step: "prove", Seconds: 0.5, Detail: "web.0 ended: exit code 1"}
	for verdict, want := range map[string]string{
		"prove: web.0 ended: exit code 1": "prove         500 ms  failed\n",
		"interrupted":                     "prove         500 ms  failed\nweb.0 ended: exit code 1\n",
	} {
		var out bytes.Buffer
		p := newProgress(&out, time.Now)
		p.Event(fail)
		p.End(verdict)
		if out.String() != want {
			t.Errorf("before the verdict %q: got %q, want %q", verdict, out.String(), want)
		}
	}
}

func TestTheLiveLinesShowTheStepAndTheNewestLineOfAWorker(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	out := terminal.NewText(44)
	p := &Progress{
		out: out, now: func() time.Time { now = now.Add(time.Second); return now }, live: true, stop: make(chan struct{}),
	}
	p.Event(api.Event{Type: "begin", Step: "prove", Limit: 60})
	p.hear(api.LogLine{Process: "web", Text: "\x1b[31mimporting\tshop.catalogue.models of a very large project"})
	p.Event(api.Event{Type: "progress", Step: "prove", Detail: "web: GET /healthz/: no answer within 5s"})
	p.Event(api.Event{Type: "end", Step: "prove", Detail: "healthy 3 times in a row", Seconds: 2})
	p.End()
	var screen bytes.Buffer
	if _, err := terminal.NewScreen(&screen).Write(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	const want = "\r\x1b[Kprove         1.0 of 60 s" +
		"\r\x1b[Kprove         2.0 of 60 s  web: GET /hea...\n" +
		"  web.0 | importing shop.catalogue.model..." +
		"\x1b[1A\r\x1b[J" + "prove          2.0 s  ok healthy 3 times in\n                      a row\n" +
		"\r\x1b[K"
	if screen.String() != want {
		t.Errorf("got  %q\nwant %q", screen.String(), want)
	}
}
