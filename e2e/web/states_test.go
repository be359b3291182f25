package web

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"superctl/e2e/harness"
)

// fed has the page take its events from the test: feed(event) is a function of the page.
const fed = `globalThis.EventSource = class { constructor() { globalThis.feed = (e) => this.onmessage({ data: JSON.stringify(e) }); this.readyState = 1; }
	close() { this.readyState = 2; } }; EventSource.CLOSED = 2;`

// object is a JSON object.
type object = map[string]any

const now = 1_800_000_000_000

func feed(b *browser, apps ...object) {
	b.t.Helper()
	text, err := json.Marshal(object{"host": "web1", "version": "1", "at": now, "whole": true, "apps": apps})
	must(b.t, err)
	if err := b.eval("feed("+string(text)+")", nil); err != nil {
		b.t.Fatal(err)
	}
}

func TestThePageSaysWhatIsWrongAndNeverPretends(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	b.before(fed)
	b.look(1280, "light")
	a := watched{harness.New(t, run, harness.Options{})} // its daemon does not run: the test is the daemon
	address := serve(t, a, "127.0.0.1:0")
	b.open(address)
	b.becomes(`globalThis.feed`)
	shows := func(texts ...string) {
		t.Helper()
		shown := get[string](b, `document.title + "\n" + document.body.innerText`)
		for _, want := range texts {
			if !strings.Contains(shown, want) {
				t.Errorf("%q is missing:\n%s", want, shown)
			}
		}
	}
	feed(b, []object{}...)
	shows("No apps on this host", "0 apps")

	const evil = `<img src=x onerror=alert(1)>"'&amp;a-very-long-name-without-a-space-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789-0123456789`
	feed(
		b,
		object{"key": "1", "name": "blog", "health": "stopped", "reason": "no daemon runs: systemctl start superctl@blog"},
		object{"key": "2", "name": "forum", "health": "unknown", "reason": "permission denied"},
		object{
			"key": "3", "name": evil, "health": "degraded", "reason": evil, "release": evil, "live_by": evil, "commit": evil,
			"verdict": "switch to " + evil + ": aborted. " + evil, "troubles": []string{evil}, "lock": evil,
			"changing":  object{"kind": "switch", "release": evil, "who": evil, "step": "canary", "share": 5, "since": now - 12000},
			"releases":  []object{{"generation": 1, "release": evil, "state": "live", "counted": false, "share": 95, "restarts": 3}},
			"uncounted": []string{"web (unknown server)"},
			"changes": object{"list": []object{{
				"number": 1, "kind": "switch", "result": "aborted", "release": evil, "previous": evil, "who": evil, "started": now - 60000,
				"seconds": 3, "error": evil, "culprit": evil, "log": []string{evil, evil}, "warnings": []string{evil},
			}}},
		},
		object{"key": "4", "name": "shop", "health": "down", "reason": "no worker answers", "changes": object{"problem": "an older daemon"}},
	)
	shows("blog: stopped", "no daemon runs: systemctl start superctl@blog", "forum: unknown", "permission denied", "4 apps: blog stopped",
		evil+" is live", "step canary (5 % of the connections), for 12 s", "Requests are not counted: web (unknown server).",
		"not counted", "95 %", "shop: down", "The history could not be read: an older daemon", "60 s ago")
	if n := get[int](b, `document.querySelectorAll('img, b, .chart:not([hidden]) path.line').length`); n > 0 {
		t.Errorf("%d elements come from a text, or are charts of what is not counted", n)
	}
	if get[bool](b, `[...document.querySelectorAll('.charts')].some((c) => c.checkVisibility())`) {
		t.Error("there are charts of what is not counted")
	}
	for _, width := range []int{1280, 360} {
		for _, colours := range []string{"light", "dark"} {
			b.look(width, colours)
			legible(t, b)
		}
	}
	feed(b, object{"key": "4", "name": "shop", "health": "ok", "release": "r1"})
	shows("all ok - web1", "1 app: all ok")
	b.clean(address)
	anHour(t, b)
}

// anHour feeds the page the events of an hour with a cutover each minute, and checks that it has not
// grown.
func anHour(t *testing.T, b *browser) {
	t.Helper()
	const minute = `(() => {
		for (let s = 0; s < 60; s += 7.5) {
			const i = %d * 60 + s, at = %d + i * 1000, g = 1 + Math.floor(i / 120);
			const release = (n, state) => ({ generation: n, release: 'r' + n, state, counted: true, rate: 40 });
			const lines = [];
			for (let n = Math.max(1, g - 5); n <= g; n++) lines.push({ generation: n, release: 'r' + n, points: n === g ? [[at, 40, 0, .01, .02]] : [] });
			const list = [];
			for (let n = Math.max(1, g - 19); n <= g; n++) list.unshift({ number: n, kind: 'switch', result: 'aborted', release: 'r' + n, started: at, seconds: 1, log: ['x'] });
			feed({ host: 'web1', version: '1', at, apps: [{ key: '4', name: 'shop', health: 'ok', release: 'r' + g, lines,
				releases: [release(g, 'live'), ...(g > 1 ? [release(g - 1, 'ended')] : [])],
				marks: lines.map((l) => ({ at: at - 120000 * (g - l.generation), release: l.release })), changes: s ? undefined : { list } }] });
		}
		return document.querySelectorAll('*').length;
	})()`
	most := 0
	for i := range 60 {
		n := get[int](b, fmt.Sprintf(minute, i, now))
		if i < 42 {
			most = max(most, n) // the history has twenty changes by now
		} else if n > most+most/20 || n > 1000 {
			t.Fatalf("the page has %d elements after %d minutes, and had at most %d in 40", n, i, most)
		}
	}
	points := get[int](b, `Math.max(...[...document.querySelectorAll('path.line')].map((p) => p.getAttribute('d').split(/[ML]/).length))`)
	if points < 10 || points > 20 {
		t.Errorf("a line has %d points", points)
	}
}
