package importer

// option is what becomes of an option of a server's command.
type option struct {
	names   []string
	value   bool // it has a value
	what    fate
	because string
}

// fate is what becomes of an option.
type fate int

const (
	isAddress fate = iota // the value is an address on which the server listens
	isHost
	isPort
	isPath // the value is the path of a unix socket
	isUser
	isMode // the value is the mode of a unix socket
	isDir  // the value is the directory of the app
	isSelf // superctl does it by itself
	isGone // it cannot stay
)

// Reasons why an option goes.
const (
	watches = "superctl watches the processes that it starts"
	reloads = "superctl switch and reload replace code"
	tls     = "TLS ends in the proxy in front"
	inVenv  = "the virtualenv is the release's"
)

// serverOptions are the options that a server's command loses, because superctl does what they do.
func serverOptions(server string) []option {
	common := []option{
		{[]string{"--pid", "--pidfile", "--pidfile2", "--safe-pidfile"}, true, isSelf, watches},
		{[]string{"--chdir"}, true, isDir, "the working directory is the release"},
	}
	switch server {
	case "gunicorn":
		return append(common, gunicornOptions()...)
	case "uvicorn":
		return append(common, uvicornOptions()...)
	case "hypercorn":
		return append(common, hypercornOptions()...)
	case "granian", "daphne":
		return append(common, granianOptions()...)
	case "waitress":
		return append(common, waitressOptions()...)
	case "uwsgi":
		return append(common, uwsgiOptions()...)
	case "celery":
		return append(common, celeryOptions()...)
	}
	return nil
}

func gunicornOptions() []option {
	return []option{
		{[]string{"--bind", "-b"}, true, isAddress, ""},
		{[]string{"-p"}, true, isSelf, watches},
		{[]string{"--daemon", "-D"}, false, isSelf, watches},
		{[]string{"--reload"}, false, isSelf, reloads},
		{[]string{"--reuse-port"}, false, isSelf, "superctl itself moves traffic to the new workers"},
		{[]string{"--user", "-u"}, true, isUser, ""},
		{[]string{"--group", "-g"}, true, isSelf, "the group is the user's"},
		{[]string{"--umask", "-m"}, true, isGone, "UMask= in a drop-in"},
		{[]string{"--certfile", "--keyfile", "--ca-certs"}, true, isGone, tls},
		{[]string{"--backlog"}, true, isSelf, "listen.NAME.backlog is 2048"},
	}
}

func uvicornOptions() []option {
	return []option{
		{[]string{"--host"}, true, isHost, ""},
		{[]string{"--port"}, true, isPort, ""},
		{[]string{"--uds"}, true, isPath, ""},
		{[]string{"--fd"}, true, isSelf, "superctl hands the listener over"},
		{[]string{"--reload"}, false, isSelf, reloads},
		{[]string{"--reload-dir"}, true, isSelf, reloads},
		{[]string{"--ssl-keyfile", "--ssl-certfile"}, true, isGone, tls},
		{[]string{"--backlog"}, true, isSelf, "listen.NAME.backlog is 2048"},
	}
}

func hypercornOptions() []option {
	return []option{
		{[]string{"--bind", "-b"}, true, isAddress, ""},
		{[]string{"-p"}, true, isSelf, watches},
		{[]string{"--daemon", "-D"}, false, isSelf, watches},
		{[]string{"--reload"}, false, isSelf, reloads},
		{[]string{"--user", "-u"}, true, isUser, ""},
		{[]string{"--certfile", "--keyfile"}, true, isGone, tls},
	}
}

func granianOptions() []option {
	return []option{
		{[]string{"--host", "-b", "--bind"}, true, isHost, ""},
		{[]string{"--port", "-p"}, true, isPort, ""},
		{[]string{"-u", "--unix-socket", "--uds"}, true, isPath, ""},
		{[]string{"--reload"}, false, isSelf, reloads},
		{[]string{"--fd"}, true, isSelf, "superctl hands the listener over"},
		{[]string{"--ssl-keyfile", "--ssl-certificate"}, true, isGone, tls},
	}
}

func waitressOptions() []option {
	return []option{
		{[]string{"--listen"}, true, isAddress, ""},
		{[]string{"--host"}, true, isHost, ""},
		{[]string{"--port"}, true, isPort, ""},
		{[]string{"--unix-socket"}, true, isPath, ""},
		{[]string{"--unix-socket-perms"}, true, isMode, ""},
	}
}

func celeryOptions() []option {
	return []option{
		{[]string{"--detach", "-D"}, false, isSelf, watches},
		{[]string{"--workdir"}, true, isDir, "the working directory is the release"},
		{[]string{"--uid"}, true, isUser, ""},
		{[]string{"--gid"}, true, isSelf, "the group is the user's"},
	}
}

// uwsgiOptions are the options that uWSGI's command loses.
func uwsgiOptions() []option {
	return []option{
		{[]string{"--http-socket", "--http", "--http11-socket", "--socket", "-s", "--uwsgi-socket"}, true, isAddress, ""},
		{[]string{"--chmod-socket", "-C"}, true, isMode, ""},
		{[]string{"--chown-socket"}, true, isSelf, "superctl owns the socket"},
		{[]string{"--uid"}, true, isUser, ""},
		{[]string{"--gid"}, true, isSelf, "the group is the user's"},
		{[]string{"--chdir2"}, true, isDir, "the working directory is the release"},
		{[]string{"--home", "-H", "--virtualenv", "--venv", "--pyhome"}, true, isSelf, inVenv},
		{[]string{"--daemonize", "--daemonize2", "-d"}, true, isSelf, watches},
		{[]string{"--logto", "--logto2"}, true, isSelf, "its output is in superctl logs and in the journal"},
		{[]string{"--master", "-M"}, false, isSelf, "superctl adds it"},
		{[]string{"--need-app"}, false, isSelf, "superctl adds it"},
		{[]string{"--vacuum"}, false, isSelf, "superctl removes its sockets"},
		{[]string{"--die-on-term"}, false, isSelf, "superctl has it finish its requests"},
		{[]string{"--reuse-port", "--no-orphans"}, false, isSelf, "superctl does it by itself"},
		{[]string{"--listen", "-l"}, true, isSelf, "listen.NAME.backlog is 2048"},
		{[]string{
			"--touch-reload", "--touch-chain-reload", "--py-autoreload", "--py-auto-reload", "--fs-reload",
			"--touch-workers-reload",
		}, true, isSelf, reloads},
		{[]string{"--plugin", "--plugins"}, true, isSelf, "pip's uWSGI has Python built in"},
		{[]string{"--https", "--https-socket"}, true, isGone, tls},
		{[]string{"--emperor"}, true, isGone, "superctl takes the place of the emperor: import each vassal"},
		{[]string{"--stats", "--stats-server"}, true, isGone, "two generations run at once: use a unix socket below {scratch}"},
		{
			[]string{"--fastcgi-socket", "--scgi-socket", "--suwsgi-socket", "--puwsgi-socket"},
			true, isGone,
			"superctl checks http and uwsgi sockets only",
		},
		{[]string{"--strict"}, false, isSelf, "superctl check reads the options"},
	}
}
