package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"superctl/e2e/harness"
	"superctl/e2e/systemd"
	"superctl/load"
)

// kills is how often the main process of each service is killed.
const kills = 3

// crashRate is the rate of the load in requests a second.
const crashRate = 100

// crash is the cost of killing the main process of a service, which supervises the workers, with
// SIGKILL.
type crash struct {
	name      string
	result    *load.Result
	silent    time.Duration   // the longest time without a good answer around a kill
	takeovers []time.Duration // from each kill until a new main process answers, if it can be asked
	err       error
}

// service is a way to run the app under systemd.
type service struct {
	name  string
	unit  string                             // whose main process is killed
	start []string                           // units to start before it
	files func(address, peers string) []file // config files to write; nil for superctl, which has its package
}

type file struct{ path, text string }

// unit returns a service unit, which differs between services only in how they are started: as
// their manuals show, with Restart=always.
func unit(more string) string {
	return "[Service]\nUser=shop\nWorkingDirectory=/srv/shop/current\nRuntimeDirectory=shop\nRestart=always\nEnvironment=PYTHONUNBUFFERED=1\n" +
		more
}

func services() []service {
	const units = "/etc/systemd/system/"
	const gunicorn = "/srv/shop/current/venv/bin/gunicorn --worker-class gthread --workers 2 --threads 4 --no-control-socket"
	return []service{
		{name: "superctl, gunicorn", unit: "superctl@shop.service"},
		{
			name: "gunicorn, socket unit", unit: "shop.service", start: []string{"shop.socket"},
			files: func(address, _ string) []file {
				return []file{
					{units + "shop.socket", "[Socket]\nListenStream=" + address + "\n"},
					{
						units + "shop.service",
						unit("Type=notify\nKillMode=mixed\nExecStart=" + gunicorn + " shop.wsgi\n"),
					},
				}
			},
		},
		{
			name: "gunicorn, its own socket", unit: "shop.service",
			files: func(address, _ string) []file {
				return []file{{
					units + "shop.service",
					unit("Type=notify\nKillMode=mixed\nExecStart=" + gunicorn + " --bind " + address + " shop.wsgi\n"),
				}}
			},
		},
		{
			name: "uWSGI", unit: "shop.service",
			files: func(address, _ string) []file {
				return []file{{units + "shop.service", unit("Type=notify\nKillSignal=SIGQUIT\nExecStart=/srv/shop/current/venv/bin/uwsgi --master --need-app --workers 2 --threads 4 --enable-threads" +
					" --http-socket " + address + " --pythonpath /srv/shop/current --module shop.wsgi --add-header \"Connection: close\"\n")}}
			},
		},
		{
			name: "supervisord, gunicorn", unit: "shop.service",
			files: func(address, peers string) []file {
				return []file{
					{
						units + "shop.service",
						unit("ExecStart=" + peers + "/bin/supervisord --nodaemon --configuration /etc/supervisord.conf\n"),
					},
					{"/etc/supervisord.conf", "[supervisord]\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile=/run/shop/pid\n" +
						"[program:shop]\ncommand=" + gunicorn + " --bind " + address + " shop.wsgi\ndirectory=/srv/shop/current\nautorestart=true\n"},
				}
			},
		},
		{
			name: "circus, gunicorn", unit: "shop.service",
			files: func(address, peers string) []file {
				host, port, _ := strings.Cut(address, ":")
				return []file{
					{units + "shop.service", unit("ExecStart=" + peers + "/bin/circusd /etc/circus.ini\n")},
					{"/etc/circus.ini", "[circus]\nendpoint = ipc:///run/shop/endpoint\npubsub_endpoint = ipc:///run/shop/pubsub\n" +
						"[watcher:shop]\ncmd = " + gunicorn +
						" --bind fd://$(circus.sockets.web) shop.wsgi\nworking_dir = /srv/shop/current\nuse_sockets = True\ncopy_env = True\n" +
						"[socket:web]\nhost = " + host + "\nport = " + port + "\n"},
				}
			},
		},
	}
}

// crashes runs every service and kills its main process.
func (c *comparison) crashes(run *harness.Run) {
	for _, sv := range services() {
		if !c.o.only.MatchString(sv.name) {
			continue
		}
		s := &scene{run: run}
		k := crash{name: sv.name}
		if why := systemd.Unavailable(); why != "" {
			k.err = errors.New(why)
		} else {
			k, k.err = s.crash(sv, c.o.tools)
			s.end()
		}
		k.name = sv.name
		if k.err != nil {
			fmt.Printf("kill -9: %-35s %v\n", k.name, k.err)
		} else {
			fmt.Printf("kill -9: %-35s %d requests, %d failed\n", k.name, len(k.result.Records), len(k.result.Failed()))
		}
		c.killed = append(c.killed, k)
	}
}

// crash runs one service under load and kills its main process several times.
func (s *scene) crash(sv service, peers string) (c crash, err error) {
	defer s.recovered(&err)
	c.name = sv.name
	dir, err := os.MkdirTemp(s.run.Dir, "crash")
	s.must(err)
	address := systemd.FreeAddress(s)
	binds := []systemd.Bind{{From: peers, To: peers}}
	if sv.files != nil {
		for i, f := range sv.files(address, peers) {
			from := filepath.Join(dir, fmt.Sprint(i))
			s.must(os.WriteFile(from, []byte(f.text), 0o644))
			binds = append(binds, systemd.Bind{From: from, To: f.path})
		}
	}
	site := systemd.NewSite(s, s.run, systemd.Options{Address: address, Units: binds})
	s.must(site.Release("r1", behaviour()))
	if sv.files == nil {
		site.Start(s, "r1")
	} else {
		site.Run("ln", "-s", "/srv/shop/releases/r1", "/srv/shop/current").Want(0)
		site.Run(slices.Concat([]string{"systemctl", "start"}, sv.start, []string{sv.unit})...).Want(0)
	}
	s.answering(address)

	r, err := load.Start(load.Config{
		Network: "tcp", Address: address, Clients: 24, Rate: crashRate, Timeout: 20 * time.Second,
		Shapes: []load.Shape{load.Get("/"), load.Post("/echo", 4<<10)},
	})
	s.must(err)
	defer r.Stop()
	s.must(r.WaitMore(limit(), 2*crashRate))
	for range kills {
		was := daemon(site)
		began := time.Now()
		site.Run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", sv.unit).Want(0)
		if sv.files == nil {
			harness.Eventually(s, "another daemon answers", func() bool {
				pid := daemon(site)
				return pid != 0 && pid != was
			})
			c.takeovers = append(c.takeovers, time.Since(began))
		}
		s.must(r.Wait(limit(), func(records []load.Record) bool { return recoveredSince(records, began) }))
		s.must(r.WaitMore(limit(), 2*crashRate))
	}
	c.result = r.Stop()
	c.silent = silence(c.result.Records)
	return c, nil
}

// daemon returns the pid of superctl's daemon, or 0 if none answers.
func daemon(site *systemd.Site) int {
	var st harness.Status
	if r := site.Superctl("status", "--json"); json.Unmarshal([]byte(r.Stdout), &st) != nil {
		return 0
	}
	return st.PID
}

// recoveredSince reports whether all requests of one second, begun after that moment, succeeded.
func recoveredSince(records []load.Record, since time.Time) bool {
	n := 0
	for i := len(records) - 1; i >= 0 && records[i].Failure == load.None && records[i].Begun.After(since); i-- {
		n++
	}
	return n >= crashRate
}

func limit() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	_ = cancel // it ends with the bench
	return ctx
}

// silence returns the longest time between two good answers.
func silence(records []load.Record) (longest time.Duration) {
	var ends []time.Time
	for _, r := range records {
		if r.Failure == load.None {
			ends = append(ends, r.Ended)
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	for i := 1; i < len(ends); i++ {
		longest = max(longest, ends[i].Sub(ends[i-1]))
	}
	return longest
}
