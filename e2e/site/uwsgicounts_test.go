package site

import (
	"testing"

	"superctl/e2e/harness"
)

// uwsgiApps has applications of every kind that uWSGI loads, and uses uWSGI's own hooks.
const uwsgiApps = `
import counted
import uwsgi

def decorated(app):
    def inner(environ, start_response):
        return app(environ, start_response)
    return inner

class Answer:
    """An application that is its answer, as PEP 3333 allows."""

    def __init__(self, environ, start_response):
        self.parts = counted.wsgi(environ, start_response)

    def __iter__(self):
        return iter(self.parts)

def named(environ, start_response):
    """Answers 201 if the variables are what they were, and the application's hooks have run."""
    whole = application is own and forked
    start_response("201 Created" if whole else "500 Changed", [("Content-Length", "0")])
    return []

def file(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))

application = own = decorated(named)
closure = decorated(counted.wsgi)
make = lambda: closure
forked = []
before = getattr(uwsgi, "post_fork_hook", lambda: None)
uwsgi.post_fork_hook = lambda: (before(), forked.append(1))
`

func TestAppsOfEveryKindInUWSGIAreCounted(t *testing.T) {
	t.Parallel()
	const mounts = " --mount /a=counted:wsgi --mount /b=kinds:closure --mount /c=kinds.py --manage-script-name --callable closure"
	for name, c := range map[string]struct {
		options string
		path    string // "" = /404
		class   int    // 0 = 4
	}{
		"a function with hooks of uWSGI": {options: "--module kinds", path: "/", class: 2},
		"a function with free variables": {options: "--wsgi-file kinds.py --callable closure"},
		"a class":                        {options: "--module kinds --callable Answer --lazy-apps"},
		"what a function returns":        {options: "--module kinds:make()"},
		"a file that is sent":            {options: "--module kinds:file", class: 2},
		"an ini file":                    {options: "--ini app.ini"},
		"of several, the first":          {options: "--threads 2" + mounts, path: "/a/404"},
		"of several, the second":         {options: "--lazy-apps" + mounts, path: "/b/404"},
		"of several, the third":          {options: "--single-interpreter" + mounts, path: "/c/404"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := harness.New(t, run, harness.Options{Server: harness.Server{Name: "kinds", Command: "uwsgi " + c.options}})
			a.Releases("r1")
			a.WriteFile("releases/r1/counted.py", string(countedApps))
			a.WriteFile("releases/r1/kinds.py", uwsgiApps)
			a.WriteFile("releases/r1/app.ini", "[uwsgi]\nwsgi-file = kinds.py\ncallable = closure\nthreads = 2\n")
			a.Start("r1")
			if c.path == "" {
				c.path = "/404"
			}
			if c.class == 0 {
				c.class = 4
			}
			const requests = 6
			for range requests {
				conn, in := dial(t, a)
				if class, _ := askOn(t, conn, in, c.path); class != c.class {
					t.Errorf("%s: %dxx", c.path, class)
				}
				_ = conn.Close()
			}
			r := settled(t, a, requests)
			if counted := map[int]uint64{2: r.Status2xx, 4: r.Status4xx}; counted[c.class] != requests || r.Started != requests {
				t.Errorf("%+v", r)
			}
		})
	}
}
