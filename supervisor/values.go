package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"
)

// The values of variables are secrets as often as not, so the state file has none of them. The next
// daemon, which may have to start a worker of a generation again, finds them in a file in memory,
// one for each plan; when that is lost, it reads the config again.

// values is what a plan has of variables, as bytes: a value may be anything but a NUL byte.
type values struct {
	Hooks     [][]byte                 `json:"hooks"`
	Processes map[string]processValues `json:"processes"`
}

type processValues struct {
	Env       [][]byte `json:"env"`
	Templates [][]byte `json:"templates"`
}

// withoutValues is the plan as the state file has it.
func (p Plan) withoutValues() Plan {
	p.Hooks.Env = nil
	p.Processes = append([]Process(nil), p.Processes...)
	for i := range p.Processes {
		p.Processes[i].Env, p.Processes[i].Templates = nil, nil
	}
	return p
}

// keepValues writes the values of a plan to a file that this user alone can read.
func (p *Plan) keepValues(dir string) error {
	if dir == "" {
		return nil
	}
	v := values{Hooks: toBytes(p.Hooks.Env), Processes: make(map[string]processValues)}
	for i := range p.Processes {
		one := &p.Processes[i]
		v.Processes[one.Name] = processValues{Env: toBytes(one.Env), Templates: toBytes(one.Templates)}
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if st, err := os.Lstat(dir); err != nil || !ownedBy(st, os.Geteuid()) || st.Mode().Perm()&0o077 != 0 {
		return errors.Join(
			err, fmt.Errorf("%s is not a directory that user %d alone can enter: move it away", dir, os.Geteuid()),
		)
	}
	f, err := os.CreateTemp(dir, "v*")
	if err != nil {
		return err
	}
	path := f.Name()
	if err := errors.Join(f.Close(), renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(dir))); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	p.Values = path
	return nil
}

// recallValues reads the values of a plan that an earlier daemon has kept.
func (p *Plan) recallValues() error {
	if p.Values == "" {
		return fs.ErrNotExist
	}
	data, err := os.ReadFile(p.Values)
	if err != nil {
		return err
	}
	var v values
	if err := json.Unmarshal(data, &v); err != nil {
		return fmt.Errorf("%s: %w", p.Values, err)
	}
	p.Hooks.Env = toStrings(v.Hooks)
	for i := range p.Processes {
		one := v.Processes[p.Processes[i].Name]
		p.Processes[i].Env, p.Processes[i].Templates = toStrings(one.Env), toStrings(one.Templates)
	}
	return nil
}

// memoryFiles are the files that are kept in memory: values of variables and scratch directories.
type memoryFiles struct {
	*core
	owner *Supervisor
}

// adoptValues gives the plan of an earlier daemon's generation its values back.
func (mf *memoryFiles) adoptValues(id int, p *Plan) {
	if p.Page {
		return // it has none
	}
	defer func() { p.redactor = redactorOf(p) }()
	err := p.recallValues()
	if err == nil {
		return
	}
	if len(p.Hooks.Env) == 0 { // else it is the state file of a daemon that kept them there
		mf.log.Warn("the variables of a generation are not in memory any more: they are read from the config as it is now",
			zap.Int("generation", id), zap.Error(err))
		if mf.opt.Values.Read == nil {
			return
		}
		if err := mf.opt.Values.Read(p); err != nil {
			mf.log.Error("read the variables of a generation", zap.Int("generation", id), zap.Error(err))
			return
		}
	}
	if err := p.keepValues(mf.opt.Values.Dir); err != nil {
		mf.log.Error(
			"keep the variables of a generation for the next daemon", zap.Int("generation", id), zap.Error(err),
		)
	}
}

// keepValues is keepValues of a plan that is about to be used. Where it fails, the next daemon
// reads the config.
func (c *change) keepValues(p *Plan) {
	p.redactor = redactorOf(p)
	if err := p.keepValues(c.owner.opt.Values.Dir); err != nil {
		c.warn("the variables could not be kept for the next daemon, which would read the config again: %v", err)
	}
}

// valuesInUse is the files of the plans that something runs with: workers, or a scheduled command of a
// release whose workers have ended.
func (mf *memoryFiles) valuesInUse() map[string]bool {
	used := make(map[string]bool)
	use := func(p *Plan) {
		used[p.Values] = true
		for _, path := range p.SecretFiles() {
			used[path] = true
		}
	}
	for _, g := range mf.owner.generations {
		use(&g.plan)
	}
	for _, r := range mf.owner.scheduling.runs {
		use(&r.plan)
	}
	return used
}

// SecretFiles returns the files with the values of variables that the plan does not have itself.
func (p *Plan) SecretFiles() []string {
	files := slices.Collect(maps.Values(p.Hooks.Secrets))
	for i := range p.Processes {
		files = slices.AppendSeq(files, maps.Values(p.Processes[i].Secrets))
	}
	return files
}

// clearValues removes all files of values but those in use. While nothing runs, it keeps the files of
// secrets: the release that is started next needs them.
func (mf *memoryFiles) clearValues(used map[string]bool) {
	if mf.opt.Values.Unused != nil && len(used) > 0 {
		if err := mf.opt.Values.Unused(slices.Collect(maps.Keys(used))); err != nil {
			mf.log.Error("remove secrets that are not used any more", zap.Error(err))
		}
	}
	if mf.opt.Values.Dir == "" {
		return
	}
	left, err := filepath.Glob(filepath.Join(mf.opt.Values.Dir, "*"))
	for _, path := range left {
		if !used[path] {
			err = errors.Join(err, os.Remove(path))
		}
	}
	if err != nil {
		mf.log.Error("remove values of variables that are not used any more", zap.Error(err))
	}
}

// removeMemory leaves nothing in memory behind when the last worker is gone.
func (mf *memoryFiles) removeMemory() {
	mf.clearValues(nil)
	err := removeScratch(mf.opt.Scratch, func(int) bool { return false })
	for _, dir := range []string{mf.opt.Values.Dir, mf.opt.Scratch} {
		if dir != "" {
			if gone := os.Remove(dir); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
				err = errors.Join(err, gone)
			}
		}
	}
	if err != nil {
		mf.log.Error("remove what was kept in memory", zap.Error(err))
	}
}

func toBytes(list []string) [][]byte {
	out := make([][]byte, len(list))
	for i, s := range list {
		out[i] = []byte(s)
	}
	return out
}

func toStrings(list [][]byte) []string {
	out := make([]string, len(list))
	for i, b := range list {
		out[i] = string(b)
	}
	return out
}
