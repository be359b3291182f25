package importer

import (
	"slices"
	"strings"

	"superctl/redact"
	"superctl/setup"
)

// circus imports a circus.ini.
func (r *report) circus(f File) {
	list := syntax{comments: ";#", inline: " ;", indented: true, separators: "=:"}.scan(f.Path, f.Text)
	r.directories(list, "working_dir")
	for _, d := range list { // watchers need the sockets that they name
		if kind, name, _ := strings.Cut(d.section, ":"); kind == "socket" && d.key != "" {
			r.circusSocket(d, name, list)
		}
	}
	for _, d := range list {
		kind, name, _ := strings.Cut(d.section, ":")
		switch {
		case d.key == "":
			r.dropped(d, "not a setting")
		case kind == "socket":
		case kind == "watcher":
			r.watcher(d, name)
		case kind == "env":
			r.circusVariable(d, name)
		case kind == "plugin":
			r.dropped(d, "superctl has no plugins: docs/notify.md, superctl status --json")
		case kind == "circus":
			r.builtIn(d, "superctl has its own daemon, log and control socket")
		default:
			r.dropped(d, "superctl init does not know the section ["+d.section+"]")
		}
	}
	r.oneApp(f.Path)
}

// circusSocket imports a setting of a [socket:NAME]: its address is made of host and port, or path.
func (r *report) circusSocket(d directive, name string, all []directive) {
	get := func(key string) string {
		for _, o := range all {
			if o.section == d.section && o.key == key {
				return o.value
			}
		}
		return ""
	}
	p := r.process(r.circusUser(name, all))
	switch d.key {
	case "path":
		r.kept(d, "listen."+r.listen(p, normalAddress(d.value, r.out.Dir))+".address")
	case "port":
		host := get("host")
		if host == "" || host == "localhost" {
			host = "127.0.0.1"
		}
		if at := normalAddress(host+":"+d.value, ""); at != "" {
			r.kept(d, "listen."+r.listen(p, at)+".address")
			return
		}
		r.dropped(d, "not a port")
	case "host":
		r.kept(d, "listen."+p.Name+".address", "with the port")
	case "umask":
		r.dropped(d, "listen.NAME.mode")
	case "so_reuseport", "blocking", "family", "type", "proto", "replace":
		r.builtIn(d, "superctl opens its sockets")
	default:
		r.dropped(d, "superctl has no such setting for a listener")
	}
}

// circusUser returns the watcher that uses a socket.
func (r *report) circusUser(socket string, all []directive) string {
	for _, d := range all {
		if kind, name, _ := strings.Cut(d.section, ":"); kind == "watcher" &&
			strings.Contains(d.value, "circus.sockets."+socket+")") {
			return name
		}
	}
	return socket
}

// watcher imports a setting of a [watcher:NAME].
func (r *report) watcher(d directive, name string) {
	p := r.process(name)
	key := "process." + p.Name + "."
	switch d.key {
	case "cmd":
		line := strings.ReplaceAll(d.value, "\n", " ")
		for _, l := range p.Listen {
			line = strings.NewReplacer("$(circus.sockets."+l+")", "{fd."+l+"}", "$(circus.wid)", "{instance}").Replace(line)
		}
		_, c := r.addProcess(p.Name, line)
		r.kept(d, key+"command", c.notes...)
	case "args":
		p.Command = strings.TrimSpace(p.Command + " " + strings.ReplaceAll(d.value, "\n", " "))
		r.kept(d, key+"command")
	case "numprocesses":
		r.instances(d, p)
	case "working_dir":
		r.builtIn(d, "workers start in their release")
	case "uid":
		r.out.User = d.value
		r.kept(d, "drop-in: User=")
	case "graceful_timeout":
		r.seconds(d, p, "drain")
	case "rlimit_nofile":
		if digits(d.value) && len(d.value) < 10 && d.value[0] != '0' {
			setKey(p, "nofile", d.value)
			r.kept(d, key+"nofile")
			return
		}
		r.dropped(d, "not a number")
	case "singleton":
		setKey(p, "strategy", `"single"`)
		r.kept(d, key+"strategy")
	default:
		r.watcherRest(d)
	}
}

func (r *report) watcherRest(d directive) {
	known := map[string]string{
		"use_sockets": "listen hands the sockets over", "copy_env": "inherit names variables of the daemon's own environment",
		"copy_path": "the release's virtualenv is first in PATH", "virtualenv": inVenv, "shell": "commands run without a shell",
		"autostart": "the daemon starts its processes", "respawn": "superctl starts dead workers again",
		"warmup_delay": "superctl starts workers at once", "stop_signal": "superctl knows how each server finishes its requests: stop_signal",
		"stop_children": "superctl ends all that a worker has started", "send_hup": "superctl reload", "gid": "the group is the user's",
		"max_retry": "superctl tries again with back-off, without a limit", "close_child_stdin": "workers have none",
		"use_papa": "workers outlive a dead daemon", "on_demand": "superctl starts its processes at once", "virtualenv_py_ver": inVenv,
	}
	switch {
	case known[d.key] != "":
		r.builtIn(d, known[d.key])
	case strings.HasPrefix(d.key, "stdout_stream") || strings.HasPrefix(d.key, "stderr_stream"):
		r.builtIn(d, "superctl logs and the journal have it; log = FILE writes all to one file")
	case strings.HasPrefix(d.key, "hooks."):
		r.dropped(d, "superctl runs commands around a switch: [hooks]")
	case strings.HasPrefix(d.key, "rlimit_"):
		r.dropped(d, "a limit of the unit, in a drop-in")
	case d.key == "priority":
		r.dropped(d, `web processes start first, others follow: after = ["NAME"] orders them`)
	case d.key == "max_age" || d.key == "max_age_variance":
		r.dropped(d, `recycle = { every = "24h" } in [process.NAME] limits how long a worker lives`)
	default:
		r.dropped(d, "superctl init does not know it")
	}
}

// circusVariable imports a variable of an [env] or [env:NAME] section.
func (r *report) circusVariable(d directive, name string) {
	if d.key == "PATH" || d.key == "VIRTUAL_ENV" {
		r.builtIn(d, "superctl sets it to the release's")
		return
	}
	var p *setup.Process
	key := "env." + d.key
	if name != "" && !strings.ContainsAny(name, "*,") {
		if i := slices.IndexFunc(r.out.Processes, func(o setup.Process) bool { return o.Name == itemName(name) }); i >= 0 {
			p, key = &r.out.Processes[i], "process."+itemName(name)+".env."+d.key
		}
	}
	r.addVariables(p, []setup.Variable{{Name: d.key, Value: d.value}})
	if redact.IsSecret(d.key, d.value) {
		d.text, key = d.key+" = ***", "the file of secrets"
	}
	r.kept(d, key)
}
