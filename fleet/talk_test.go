package fleet

import (
	"context"
	"errors"
	"io"
	"testing"

	"superctl/api"
)

// failing is a transport to hosts on which each command fails with a reason of two lines.
type failing struct{ Transport }

func (failing) Run(_ context.Context, _ string, c Call) error {
	_, _ = io.WriteString(c.Stdout, `{"error":"the config is wrong:\nline 3","exit":2}`)
	return &ExitError{Code: api.ExitUsage, Stderr: "line 3"}
}

func TestARunNamesTheWholeReasonOfAHost(t *testing.T) {
	r := &run{transport: failing{}, result: &Result{}}
	maintain := func() error {
		_, err := maintaining{r}.commandOn(t.Context(), &member{}, true)
		return err
	}
	install := func() error {
		_, err := delivery{r}.installed(func(c Call) error { return failing{}.Run(t.Context(), "web1", c) })
		return err
	}
	for name, command := range map[string]func() error{
		"a list":          func() error { return ask(t.Context(), failing{}, "web1", new([]listed), "releases", "--json") },
		"an outcome":      func() error { return ask(t.Context(), failing{}, "web1", new(api.Outcome), "rollback", "--json") },
		"the maintenance": maintain,
		"an install":      install,
	} {
		err := command()
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Code != api.ExitUsage || err.Error() != "the config is wrong:\nline 3" {
			t.Errorf("%s: %q", name, err)
		}
	}
}
