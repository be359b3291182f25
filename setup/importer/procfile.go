package importer

import (
	"path/filepath"
	"regexp"
	"strings"
)

var (
	// portVariable is the variable by which a Procfile's runner gives the port.
	portVariable = regexp.MustCompile(`\$\{?PORT(?::-(\d+))?\}?`)
	// procfileLine matches NAME: COMMAND.
	procfileLine = regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(.+)$`)
)

// procfile imports a Procfile.
func (r *report) procfile(f File) {
	if dir := filepath.Dir(f.Path); filepath.IsAbs(dir) {
		r.out.Dir = dir
	}
	r.procfileLines(f)
	r.oneApp(f.Path)
}

// procfileLines imports the lines of a Procfile, and the file .env next to it.
func (r *report) procfileLines(f File) {
	standard := r.dotEnv(r.out.Dir)
	if !digits(standard) || len(standard) > 5 {
		standard = "8000"
	}
	for _, d := range (syntax{comments: "#", backslash: true, separators: ":"}).scan(f.Path, f.Text) {
		m := procfileLine.FindStringSubmatch(d.text)
		if m == nil {
			r.dropped(d, "not NAME: COMMAND")
			continue
		}
		name, line := m[1], m[2]
		if name == "release" {
			r.releaseLine(d, line)
			continue
		}
		port := standard
		if p := portVariable.FindStringSubmatch(line); p != nil && p[1] != "" {
			port = p[1]
		}
		l := r.unshell(portVariable.ReplaceAllString(line, port), name == "web")
		if strings.TrimSpace(l.command) == "" {
			r.dropped(d, "the command is empty")
			continue
		}
		p, c := r.addProcess(name, l.command)
		r.addVariables(p, l.env)
		if name == "web" && len(p.Listen) == 0 && c.server != "celery" {
			r.listen(p, "127.0.0.1:"+port)
			c.note("on 127.0.0.1:%s", port)
		}
		r.kept(d, "process."+p.Name+".command", append(l.notes, c.notes...)...)
	}
}

// releaseLine imports the command that runs once before a release. Hooks have the variables of [env] only.
func (r *report) releaseLine(d directive, line string) {
	l := r.unshell(line, false)
	if len(l.env) > 0 {
		l = shellLine{command: joinWords([]string{"sh", "-c", line})}
	}
	r.out.Before = append(r.out.Before, importCommand(l.command, "").text())
	r.kept(d, "hooks.before", l.notes...)
}
