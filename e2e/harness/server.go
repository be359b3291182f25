package harness

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
