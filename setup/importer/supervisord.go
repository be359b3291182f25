package importer

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"superctl/redact"
	"superctl/setup"
)

// supervisor imports a supervisord.conf.
func (r *report) supervisor(f File) {
	list := syntax{comments: ";#", inline: " ;", indented: true, separators: "=:"}.scan(f.Path, f.Text)
	r.directories(list, "directory")
	for _, d := range list {
		kind, name, _ := strings.Cut(d.section, ":")
		switch {
		case d.key == "":
			r.dropped(d, "not a setting")
		case kind == "program" || kind == "fcgi-program":
			r.program(d, name)
		case kind == "eventlistener":
			r.dropped(d, "superctl has no event listeners: for messages about changes see docs/notify.md")
		case kind == "group":
			r.builtIn(d, "the processes of a config belong together")
		case kind == "supervisord" && d.key == "user":
			r.dropped(d, "the daemon runs as the app's user")
		case kind == "supervisord" && d.key == "environment":
			r.supervisorEnvironment(d, nil)
		case kind == "include":
			r.dropped(d, "import the included files one by one")
		case kind == "inet_http_server":
			r.dropped(d, "superctl is controlled by a unix socket alone")
		case slices.Contains([]string{"supervisord", "supervisorctl", "unix_http_server", "rpcinterface"}, kind):
			r.builtIn(d, "superctl has its own daemon, log and control socket")
		default:
			r.dropped(d, "superctl init does not know the section ["+d.section+"]")
		}
	}
	r.oneApp(f.Path)
}

// directories takes the app's directory from the first setting of that name.
func (r *report) directories(list []directive, keys ...string) {
	for _, d := range list {
		if slices.Contains(keys, d.key) && filepath.IsAbs(d.value) && r.out.Dir == "" {
			r.out.Dir = d.value
		}
	}
}

// oneApp names the app after its directory, else after its file.
func (r *report) oneApp(path string) {
	name := r.out.Dir
	if name != "" && slices.Contains([]string{"current", "src", "app", "backend", "project"}, filepath.Base(name)) {
		name = filepath.Dir(name)
	}
	if name == "" || name == "/" {
		name = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	}
	r.out.App = filepath.Base(name)
}

// program imports a setting of a [program:NAME].
func (r *report) program(d directive, name string) {
	p := r.process(name)
	switch d.key {
	case "command":
		r.programCommand(d, p.Name, name)
	case "directory":
		r.builtIn(d, "workers start in their release")
	case "user":
		if d.value == "root" {
			r.dropped(d, "the app gets a user without privileges: the one that this plan makes")
			return
		}
		r.out.User = d.value
		r.kept(d, "drop-in: User=")
	case "environment":
		r.supervisorEnvironment(d, p)
	case "numprocs":
		r.instances(d, p)
	case "stopwaitsecs":
		r.seconds(d, p, "drain")
	case "startsecs":
		if len(p.Listen) > 0 {
			r.builtIn(d, "a web process is ready when it answers its health check")
			return
		}
		r.seconds(d, p, "ready_after")
	case "socket":
		if at := normalAddress(d.value, r.out.Dir); at != "" {
			r.kept(d, "listen."+r.listen(p, at)+".address")
			return
		}
		r.dropped(d, "not an address of superctl's")
	default:
		r.programRest(d)
	}
}

// programCommand imports the command of a program as that of a process.
func (r *report) programCommand(d directive, process, program string) {
	line := strings.NewReplacer("%(program_name)s", program, "%(process_num)02d", "{instance}", "%(process_num)d",
		"{instance}", "%%", "%").Replace(strings.ReplaceAll(d.value, "\n", " "))
	_, c := r.addProcess(process, line)
	if c.server == "celery" && slices.Contains(c.words, "beat") {
		setKey(r.process(process), "strategy", `"single"`)
	}
	if strings.Contains(line, "%(") {
		c.note("%%(...)s is not replaced: write what supervisord makes of it")
	}
	r.kept(d, "process."+process+".command", c.notes...)
}

// most is how many instances of a process are believed.
const most = 1000

// instances imports how many instances of a process run.
func (r *report) instances(d directive, p *setup.Process) {
	if n, err := strconv.Atoi(d.value); err == nil && n > 1 && n < most {
		setKey(p, "instances", strconv.Itoa(n))
		r.kept(d, "process."+p.Name+".instances")
		return
	}
	r.builtIn(d, "one instance is the default")
}

// seconds imports a number of seconds as a key of a process.
func (r *report) seconds(d directive, p *setup.Process, key string) {
	n, err := strconv.Atoi(d.value)
	if err != nil || n < 1 || n > 86400 {
		r.builtIn(d, "superctl has a limit of its own: process."+p.Name+"."+key)
		return
	}
	setKey(p, key, tomlDuration(time.Duration(n)*time.Second))
	r.kept(d, "process."+p.Name+"."+key)
}

// programRest accounts for what superctl does by itself.
func (r *report) programRest(d directive) {
	known := map[string]string{
		"autostart": "the daemon starts its processes", "autorestart": "superctl starts dead workers again",
		"startretries": "superctl tries again with back-off, without a limit", "exitcodes": "superctl judges how workers end",
		"stopsignal": "superctl knows how each server finishes its requests: stop_signal", "stopasgroup": "superctl ends all that a worker has started",
		"killasgroup": "superctl ends all that a worker has started", "redirect_stderr": "superctl logs and the journal have both",
		"process_name": "workers are called PROCESS.INSTANCE", "numprocs_start": "instances are counted from 0",
		"serverurl": "workers do not control superctl", "socket_owner": "the socket belongs to the app's user",
		"socket_mode": "listen.NAME.mode is 0666", "socket_backlog": "listen.NAME.backlog is 2048", "stdout_syslog": "the journal",
		"stderr_syslog": "the journal",
	}
	switch {
	case known[d.key] != "":
		r.builtIn(d, known[d.key])
	case strings.HasPrefix(d.key, "stdout_") || strings.HasPrefix(d.key, "stderr_"):
		r.builtIn(d, "superctl logs and the journal have it; log = FILE writes all to one file")
	case d.key == "priority":
		r.dropped(d, `web processes start first, others follow: after = ["NAME"] orders them`)
	case d.key == "umask":
		r.dropped(d, "UMask= in a drop-in")
	default:
		r.dropped(d, "superctl init does not know it")
	}
}

// supervisorEnvironment imports variables: NAME="value",OTHER="value".
func (r *report) supervisorEnvironment(d directive, p *setup.Process) {
	var list []setup.Variable
	var names []string
	secret := false
	for _, kv := range commaWords(strings.ReplaceAll(d.value, "\n", " ")) {
		name, value, ok := strings.Cut(kv, "=")
		name, value = strings.TrimSpace(name), strings.Trim(strings.TrimSpace(value), `"'`)
		if !ok || name == "" {
			continue
		}
		names = append(names, name+"=***")
		if name == "PATH" || name == "VIRTUAL_ENV" {
			continue
		}
		value = strings.ReplaceAll(value, "%%", "%")
		list = append(list, setup.Variable{Name: name, Value: value})
		secret = secret || redact.IsSecret(name, value)
	}
	r.addVariables(p, list)
	if secret {
		d.text = d.key + "=" + strings.Join(names, ",")
	}
	key := "env"
	if p != nil {
		key = "process." + p.Name + ".env"
	}
	r.kept(d, key, "secrets are in a file of their own; PATH is the release's")
}

// commaWords splits at commas outside quotes.
func commaWords(text string) (list []string) {
	quote := rune(0)
	start := 0
	for i, c := range text {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == ',':
			list = append(list, text[start:i])
			start = i + 1
		}
	}
	return append(list, text[start:])
}
