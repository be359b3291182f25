package importer

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"superctl/redact"
	"superctl/setup"
)

// builtInService are directives of [Service] that superctl or its unit makes unnecessary.
func builtInService() map[string]string {
	const unit = "superctl@.service has it"
	const hardened = "superctl@.service is hardened, docs/systemd.md"
	m := map[string]string{
		"Type": "superctl@.service is Type=notify", "NotifyAccess": unit, "PIDFile": watches, "GuessMainPID": watches,
		"RemainAfterExit": watches, "Restart": "superctl starts dead workers again", "RestartSec": "superctl starts dead workers again",
		"RestartPreventExitStatus": "superctl starts dead workers again", "SuccessExitStatus": "superctl judges how workers end",
		"KillMode": "superctl ends its workers itself, also after a crash", "SendSIGKILL": "superctl kills the remaining processes after drain",
		"FinalKillSignal": "superctl kills the remaining processes after drain", "SendSIGHUP": "superctl ends its workers itself",
		"ExecReload": "superctl reload, which loses no request", "ExecStop": "superctl stops its workers",
		"WatchdogSec": unit, "Sockets": "superctl opens its sockets", "NonBlocking": "superctl opens its sockets",
		"SyslogIdentifier": "the journal has the fields SUPERCTL_APP and SUPERCTL_PROCESS", "SyslogFacility": "the journal",
		"SyslogLevel": "the journal", "StandardInput": "workers have none", "Delegate": unit, "OOMPolicy": unit,
		"UnsetEnvironment": "workers get the variables of the config alone",
		"PassEnvironment":  "workers get the variables of the config alone", "FileDescriptorStoreMax": unit,
		"PermissionsStartOnly": "hooks run as the app's user", "RootDirectoryStartOnly": "hooks run as the app's user",
		"TimeoutAbortSec": unit, "RuntimeDirectoryPreserve": "superctl keeps its sockets in /run/superctl",
	}
	for _, key := range []string{
		"ProtectSystem", "ProtectHome", "NoNewPrivileges", "PrivateDevices", "ProtectClock", "ProtectHostname",
		"ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProtectControlGroups",
		"RestrictAddressFamilies", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "SystemCallArchitectures",
		"SystemCallFilter", "SystemCallErrorNumber", "CapabilityBoundingSet", "RemoveIPC", "ProcSubset",
	} {
		m[key] = hardened
	}
	return m
}

// droppedService are directives that superctl's unit must not have, or that nothing stands for.
func droppedService() map[string]string {
	return map[string]string{
		"PrivateTmp":             "systemd empties it when the daemon crashes, and its workers live on: the app sees /tmp",
		"MemoryDenyWriteExecute": "cffi and JIT compilers need such memory: a drop-in",
		"RestrictNamespaces":     "it keeps workers out of their control groups",
		"PrivateUsers":           "the control socket knows its peers by their real user",
		"PrivateNetwork":         "the listener would be unreachable",
		"DynamicUser":            "superctl runs as a user of its own: the one that this plan makes",
		"RootDirectory":          "superctl itself would have to be in it",
		"RootImage":              "superctl itself would have to be in it",
		"TTYPath":                "workers have no terminal",
		"RuntimeMaxSec":          `recycle = { every = "24h" } in [process.NAME] limits how long a worker lives`,
		"SetCredential":          "it has a secret in it: copy it into a drop-in by hand",
		"SetCredentialEncrypted": "copy it into a drop-in by hand",
		"ExecStopPost":           "a unit of its own, or [hooks]",
		"ExecStartPost":          "hooks.after runs after each switch: decide whether it belongs there",
		"ExecCondition":          "a condition of the unit, in a drop-in",
		"Group":                  "superctl@.service runs with the user's own group: Group= in a drop-in",
	}
}

// forDropIn are directives that mean the same for superctl's unit.
func forDropIn() []string {
	return []string{
		"Nice", "CPUSchedulingPolicy", "IOSchedulingClass", "IOSchedulingPriority", "CPUAffinity", "CPUQuota", "CPUWeight",
		"CPUShares", "IOWeight", "MemoryMax", "MemoryHigh", "MemoryLimit", "MemorySwapMax", "TasksMax", "Slice", "UMask",
		"OOMScoreAdjust", "LimitNPROC", "LimitCORE", "LimitMEMLOCK", "LimitSTACK", "LimitAS", "LimitFSIZE", "LimitDATA",
		"ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "BindReadOnlyPaths", "SupplementaryGroups",
		"LoadCredential", "LoadCredentialEncrypted", "StateDirectory", "CacheDirectory", "StateDirectoryMode",
		"CacheDirectoryMode", "ConfigurationDirectory", "AmbientCapabilities", "IPAddressAllow", "IPAddressDeny", "Personality",
		"LogRateLimitIntervalSec", "LogRateLimitBurst", "LogLevelMax", "LogNamespace", "LogExtraFields", "TimerSlackNSec", "IPAccounting",
		"CPUAccounting", "MemoryAccounting", "TasksAccounting", "IOAccounting", "PrivateMounts", "MountFlags", "KeyringMode",
		"DeviceAllow", "DevicePolicy", "UtmpIdentifier", "IgnoreSIGPIPE",
	}
}

// service imports the section [Service].
func (u *unitImport) service(d directive) {
	if u.byName(d) {
		return
	}
	switch d.key {
	case "ExecStart", "ExecStartPre":
		u.exec(d)
	case "Environment":
		u.environment(d)
	case "EnvironmentFile":
		u.environmentFile(d)
	case "User":
		if d.value == "root" || d.value == "0" {
			u.dropped(d, "the app gets a user without privileges: the one that this plan makes")
			return
		}
		u.out.User = d.value
		u.kept(d, "drop-in: User=")
	case "WorkingDirectory":
		u.out.Dir = strings.TrimPrefix(strings.TrimPrefix(d.value, "-"), "~")
		u.builtIn(d, "workers start in their release")
	case "RuntimeDirectory", "LogsDirectory":
		u.builtIn(d, "superctl has /run/superctl and /var/log/superctl")
	default:
		u.limits(d)
	}
}

// byName imports a directive for which its name alone decides, and reports whether it is one.
func (u *unitImport) byName(d directive) bool {
	if why, ok := builtInService()[d.key]; ok {
		u.builtIn(d, why)
		return true
	}
	if why, ok := droppedService()[d.key]; ok {
		if strings.HasPrefix(d.key, "SetCredential") {
			name, _, _ := strings.Cut(d.value, ":")
			d.text = d.key + "=" + name + ":***"
		}
		u.dropped(d, why)
		return true
	}
	if slices.Contains(forDropIn(), d.key) {
		if d.key == "AmbientCapabilities" { // superctl@.service bounds them to none
			u.out.DropIn = append(u.out.DropIn, "CapabilityBoundingSet="+d.value)
		}
		u.out.DropIn = append(u.out.DropIn, d.key+"="+d.value)
		u.kept(d, "drop-in: "+d.key+"=")
		return true
	}
	return false
}

// limits imports directives that are keys of the process.
func (u *unitImport) limits(d directive) {
	switch d.key {
	case "TimeoutStopSec", "TimeoutSec":
		u.duration(d, "drain", "workers have 30 s to finish: process.web.drain")
	case "TimeoutStartSec":
		u.duration(d, "start_timeout", "workers have 60 s to start: process.web.start_timeout")
	case "LimitNOFILE":
		soft, _, _ := strings.Cut(d.value, ":")
		if digits(soft) && len(soft) < 10 && strings.TrimLeft(soft, "0") != "" {
			setKey(u.process("web"), "nofile", strings.TrimLeft(soft, "0"))
			u.kept(d, "process.web.nofile")
			return
		}
		u.builtIn(d, "superctl uses the hard limit of its unit")
	case "KillSignal", "RestartKillSignal", "ReloadSignal":
		u.builtIn(d, "superctl knows how each server finishes its requests: process.web.stop_signal")
	case "StandardOutput", "StandardError":
		kind, path, _ := strings.Cut(d.value, ":")
		if path != "" && strings.HasPrefix(path, "/") && (kind == "append" || kind == "file" || kind == "truncate") {
			u.dropped(d, `the journal and superctl logs have it; log = "`+path+`" writes all to a file`)
			return
		}
		u.builtIn(d, "the journal")
	default:
		u.dropped(d, "superctl init does not know it: if you need it, put it into a drop-in")
	}
}

// duration imports a time as a key of the process, unless it is infinite or wrong.
func (u *unitImport) duration(d directive, key, otherwise string) {
	t, ok := seconds(d.value)
	if !ok {
		u.dropped(d, otherwise)
		return
	}
	setKey(u.process("web"), key, tomlDuration(t))
	u.kept(d, "process.web."+key)
}

// exec imports a command.
func (u *unitImport) exec(d directive) {
	line := strings.TrimLeft(d.value, "-@:+!|")
	line, said, unknown := u.expanded(line)
	notes := slices.Concat(said, unknown, unspecified(line))
	if d.key == "ExecStart" {
		p, c := u.addProcess("web", line)
		c.notes = append(c.notes, notes...)
		if c.server == "celery" {
			p.Name = "worker"
			if slices.Contains(c.words, "beat") {
				p.Name = "beat"
				setKey(p, "strategy", `"single"`)
			}
		}
		u.kept(d, "process."+p.Name+".command", c.notes...)
		return
	}
	c := importCommand(line, u.out.Dir)
	program := filepath.Base(c.words[0])
	switch {
	case slices.Contains(c.words, "migrate"), slices.Contains(c.words, "alembic"), slices.Contains(c.words, "flask"),
		slices.ContainsFunc(c.words, func(w string) bool { return filepath.Base(w) == "manage.py" }):
		if slices.Contains(c.words, "collectstatic") {
			u.dropped(d, "collect static files when you make the release (docs/nginx.md)")
			return
		}
		u.out.Before = append(u.out.Before, c.text())
		u.kept(d, "hooks.before")
	case slices.Contains([]string{"mkdir", "chown", "chmod", "install", "rm", "touch"}, program):
		u.builtIn(d, "superctl makes its sockets and directories; others are made once")
	default:
		u.dropped(d, "hooks.before runs before a new release starts: decide whether it belongs there")
	}
}

// environment imports variables.
func (u *unitImport) environment(d directive) {
	var keys []string
	shown := d
	for _, kv := range environmentWords(d.value) {
		name, value, ok := strings.Cut(kv, "=")
		if !ok {
			continue
		}
		if name == "PATH" || name == "VIRTUAL_ENV" || name == "PYTHONPATH" && under(value, u.out.Dir) || name == "LISTEN_FDS" {
			keys = append(keys, "without "+name+": superctl sets it to the release's")
			continue
		}
		u.out.Env = setVariable(u.out.Env, name, value)
		if redact.IsSecret(name, value) {
			shown = masked(d)
			keys = append(keys, name+" is in the file of secrets")
		}
	}
	u.kept(shown, "env", keys...)
}

func under(path, dir string) bool {
	return dir != "" && (path == dir || strings.HasPrefix(path, dir+"/"))
}

// environmentFile imports a file of variables.
func (u *unitImport) environmentFile(d directive) {
	path := strings.TrimPrefix(d.value, "-")
	if !filepath.IsAbs(path) || strings.ContainsAny(path, "*?[%") {
		u.dropped(d, "superctl init reads files with a plain path alone: add its variables to env_file")
		return
	}
	if u.openEnvFile(path) {
		u.kept(d, "env_file", "its variables are copied, for the app's user to read")
		return
	}
	if u.source.Open == nil && u.out.EnvFile == "" {
		u.out.EnvFile = path
		u.kept(d, "env_file", "the app's user must be able to read it")
		return
	}
	u.dropped(d, "it cannot be read: add its variables, if there are any, to env_file")
}

// addVariables adds variables to a process or, for a name of "", to all of them.
func (r *report) addVariables(p *setup.Process, list []setup.Variable) {
	for _, v := range list {
		if p == nil {
			r.out.Env = setVariable(r.out.Env, v.Name, v.Value)
			continue
		}
		p.Env = setVariable(p.Env, v.Name, v.Value)
	}
}

// specifier matches what systemd replaces and superctl cannot (systemd.unit(5), SPECIFIERS).
var specifier = regexp.MustCompile(`%[hHuUtSCLdEfp]\b|%[hHuU]/`)

// unspecified returns notes about the specifiers in a command, which superctl does not replace.
func unspecified(line string) (notes []string) {
	for _, s := range specifier.FindAllString(line, -1) {
		notes = append(notes, s+" is not replaced: write what systemd makes of it")
	}
	return notes
}
