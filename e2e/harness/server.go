package harness

import "strings"

// Server is a way to run the test project.
type Server struct {
	Name    string
	Command string // of the config's [process.web]
	UWSGI   bool   // it speaks the uwsgi protocol, so that only nginx and superctl's health check understand it
}

// GunicornSync is gunicorn as most run it. Like all servers here it has two workers, because two is the smallest number at
// which one can hide behind the other.
func GunicornSync() Server {
	return Server{Name: "gunicorn-sync", Command: "gunicorn --workers 2 shop.wsgi"}
}

// GunicornThreads is gunicorn with threads.
func GunicornThreads() Server {
	return Server{Name: "gunicorn-gthread", Command: "gunicorn --worker-class gthread --workers 2 --threads 4 shop.wsgi"}
}

// UWSGIHTTP is uWSGI speaking HTTP itself.
func UWSGIHTTP() Server {
	return Server{Name: "uwsgi-http", Command: "uwsgi --master --need-app --workers 2 --http-socket fd://{fd.web} --module shop.wsgi"}
}

// UWSGISocket is uWSGI speaking its own protocol, for a proxy's uwsgi_pass.
func UWSGISocket() Server {
	return Server{Name: "uwsgi-socket", UWSGI: true, Command: "uwsgi --master --need-app --workers 2 --socket fd://{fd.web} --module shop.wsgi"}
}

// Uvicorn is one uvicorn process.
func Uvicorn() Server {
	return Server{Name: "uvicorn", Command: "uvicorn shop.asgi:application --fd {fd.web}"}
}

// UvicornWorkers is uvicorn with worker processes.
func UvicornWorkers() Server {
	return Server{Name: "uvicorn-workers", Command: "uvicorn shop.asgi:application --fd {fd.web} --workers 2"}
}

// GunicornGevent is gunicorn with greenlets.
func GunicornGevent() Server {
	return Server{Name: "gunicorn-gevent", Command: "gunicorn --worker-class gevent --workers 2 shop.wsgi"}
}

// GunicornASGI is gunicorn with its own worker for ASGI.
func GunicornASGI() Server {
	return Server{Name: "gunicorn-asgi", Command: "gunicorn --worker-class asgi --workers 2 shop.asgi:application"}
}

// GunicornUvicorn is gunicorn with uvicorn in its workers.
func GunicornUvicorn() Server {
	return Server{Name: "gunicorn-uvicorn", Command: "gunicorn --worker-class uvicorn_worker.UvicornWorker --workers 2 shop.asgi:application"}
}

// UWSGILazy is uWSGI that imports the app in its worker. It has one, because a second one may still be importing when it is told to
// end, and not hear it (docs/servers.md).
func UWSGILazy() Server {
	return Server{Name: "uwsgi-lazy-apps", Command: "uwsgi --lazy-apps --workers 1 --threads 4 --module shop.wsgi"}
}

// Hypercorn is hypercorn with one worker: with more it cuts requests.
func Hypercorn() Server {
	return Server{Name: "hypercorn", Command: "hypercorn shop.asgi:application"}
}

// GranianASGI is Granian.
func GranianASGI() Server {
	return Server{Name: "granian-asgi", Command: "granian --interface asgi shop.asgi:application"}
}

// GranianWSGI is Granian, with several workers.
func GranianWSGI() Server {
	return Server{Name: "granian-wsgi", Command: "granian --interface wsgi --workers 2 shop.wsgi:application"}
}

// Daphne is Daphne, which has no workers.
func Daphne() Server { return Server{Name: "daphne", Command: "daphne shop.asgi:application"} }

// Waitress is Waitress, which has threads.
func Waitress() Server {
	return Server{Name: "waitress", Command: "waitress-serve shop.wsgi:application"}
}

// Cheroot is Cheroot, by -m because its own program does not find a module in the working directory.
func Cheroot() Server { return Server{Name: "cheroot", Command: "python -m cheroot shop.wsgi"} }

// Node is a program of Node's.
func Node() Server { return Server{Name: "node", Command: "node server.js"} }

// Puma is Puma, with more threads than there are clients that keep their connections: as many of them as it has threads keep it
// from accepting others (docs/servers.md).
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

// Bare is the server with a site that starts in a few milliseconds: the Python ones run it without Django.
func (s Server) Bare() Server {
	s.Command = strings.ReplaceAll(s.Command, " shop.", " bare.")
	return s
}

// Front is how a client's connection gets to the app.
type Front int

// The fronts.
const (
	TCP       Front = iota // straight to the app's TCP listener
	NginxTCP               // nginx, which connects to the app's TCP listener
	NginxUnix              // nginx, which connects to the app's unix socket
	Unix                   // straight to the app's unix socket
)

// String names the front in names of tests.
func (f Front) String() string {
	return [...]string{"tcp", "nginx-tcp", "nginx-unix", "unix"}[f]
}

// proxied says whether nginx is between.
func (f Front) proxied() bool { return f == NginxTCP || f == NginxUnix }

func (f Front) unix() bool { return f == Unix || f == NginxUnix }
