package site

import (
	"testing"

	"superctl/e2e/harness"
)

func TestAPreparedSwitchTurnsAtTheWordAndNotWithoutIt(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Start("r1")
	requests := a.Load(requestsOfAFewUsers())

	c := a.Converse("switch", "r2", "--prepare", "--json")
	c.Await(`{"ready":true,"release":"r2"}`)
	if st := a.Status(); st.Release != "r1" || len(st.Generations) != 2 || st.Changing == nil || st.Changing.Step != "ready" {
		t.Errorf("ready: %+v", st)
	}
	c.EndInput()
	if o := c.Wait().Want(1).Outcome(); o.Result != "aborted" || o.Changed || o.Steps[len(o.Steps)-1].Name != "ready" {
		t.Errorf("without the word: %+v", o)
	}
	harness.Eventually(t, "the prepared workers are gone", func() bool { return len(a.Status().Generations) == 1 })

	c = a.Converse("switch", "r2", "--prepare=1m", "--json")
	c.Await(`{"ready":true,"release":"r2"}`)
	c.Type("go")
	if o := c.Wait().Want(0).Outcome(); o.Result != "done" || o.Release != "r2" {
		t.Errorf("at the word: %+v", o)
	}
	a.More(requests, 10)
	a.Lossless(requests)
}
