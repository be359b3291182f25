package releases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
	"superctl/plain"
)

// Suffixes of hidden directories that are not releases: not yet, or no longer.
const (
	partialEnd = ".partial" // .NAME.partial: an install in progress, as long as its lock is held
	hiddenEnd  = ".hidden"  // .NAME.hidden: whole, but it can no longer be switched to
	removedEnd = ".removed" // .NAME.removed: being deleted
)

// copyTime is how long a release with the marker of a tool counts as being copied.
const copyTime = 24 * time.Hour

// PruneOptions control what a prune removes.
type PruneOptions struct {
	Keep   int  // keep the newest Keep releases
	DryRun bool // report only
	// Protected returns the releases that must stay, by name, with the reason. It is called again
	// once no release can be chosen any more.
	Protected func(context.Context) (map[string]string, error)
	// Check returns why a release cannot be switched to.
	Check func(Release) error
	// Virtualenv means that a directory with neither a virtualenv nor metadata is not a release,
	// but the operator's own.
	Virtualenv bool
	Now        time.Time
}

// Pruned is what a prune has removed and kept, or with DryRun would.
type Pruned struct {
	Removed   []Removal
	Kept      []Kept
	Leftovers []string // names left by interrupted installs and prunes
	Freed     int64    // bytes
	Unseen    []string // processes that could not be inspected
}

// Removal is a release that was removed.
type Removal struct {
	Release
	Freed int64 // bytes; what several releases share counts for the last of them
}

// Kept is a release that stays, with the reason.
type Kept struct {
	Release
	Why string
}

// Prune removes old releases. Each is first renamed so that it can no longer be switched to; then
// its files are deleted. The error lists the releases that could not be removed; the others are
// removed anyway.
func (s *Store) Prune(ctx context.Context, opt PruneOptions) (Pruned, error) {
	p := &prune{s: s, opt: opt}
	var err error
	if p.root, err = beneath.Open(s.Dir); err != nil {
		return Pruned{}, fmt.Errorf("the directory of releases: %w", err)
	}
	defer p.root.Close()
	if p.dir, err = filepath.EvalSymlinks(s.Dir); err != nil {
		return Pruned{}, fmt.Errorf("the directory of releases: %w", err)
	}
	if !opt.DryRun {
		lock, err := s.Lock("prune")
		if err != nil && !noRoom(err) { // on a full disk, prune without the lock
			return Pruned{}, err
		}
		defer lock.Unlock()
	}
	if err := p.restore(); err != nil {
		return Pruned{}, err
	}
	if err := p.decide(ctx); err != nil {
		return Pruned{}, err
	}
	if err := p.findLeftovers(); err != nil {
		return Pruned{}, err
	}
	p.count(ctx)
	if opt.DryRun {
		return p.done, nil
	}
	p.removeLeftovers(ctx)
	p.hide(ctx)
	p.remove(ctx)
	return p.done, errors.Join(p.errs...)
}

func noRoom(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// prune is one run of Prune.
type prune struct {
	s    *Store
	opt  PruneOptions
	root *beneath.Dir // the directory of releases; all changes happen in it
	dir  string       // its real path, as processes use it
	done Pruned
	errs []error
}

// restore renames back what an interrupted prune has hidden and not begun to delete: a process may
// have come to use it, and otherwise this prune decides again. A release that was installed under
// its name since takes its place.
func (p *prune) restore() error {
	if p.opt.DryRun {
		return nil
	}
	entries, err := p.root.ReadDir()
	if err != nil {
		return fmt.Errorf("read the directory of releases: %w", err)
	}
	for _, e := range entries {
		name, hidden := strings.CutSuffix(strings.TrimPrefix(e.Name(), "."), hiddenEnd)
		if !hidden || !e.IsDir() || e.Name() != hiddenName(name) {
			continue
		}
		err := p.root.RenameNew(e.Name(), name)
		if errors.Is(err, fs.ErrExist) {
			_, err = p.condemn(e.Name(), name)
		}
		if err != nil {
			return p.s.mayNot(fmt.Errorf("continue the interrupted removal of %s: %w", name, err))
		}
	}
	return nil
}

// mostRemains limits how many releases of one name can wait for the end of processes that use them.
const mostRemains = 100

// condemn renames a release that is about to be deleted, and returns its last name. Remains of
// another release of the same name may be there, in use by a process.
func (p *prune) condemn(from, name string) (string, error) {
	for i := range mostRemains {
		to := "." + name + removedEnd
		if i > 0 {
			to = fmt.Sprintf(".%s.%d%s", name, i, removedEnd)
		}
		if err := p.root.RenameNew(from, to); !errors.Is(err, fs.ErrExist) {
			return to, err
		}
	}
	return "", fmt.Errorf("%d removed releases of this name are in use", mostRemains)
}

// decide chooses the releases to remove.
func (p *prune) decide(ctx context.Context) error {
	list, err := p.s.listWithLinks()
	if err != nil {
		return err
	}
	protected, err := p.opt.Protected(ctx)
	if err != nil {
		return err
	}
	used, err := findUses(paths(list))
	if err != nil {
		return err
	}
	p.done.Unseen = used.unseen
	reasons, err := p.reasons(list, protected, used)
	if err != nil {
		return err
	}
	whole := make(map[string]bool) // by path: links to one release are one
	for i, r := range list {
		why := reasons(r)
		if p.opt.Check(r) == nil {
			whole[r.Path] = true
			if why == "" && len(whole) <= p.opt.Keep {
				why = fmt.Sprintf("one of the %d newest", p.opt.Keep)
			}
		} else if why == "" && i < p.opt.Keep { // it does not take the place of an intact one
			why = fmt.Sprintf("one of the %d newest, though broken", p.opt.Keep)
		}
		if why != "" {
			p.done.Kept = append(p.done.Kept, Kept{r, why})
			continue
		}
		p.done.Removed = append(p.done.Removed, Removal{Release: r})
	}
	p.keepChanging()
	return nil
}

// keepChanging keeps the releases that a tool without a marker is copying.
func (p *prune) keepChanging() {
	var candidates []string
	for _, r := range p.done.Removed {
		candidates = append(candidates, r.Path)
	}
	changing := p.s.changing(candidates)
	p.filter(func(r Removal) string {
		if slices.Contains(changing, r.Path) {
			return "it is being copied: its files are changing"
		}
		return ""
	})
}

func paths(list []Release) []string {
	all := make([]string, len(list))
	for i, r := range list {
		all[i] = r.Path
	}
	return all
}

// reasons returns a function that returns why a release must stay regardless of its age, or "".
func (p *prune) reasons(list []Release, protected map[string]string, used uses) (func(Release) string, error) {
	pins, err := p.s.Pins()
	if err != nil {
		return nil, err
	}
	linked := make(map[string]string) // path -> the link that leads there
	for _, r := range list {
		if p.isLink(r) {
			linked[r.Path] = r.Name
		}
	}
	current, err := p.s.CurrentTarget()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		current = Release{} // the link leads to no release
	}
	return func(r Release) string {
		pin, pinned := pins[r.Name]
		switch {
		case protected[r.Name] != "":
			return protected[r.Name]
		case pinned:
			return pin.String()
		case strings.HasPrefix(current.Path+"/", r.Path+"/"):
			return fmt.Sprintf("%s leads to it", plain.Name(p.s.Current))
		case p.isLink(r):
			return p.s.linkText(r)
		case linked[r.Path] != "":
			return fmt.Sprintf("the link %s leads to it", plain.Name(linked[r.Path]))
		case used.by[r.Path] != "":
			return used.by[r.Path]
		}
		return p.unsure(r)
	}, nil
}

func (p *prune) isLink(r Release) bool {
	st, err := os.Lstat(filepath.Join(p.s.Dir, r.Name))
	return err == nil && st.Mode().Type() == fs.ModeSymlink
}

// unsure returns why a directory may not be a release that can be removed.
func (p *prune) unsure(r Release) string {
	at, sure, says := p.s.marker(r.Path)
	if at != "" && p.opt.Now.Sub(lastChange(at, r.Path)) < copyTime {
		if at == r.Path {
			return says.Error()
		}
		return fmt.Sprintf("it is being copied: the marker %s is there", filepath.Base(at))
	}
	if sure {
		return ""
	}
	switch at, err := mountedIn(r.Path); {
	case err != nil:
		return fmt.Sprintf("whether something is mounted in it is unknown: %v", err)
	case at != "":
		return fmt.Sprintf("something is mounted at %s", plain.Name(at))
	}
	if r.describes() || r.Virtualenv() != "" {
		return ""
	}
	if p.opt.Virtualenv {
		return "it does not look like a release: it has no virtualenv, no " + MetadataName + ", no REVISION and no .git"
	}
	if inside, err := os.ReadDir(r.Path); err != nil || len(inside) == 0 {
		return "it does not look like a release: it appears to be empty"
	}
	return ""
}

// lastChange returns the newest time at which one of the files was changed. One that is gone does
// not count.
func lastChange(paths ...string) (newest time.Time) {
	for _, path := range paths {
		if st, err := os.Lstat(path); err == nil && st.ModTime().After(newest) {
			newest = st.ModTime()
		}
	}
	return newest
}

// describes reports whether the release has metadata.
func (r Release) describes() bool {
	for _, name := range []string{MetadataName, "REVISION", ".git"} {
		if _, err := os.Lstat(filepath.Join(r.Path, name)); err == nil {
			return true
		}
	}
	return false
}

// count computes the space that each removal frees.
func (p *prune) count(ctx context.Context) {
	c := newCounter(ctx)
	for i := range p.done.Removed {
		c.count(p.done.Removed[i].Path)
		freed := c.sum().Own
		p.done.Removed[i].Freed = freed - p.done.Freed
		p.done.Freed = freed
	}
}

func hiddenName(name string) string { return "." + name + hiddenEnd }

func (p *prune) hidden(name string) string { return filepath.Join(p.dir, hiddenName(name)) }

// hide renames the releases to remove, so that they can no longer be switched to. Nothing can
// choose a release meanwhile. A release that a process uses regardless is renamed back.
func (p *prune) hide(ctx context.Context) {
	if len(p.done.Removed) == 0 {
		return
	}
	thaw, err := p.s.freeze(ctx, unix.LOCK_EX)
	if err == nil {
		defer thaw()
	}
	protected, unknown := p.opt.Protected(ctx)
	if err := errors.Join(err, unknown); err != nil {
		p.errs = append(p.errs, err)
		p.filter(func(Removal) string { return "it could not be checked whether it is still in use" })
		return
	}
	p.filter(func(r Removal) string {
		if why := protected[r.Name]; why != "" {
			return why
		}
		if err := p.root.RenameNew(r.Name, hiddenName(r.Name)); err != nil {
			p.errs = append(p.errs, p.s.mayNot(fmt.Errorf("remove %s: %w", r.Name, err)))
			return "it could not be removed"
		}
		return ""
	})
	p.lookAgain(ctx)
}

// lookAgain renames back what has come into use since the decision.
func (p *prune) lookAgain(ctx context.Context) {
	var dirs []string
	for _, r := range p.done.Removed {
		dirs = append(dirs, r.Path, p.hidden(r.Name))
	}
	protected, err := p.opt.Protected(ctx)
	used, unseen := findUses(dirs)
	if err = errors.Join(err, unseen); err != nil {
		p.errs = append(p.errs, err)
	}
	p.filter(func(r Removal) string {
		why := cmp.Or(protected[r.Name], used.by[r.Path], used.by[p.hidden(r.Name)])
		if err != nil {
			why = "it could not be checked whether it is still in use"
		}
		if why == "" {
			return ""
		}
		if err := p.root.RenameNew(hiddenName(r.Name), r.Name); err != nil {
			p.errs = append(p.errs, fmt.Errorf("rename %s back (%s): %w", r.Name, why, err))
		}
		return why
	})
}

// filter moves the removals with a reason to stay to the kept ones.
func (p *prune) filter(why func(Removal) string) {
	var gone []Removal
	for _, r := range p.done.Removed {
		if text := why(r); text != "" {
			p.done.Kept = append(p.done.Kept, Kept{r.Release, text})
			p.done.Freed -= r.Freed
			continue
		}
		gone = append(gone, r)
	}
	p.done.Removed = gone
}

// remove deletes the renamed releases.
func (p *prune) remove(ctx context.Context) {
	for _, r := range p.done.Removed {
		name, err := p.condemn(hiddenName(r.Name), r.Name)
		if err == nil {
			err = p.removeDir(ctx, name)
		}
		if err != nil {
			p.done.Freed -= r.Freed
			err = fmt.Errorf("remove %s: %w; the next prune continues the removal", r.Name, err)
			p.errs = append(p.errs, p.s.mayNot(err))
		}
	}
}

func (p *prune) removeLeftovers(ctx context.Context) {
	for _, name := range p.done.Leftovers {
		if err := p.removeDir(ctx, name); err != nil {
			p.errs = append(p.errs, p.s.mayNot(fmt.Errorf("remove %s: %w", name, err)))
		}
	}
}

// findLeftovers finds what interrupted installs and prunes left behind. An install in progress
// holds the lock, so it is not among them.
func (p *prune) findLeftovers() error {
	if p.opt.DryRun && p.s.locked() {
		return nil
	}
	entries, err := p.root.ReadDir()
	if err != nil {
		return fmt.Errorf("read the directory of releases: %w", err)
	}
	var found []string
	for _, e := range entries {
		name := e.Name()
		leftover := strings.HasSuffix(name, partialEnd) || strings.HasSuffix(name, removedEnd)
		if e.IsDir() && strings.HasPrefix(name, ".") && leftover {
			found = append(found, name)
		}
	}
	dirs := make([]string, len(found))
	for i, name := range found {
		dirs[i] = filepath.Join(p.dir, name)
	}
	used, err := findUses(dirs)
	if err != nil {
		return err
	}
	for i, name := range found {
		if used.by[dirs[i]] == "" {
			p.done.Leftovers = append(p.done.Leftovers, name)
		}
	}
	return nil
}

// removeDir removes a directory among the releases.
func (p *prune) removeDir(ctx context.Context, name string) error {
	err := p.root.RemoveAll(ctx, name)
	if errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("%w: something is mounted in it", err)
	}
	return err
}
