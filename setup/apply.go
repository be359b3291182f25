package setup

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"
)

// ReplacesError is a plan that would overwrite files which exist and differ.
type ReplacesError struct{ Paths []string }

func (e *ReplacesError) Error() string {
	return fmt.Sprintf("%s: exists and differs: use --replace to overwrite it (the present one is kept as %s.old), "+
		"or edit it by hand", strings.Join(e.Paths, ", "), filepath.Base(e.Paths[0]))
}

// Apply does what the plan says, as root. show is called with each command and file before it is
// done, run runs a command of the plan. With replace it overwrites files that differ, and keeps them
// under the name PATH.old. Applied again after an error, a new plan goes on where the first one stopped.
func (p *Plan) Apply(ctx context.Context, replace bool, run Run, show func(string)) error {
	var differ []string
	for _, f := range p.Files {
		if f.Replaces() {
			differ = append(differ, f.Path)
		}
	}
	if len(differ) > 0 && !replace {
		return &ReplacesError{differ}
	}
	if err := commands(ctx, p.Before, run, show); err != nil {
		return err
	}
	for _, f := range p.Files {
		if !f.Changed() {
			continue
		}
		show("write " + f.Path)
		if err := f.write(); err != nil {
			return err
		}
	}
	return commands(ctx, p.After, run, show)
}

func commands(ctx context.Context, list []Command, run Run, show func(string)) error {
	for _, c := range list {
		show(c.String())
		var output []string
		if err := run(ctx, c.Args, func(line string) { output = append(output, line) }); err != nil {
			return fmt.Errorf("%s: %w\n%s", c, err, strings.Join(output, "\n"))
		}
	}
	return nil
}

// write writes the file in one step, with its mode and group from the start.
func (f *File) write() error {
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o755); err != nil { // configs are for all to read
		return err
	}
	if f.Exists {
		if err := renameio.WriteFile(f.Path+".old", []byte(f.Old), os.FileMode(f.Mode)); err != nil {
			return fmt.Errorf("keep the present %s: %w", f.Path, err)
		}
	}
	pending, err := renameio.NewPendingFile(f.Path, renameio.WithStaticPermissions(os.FileMode(f.Mode)))
	if err != nil {
		return err
	}
	defer pending.Cleanup()
	if f.Reader != "" {
		gid, err := groupOf(f.Reader)
		if err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		if err := pending.Chown(0, gid); err != nil {
			return err
		}
	}
	if _, err := pending.WriteString(f.Content); err != nil {
		return err
	}
	return pending.CloseAtomicallyReplace()
}

// groupOf returns the number of a user's own group.
func groupOf(name string) (int, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(u.Gid)
}
