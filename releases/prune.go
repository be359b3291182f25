package releases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"superctl/beneath"
)

// The hidden names of what is no release yet, and of what is none any more.
const (
	partialEnd = ".partial" // .NAME.partial: an install in progress, as long as its lock is held
	removedEnd = ".removed" // .NAME.removed: nobody can switch to it, and its files go
)

// copyTime is for how long a release with the marker Incomplete is taken for one that is being copied.
const copyTime = 24 * time.Hour

// PruneOptions say what a prune may remove.
type PruneOptions struct {
	Keep   int  // so many of the newest stay
	DryRun bool // only tell
	// Protected says which releases must stay, by name, and why. It is asked again when nobody can choose one any more.
	Protected func(context.Context) (map[string]string, error)
	// Check says why a release cannot be switched to.
	Check func(Release) error
	// Virtualenv: what has neither one nor metadata is no release, but somebody's directory.
	Virtualenv bool
	// Say is told what is being removed; nil for nobody.
	Say func(text string)
	Now time.Time
}

// Pruned is what a prune has done, or with DryRun would do.
type Pruned struct {
	Removed   []Removal
	Kept      []Kept
	Leftovers []string // of interrupted installs and prunes
	Freed     int64    // bytes
	Unseen    []string // processes that could not be looked at
}

// Removal is a release that was removed.
type Removal struct {
	Release
	Freed int64 // bytes; what several releases share is counted with the last of them
}

// Kept is a release that stays, and why.
type Kept struct {
	Release
	Why string
}

// Prune removes what is old and not wanted. Each release first gets a name that nobody can switch to; then its files go. What cannot
// be removed is in the error, and the others are removed all the same.
func (s *Store) Prune(ctx context.Context, opt PruneOptions) (Pruned, error) {
	p := &prune{s: s, opt: opt}
	var err error
	if p.root, err = beneath.Open(s.Dir); err != nil {
		return Pruned{}, fmt.Errorf("the directory of releases: %w", err)
	}
	defer p.root.Close() //nolint:errcheck // nothing is written to it
	if p.dir, err = filepath.EvalSymlinks(s.Dir); err != nil {
		return Pruned{}, fmt.Errorf("the directory of releases: %w", err)
	}
	if !opt.DryRun {
		lock, err := s.Lock("prune")
		if err != nil && !noRoom(err) { // where there is no room for a lock nobody has ever installed anything
			return Pruned{}, err
		}
		defer lock.Unlock() //nolint:errcheck // its end is the lock's
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

// prune is one prune.
type prune struct {
	s    *Store
	opt  PruneOptions
	root *beneath.Dir // of the releases: all that is changed is changed in it
	dir  string       // its path without links on the way, as processes have it
	done Pruned
	errs []error
}

// decide finds out what goes and what stays.
func (p *prune) decide(ctx context.Context) error {
	list, err := p.s.List()
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
	whole := 0
	for i, r := range list {
		why := reasons(r)
		if p.opt.Check(r) == nil {
			whole++
			if why == "" && whole <= p.opt.Keep {
				why = fmt.Sprintf("one of the %d newest", p.opt.Keep)
			}
		} else if why == "" && i < p.opt.Keep { // it takes no whole one's place
			why = fmt.Sprintf("one of the %d newest, though broken", p.opt.Keep)
		}
		if why != "" {
			p.done.Kept = append(p.done.Kept, Kept{r, why})
			continue
		}
		p.done.Removed = append(p.done.Removed, Removal{Release: r})
	}
	return nil
}

func paths(list []Release) []string {
	all := make([]string, len(list))
	for i, r := range list {
		all[i] = r.Path
	}
	return all
}

// reasons returns what says why a release must stay, however old it is; "" when nothing does.
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
		current = Release{} // whatever is there leads to no release
	}
	return func(r Release) string {
		pin, pinned := pins[r.Name]
		switch {
		case protected[r.Name] != "":
			return protected[r.Name]
		case pinned:
			return pin.String()
		case strings.HasPrefix(current.Path+"/", r.Path+"/"):
			return fmt.Sprintf("%s leads to it", p.s.Current)
		case p.isLink(r):
			return fmt.Sprintf("it is a link to %s, and no directory", r.Path)
		case linked[r.Path] != "":
			return fmt.Sprintf("the link %s leads to it", linked[r.Path])
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

// unsure says why something may not be what it looks like.
func (p *prune) unsure(r Release) string {
	if st, err := os.Lstat(filepath.Join(r.Path, Incomplete)); err == nil {
		changed := st.ModTime()
		if dir, err := os.Stat(r.Path); err == nil && dir.ModTime().After(changed) {
			changed = dir.ModTime()
		}
		if p.opt.Now.Sub(changed) < copyTime {
			return "it is being copied: the marker " + Incomplete + " is there"
		}
		return ""
	}
	if at := mountedIn(r.Path); at != "" {
		return fmt.Sprintf("something is mounted at %s", at)
	}
	if r.describes() || r.Virtualenv() != "" {
		return ""
	}
	if p.opt.Virtualenv {
		return "it does not look like a release: it has no virtualenv, no " + MetadataName + ", no REVISION and no .git"
	}
	if inside, err := os.ReadDir(r.Path); err != nil || len(inside) == 0 {
		return "it does not look like a release: nothing is seen in it"
	}
	return ""
}

// describes tells whether the release has anything that says what it is.
func (r Release) describes() bool {
	for _, name := range []string{MetadataName, "REVISION", ".git"} {
		if _, err := os.Lstat(filepath.Join(r.Path, name)); err == nil {
			return true
		}
	}
	return false
}

// count finds out how much space is won.
func (p *prune) count(ctx context.Context) {
	c := newCounter(ctx)
	for i := range p.done.Removed {
		c.count(p.done.Removed[i].Path)
		freed := c.sum().Own
		p.done.Removed[i].Freed = freed - p.done.Freed
		p.done.Freed = freed
	}
}

func hiddenName(name string) string { return "." + name + removedEnd }

func (p *prune) hidden(name string) string { return filepath.Join(p.dir, hiddenName(name)) }

// hide gives what is to go names that nobody can switch to. Nobody can choose a release meanwhile; and who uses one without asking
// gets it back.
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
		p.filter(func(Removal) string { return "whether it is in use is not known any more" })
		return
	}
	p.filter(func(r Removal) string {
		if why := protected[r.Name]; why != "" {
			return why
		}
		if err := p.root.Rename(r.Name, hiddenName(r.Name)); err != nil {
			p.errs = append(p.errs, p.s.mayNot(fmt.Errorf("remove %s: %w", r.Name, err)))
			return "it could not be removed"
		}
		return ""
	})
	p.lookAgain(ctx)
}

// lookAgain takes back what has come into use since it was decided.
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
			why = "whether it is in use is not known any more"
		}
		if why == "" {
			return ""
		}
		if err := p.root.RenameNew(hiddenName(r.Name), r.Name); err != nil {
			p.errs = append(p.errs, fmt.Errorf("give %s its name back (%s): %w", r.Name, why, err))
		}
		return why
	})
}

// filter keeps what there is a reason for.
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

// remove removes what is hidden.
func (p *prune) remove(ctx context.Context) {
	for i, r := range p.done.Removed {
		p.say("removing %s (%d of %d)", r.Name, i+1, len(p.done.Removed))
		if err := p.removeDir(ctx, hiddenName(r.Name)); err != nil {
			p.done.Freed -= r.Freed
			p.errs = append(p.errs, p.s.mayNot(fmt.Errorf("remove %s: %w; the next prune goes on with it", r.Name, err)))
		}
	}
}

func (p *prune) removeLeftovers(ctx context.Context) {
	for _, name := range p.done.Leftovers {
		p.say("removing %s, which was left over", name)
		if err := p.removeDir(ctx, name); err != nil {
			p.errs = append(p.errs, p.s.mayNot(fmt.Errorf("remove %s: %w", name, err)))
		}
	}
}

func (p *prune) say(format string, args ...any) {
	if p.opt.Say != nil {
		p.opt.Say(fmt.Sprintf(format, args...))
	}
}

// findLeftovers finds what interrupted installs and prunes have left. Who has the lock of installs is no longer one of them.
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
		if e.IsDir() && strings.HasPrefix(name, ".") && (strings.HasSuffix(name, partialEnd) || strings.HasSuffix(name, removedEnd)) {
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
