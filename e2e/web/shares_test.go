package web

import "testing"

// heads, connections and rates return what the table of releases says of all of them.
const (
	heads       = `[...document.querySelectorAll('thead small')].map((e) => e.textContent.replace(/, until .*/, '')).join()`
	connections = `(` + cells + `('Connections')).join()`
	rates       = `(` + cells + `('Requests/s'))`
	cells       = `((head) => ([...document.querySelectorAll('tbody tr')].find((r) => r.innerText.startsWith(head))?.innerText || '').split(/\s*\t\s*/))`
)

func TestThePageShowsWhoGetsWhichConnections(t *testing.T) {
	t.Parallel()
	a := site(t, `probation = "0s"`)
	a.Options.Top, a.Options.Web = `probation = "1h"`, `guard = { control = "20%" }`
	a.WriteConfig()
	b := startBrowser(t)
	address := serve(t, a, "127.0.0.1:0")
	b.look(1280, "light")
	b.open(address)
	visit(a)
	shows := func(states, shares string) {
		t.Helper()
		b.becomes(heads + ` === '` + states + `'`)
		b.becomes(connections + ` === '` + shares + `'`)
		legible(t, b)
	}
	shows("live", "")

	canary := a.Begin("switch", "r42", "--canary", "5%", "--for", "1h")
	shows("live,canary", "Connections,95 %,5 %")
	b.becomes(`document.querySelector('.change').textContent.includes('step canary (5 % of the connections)')`)
	b.becomes(`/\d/.test(` + rates + `[2])`) // one that ended before would leave nothing to show
	a.Command("cancel").Want(0)
	canary.Wait().Want(1)

	control := a.Begin("switch", "r42")
	shows("control,ended,live", "Connections,20 %,-,80 %")
	a.Command("rollback").Want(0)
	control.Wait()
	shows("live,ended,ended", "")
	b.clean(address)
}
