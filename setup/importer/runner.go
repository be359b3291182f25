package importer

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"
)

// isRunner reports whether a command runs the processes of a Procfile, and from which file and
// directory. Both are "" if the command does not say.
func isRunner(command string) (file, dir string, ok bool) {
	words, err := shellquote.Split(command)
	if err != nil || len(words) < 2 {
		return "", "", false
	}
	runners := []string{"honcho", "foreman", "forego", "hivemind", "overmind"}
	if !slices.Contains(runners, filepath.Base(words[0])) {
		return "", "", false
	}
	for i, w := range words {
		name, value, joined := strings.Cut(w, "=")
		if !joined && i+1 < len(words) {
			value = words[i+1]
		}
		switch name {
		case "-f", "--procfile":
			file = value
		case "-d", "--root", "--app-root":
			dir = value
		}
	}
	return file, dir, slices.Contains(words, "start") || slices.Contains(words, "s") || filepath.Base(words[0]) == "hivemind"
}

// procfiles imports the Procfile that a unit's command runs, in the place of that command. One that
// cannot be read stays a command.
func (r *report) procfiles() {
	for _, p := range slices.Clone(r.out.Processes) {
		file, dir, ok := isRunner(p.Command)
		if !ok || r.source.OpenProject == nil {
			continue
		}
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(r.out.Dir, dir)
		}
		if file == "" {
			file = "Procfile"
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		text, err := r.source.OpenProject(file)
		if err != nil {
			continue
		}
		for i := range r.out.Processes {
			if r.out.Processes[i].Name == p.Name {
				r.out.Processes = slices.Delete(r.out.Processes, i, i+1)
				break
			}
		}
		r.procfileLines(File{file, text})
	}
}

// dotEnv imports the variables of .env, which the runners of a Procfile read by themselves.
// It returns the port.
func (r *report) dotEnv(dir string) (port string) {
	if r.source.OpenProject == nil || dir == "" {
		return ""
	}
	file := filepath.Join(dir, ".env")
	text, err := r.source.OpenProject(file)
	if err != nil || !r.readEnvText(file, text) {
		return ""
	}
	port = r.values["PORT"]
	delete(r.values, "PORT") // the listener has it
	r.kept(directive{file: file, from: 1, to: strings.Count(text, "\n"), text: file}, "env_file",
		"its variables are copied, for the app's user to read")
	return port
}
