package harness

import "strings"

// Server is a way to run the test project.
type Server struct {
	Name    string
	Command string // of the config's [process.web]
	UWSGI   bool   // it speaks the uwsgi protocol, which only nginx and superctl's health check understand
}

// GunicornSync is gunicorn with its default workers. Like all servers here it has two, the smallest
// number at which one worker can hide a fault of the other.
func GunicornSync() Server {
	return Server{Name: "gunicorn-sync", Command: "gunicorn --workers 2 shop.wsgi"}
}

// GunicornThreads is gunicorn with threads.
func GunicornThreads() Server {
	return Server{
		Name:    "gunicorn-gthread",
		Command: "gunicorn --worker-class gthread --workers 2 --threads 4 shop.wsgi",
	}
}

// UWSGIHTTP is uWSGI speaking HTTP itself.
func UWSGIHTTP() Server {
	return Server{
		Name:    "uwsgi-http",
		Command: "uwsgi --master --need-app --workers 2 --http-socket fd://{fd.web} --module shop.wsgi",
	}
}

// UWSGISocket is uWSGI speaking its own protocol, for a proxy's uwsgi_pass.
func UWSGISocket() Server {
	return Server{
		Name: "uwsgi-socket", UWSGI: true,
		Command: "uwsgi --master --need-app --workers 2 --socket fd://{fd.web} --module shop.wsgi",
	}
}

// Uvicorn is one uvicorn process.
func Uvicorn() Server {
	return Server{Name: "uvicorn", Command: "uvicorn shop.asgi:application --fd {fd.web}"}
}

// UvicornWorkers is uvicorn with worker processes. By default it kills a worker that does not answer it for 5 s, as
// on a busy machine one that starts may do.
func UvicornWorkers() Server {
	return Server{
		Name:    "uvicorn-workers",
		Command: "uvicorn shop.asgi:application --fd {fd.web} --workers 2 --timeout-worker-healthcheck 300",
	}
}

// GunicornGevent is gunicorn with greenlets.
func GunicornGevent() Server {
	return Server{Name: "gunicorn-gevent", Command: "gunicorn --worker-class gevent --workers 2 shop.wsgi"}
}

// GunicornASGI is gunicorn with its own worker for ASGI. After its default of 2 s it closes an idle
// connection, which on a loaded machine meets the next request: that loss is no switch's.
func GunicornASGI() Server {
	return Server{
		Name:    "gunicorn-asgi",
		Command: "gunicorn --worker-class asgi --workers 2 --keep-alive 60 shop.asgi:application",
	}
}

// GunicornUvicorn is gunicorn with uvicorn in its workers.
func GunicornUvicorn() Server {
	return Server{
		Name:    "gunicorn-uvicorn",
		Command: "gunicorn --worker-class uvicorn_worker.UvicornWorker --workers 2 shop.asgi:application",
	}
}

// UWSGILazy is uWSGI that imports the app in its worker. It has one worker, because a second one
// may miss the stop signal while it imports (docs/servers.md).
func UWSGILazy() Server {
	return Server{Name: "uwsgi-lazy-apps", Command: "uwsgi --lazy-apps --workers 1 --threads 4 --module shop.wsgi"}
}

// Hypercorn is hypercorn with one worker: with more it aborts requests.
func Hypercorn() Server {
	return Server{Name: "hypercorn", Command: "hypercorn shop.asgi:application"}
}

// GranianASGI is Granian for ASGI.
func GranianASGI() Server {
	return Server{Name: "granian-asgi", Command: "granian --interface asgi shop.asgi:application"}
}

// GranianWSGI is Granian for WSGI, with two workers.
func GranianWSGI() Server {
	return Server{Name: "granian-wsgi", Command: "granian --interface wsgi --workers 2 shop.wsgi:application"}
}

// Daphne is Daphne, which has no workers.
func Daphne() Server { return Server{Name: "daphne", Command: "daphne shop.asgi:application"} }

// Waitress is Waitress, which uses threads.
func Waitress() Server {
	return Server{Name: "waitress", Command: "waitress-serve shop.wsgi:application"}
}

// Cheroot is Cheroot, started with -m because its own program does not find modules in the working
// directory.
func Cheroot() Server { return Server{Name: "cheroot", Command: "python -m cheroot shop.wsgi"} }

// Node is a Node.js program.
func Node() Server { return Server{Name: "node", Command: "node server.js"} }

// Puma is Puma, with more threads than there are clients that keep connections: as many kept
// connections as threads would block new ones (docs/servers.md).
func Puma() Server { return Server{Name: "puma", Command: "puma --threads 16:16"} }

// Go is a Go program, built at the first call.
func (r *Run) Go(t T) Server {
	t.Helper()
	path, err := r.goshop()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return Server{Name: "go", Command: path}
}

// Bare returns the server with a site that starts in a few milliseconds: without Django.
func (s Server) Bare() Server {
	s.Command = strings.ReplaceAll(s.Command, " shop.", " bare.")
	return s
}

// Front is how a client's connection reaches the app.
type Front int

// The fronts.
const (
	TCP       Front = iota // directly to the app's TCP listener
	NginxTCP               // by nginx, which connects to the app's TCP listener
	NginxUnix              // by nginx, which connects to the app's unix socket
	Unix                   // directly to the app's unix socket
)

// String returns the front's name for test names.
func (f Front) String() string {
	return [...]string{"tcp", "nginx-tcp", "nginx-unix", "unix"}[f]
}

// proxied reports whether nginx is in between.
func (f Front) proxied() bool { return f == NginxTCP || f == NginxUnix }

func (f Front) unix() bool { return f == Unix || f == NginxUnix }
