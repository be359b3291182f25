package terminal

import (
	"slices"
	"strings"
	"testing"
)

func TestTheExceptionOfATracebackIsFound(t *testing.T) {
	const gunicorn = `[812] [ERROR] Exception in worker process
Traceback (most recent call last):
  File "gunicorn/arbiter.py", line 752, in spawn_worker
    worker.init_process()
  File "shop/wsgi.py", line 2, in <module>
    import payments
    ^^^^^^^^^^^^^^^
ModuleNotFoundError: No module named 'payments'
[812] [INFO] Worker exiting (pid: 812)
Traceback (most recent call last):
  File "gunicorn/arbiter.py", line 270, in run
    handler()
gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>`
	for _, c := range []struct{ log, want string }{
		{gunicorn, "ModuleNotFoundError: No module named 'payments'"},
		{gunicorn[strings.Index(gunicorn, "  File \"shop"):], "ModuleNotFoundError: No module named 'payments'"},
		{"  File \"a.py\", line 1\n    if\nSyntaxError: invalid syntax", "SyntaxError: invalid syntax"},
		{"  File \"a.py\", line 1\n    stop()\nKeyboardInterrupt", "KeyboardInterrupt"},
		{"  File \"a.py\", line 1\n[812] another worker writes between\nbind: address in use", ""},
		{"listening\nbind: address in use", ""},
		{
			"  File \"hypercorn/lifespan.py\", line 118, in asgi_send\n    raise LifespanFailureError(message)\n" +
				"hypercorn.utils.LifespanFailureError: Lifespan failure in startup. 'Traceback (most recent call last):\n" +
				"  File \"shop/asgi.py\", line 5, in life\n    connect()\nRuntimeError: cannot reach db\n'",
			"RuntimeError: cannot reach db",
		},
		{gunicorn[strings.LastIndex(gunicorn, "Traceback"):], ""},
	} {
		if got := Exception(strings.Split(c.log, "\n")); got != c.want {
			t.Errorf("got %q, want %q in:\n%s", got, c.want, c.log)
		}
	}
}

func TestTheServersOwnTracebackIsLeftOut(t *testing.T) {
	in := []string{
		"Traceback (most recent call last):", `  File "shop/wsgi.py", line 3, in <module>`, "ModuleNotFoundError: payments",
		"Traceback (most recent call last):", `  File "gunicorn/arbiter.py", line 270, in run`,
		"gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>", "", "During handling of the above exception",
		"Traceback (most recent call last):", "    sys.exit(run())", "gunicorn.errors.HaltServer: 3", "end",
	}
	want := slices.Concat(in[:3], []string{
		"... 3 lines of gunicorn's own traceback", "", in[7], "... 3 lines of gunicorn's own traceback", "end",
	})
	if got := withoutOwn(in); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
