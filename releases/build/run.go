package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kballard/go-shellquote"

	"superctl/plain"
	wheelfile "superctl/releases/wheel"
)

// runCommands runs the project's own commands in a copy of it, with a virtualenv of its wheels, and
// collects their outputs.
func (b *builder) runCommands(ctx context.Context) (string, error) {
	work := filepath.Join(b.temp, "work")
	if err := b.copyStage(work); err != nil {
		return "", err
	}
	venv := filepath.Join(b.temp, "venv")
	if err := b.virtualenv(ctx, venv); err != nil {
		return "", err
	}
	env, err := b.commandEnvironment(venv)
	if err != nil {
		return "", err
	}
	for _, argv := range b.Run {
		text := shellquote.Join(argv...)
		b.Show(Event{Type: "progress", Step: "run", Detail: text})
		c := Command{Args: argv, Dir: work, Env: env}
		if err := b.Exec(ctx, c, func(l string) { b.Show(Event{Type: "output", Step: "run", Detail: l}) }); err != nil {
			return "", fmt.Errorf("%s: %w", text, err)
		}
	}
	if err := b.collect(work); err != nil {
		return "", err
	}
	done := plain.Count(len(b.Run), "command", "commands")
	if len(b.Outputs) > 0 {
		var size int64
		for _, f := range b.outputs {
			size += f.size
		}
		done += fmt.Sprintf(" made %s, %s", plain.Count(len(b.outputs), "file", "files"), Size(size))
	}
	return done, nil
}

// commandEnvironment returns the environment of the project's own commands.
func (b *builder) commandEnvironment(venv string) ([]string, error) {
	epoch, _, err := b.times()
	if err != nil {
		return nil, err
	}
	path, _ := lookup(b.Environ, "PATH")
	env := []string{
		"VIRTUAL_ENV=" + venv, "PATH=" + filepath.Join(venv, "bin") + ":" + path,
		epochVar + "=" + strconv.FormatInt(epoch.Unix(), 10), "PYTHONDONTWRITEBYTECODE=1",
	}
	for name, value := range b.Env {
		env = append(env, name+"="+value)
	}
	return b.environment(env...), nil
}

// virtualenv creates a virtualenv with only the bundle's wheels, as an install does.
func (b *builder) virtualenv(ctx context.Context, venv string) error {
	args := []string{b.python.path, "-m", "venv", "--without-pip", venv}
	if err := b.tool(ctx, "make a virtualenv", Command{Args: args, Dir: b.temp}, nil); err != nil {
		return err
	}
	root, err := os.OpenRoot(venv)
	if err != nil {
		return err
	}
	defer root.Close()
	v, err := wheelfile.Open(root, b.python.facts.Scheme)
	if err != nil {
		return err
	}
	for _, w := range b.wheels {
		if err := addWheel(v, w); err != nil {
			return err
		}
	}
	return v.Finish(filepath.Join(venv, "bin", "python"))
}

func addWheel(v *wheelfile.Virtualenv, w wheel) error {
	f, err := os.Open(w.path)
	if err != nil {
		return err
	}
	defer f.Close()
	return v.Add(w.File, f, w.Size)
}

// copyStage copies the project's files again, for commands that change them.
func (b *builder) copyStage(to string) error {
	root, err := os.OpenRoot(b.stage)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := os.MkdirAll(to, 0o755); err != nil { // as git makes it
		return err
	}
	for _, f := range b.files {
		f.from = filepath.Join(to, filepath.FromSlash(f.path))
		if err := copyFile(root, &f); err != nil {
			return err
		}
	}
	return nil
}

// collect takes the outputs that the config names.
func (b *builder) collect(work string) error {
	root, err := os.OpenRoot(work)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, out := range b.Outputs {
		if err := b.collectOutput(root, out); err != nil {
			return err
		}
	}
	made := make(map[string]bool)
	for _, f := range b.outputs {
		made[f.path] = true
	}
	// What was tracked below an output and is no longer there has been replaced with it.
	b.files = slices.DeleteFunc(b.files, func(f file) bool { return made[f.path] || isBelow(b.Outputs, f.path) })
	b.files = append(b.files, b.outputs...)
	return b.checkFiles()
}

// isBelow reports whether a path is below one of the directories.
func isBelow(dirs []string, path string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return strings.HasPrefix(path, filepath.Clean(dir)+"/") })
}

// collectOutput takes the files of one output.
func (b *builder) collectOutput(root *os.Root, out string) error {
	if !exists(filepath.Join(root.Name(), out)) {
		return inputError("the commands did not create %s, which [build] output or --include names", out)
	}
	list, err := walk(root.Name(), filepath.Clean(out))
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return inputError("the commands created no file in %s, which [build] output or --include names", out)
	}
	for _, p := range list {
		f := file{path: p, ship: true, from: filepath.Join(b.temp, "outputs", filepath.FromSlash(p))}
		if err := copyFile(root, &f); errors.Is(err, fs.ErrExist) {
			continue // two outputs, one in the other
		} else if err != nil {
			return err
		}
		b.outputs = append(b.outputs, f)
	}
	return nil
}
