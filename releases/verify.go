package releases

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Difference lists the paths in a release that differ from its installed state.
type Difference struct {
	Changed []string `json:"changed,omitempty"` // each with what changed: content, mode or target
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
}

// Empty reports whether nothing differs.
func (d *Difference) Empty() bool { return len(d.Changed)+len(d.Added)+len(d.Removed) == 0 }

// Verify compares a release with the list of its files, ignoring the paths shared between releases.
// Without a list the error is ErrNoTree.
func (r Release) Verify(ctx context.Context, shared []string) (Difference, error) {
	then, err := r.tree()
	if err != nil {
		return Difference{}, err
	}
	now, err := ReadTree(ctx, r.Path, shared)
	if err != nil {
		return Difference{}, fmt.Errorf("read release %s: %w", r.Name, err)
	}
	return then.compare(now, shared), nil
}

// tree reads the list, and checks it against the hash in release.toml.
func (r Release) tree() (Tree, error) {
	path := filepath.Join(r.Path, treeFile)
	meta, err := readSmall(filepath.Join(r.Path, MetadataName))
	var m Metadata
	if err == nil {
		m, err = ParseMetadata(meta)
	}
	f, openErr := openRegular(path)
	switch {
	case openErr == nil:
		defer f.Close()
	case errors.Is(openErr, fs.ErrNotExist) && m.Tree == "" && (err == nil || errors.Is(err, fs.ErrNotExist)):
		return nil, ErrNoTree
	default:
		return nil, fmt.Errorf("the list of its files: %w", openErr)
	}
	if err != nil || m.Tree == "" {
		return nil, fmt.Errorf("its %s no longer has the hash of its list of files: "+
			"install the bundle again, under another version", MetadataName)
	}
	text, err := io.ReadAll(io.LimitReader(f, treeLimit))
	if err != nil {
		return nil, fmt.Errorf("the list of its files: %w", err)
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != m.Tree {
		return nil, fmt.Errorf("the list of its files, %s, was changed after the installation: "+
			"install the bundle again, under another version", path)
	}
	list, err := parseTree(text)
	if err != nil {
		return nil, fmt.Errorf("the list of its files, %s: %w", path, err)
	}
	return list, nil
}

// Compare returns how a later list differs.
func (t Tree) Compare(now Tree) Difference { return t.compare(now, nil) }

// compare merges the two lists, which are sorted.
func (t Tree) compare(now Tree, shared []string) (d Difference) {
	i, j := 0, 0
	for i < len(t) || j < len(now) {
		switch {
		case j == len(now) || i < len(t) && t[i].Path < now[j].Path:
			if !isShared(t[i].Path, shared) {
				d.Removed = append(d.Removed, t[i].Path)
			}
			i++
		case i == len(t) || now[j].Path < t[i].Path:
			if now[j].Kind != 'd' || !leadsToShared(now[j].Path, shared) {
				d.Added = append(d.Added, now[j].Path)
			}
			j++
		default:
			if what := t[i].differs(&now[j]); what != "" {
				d.Changed = append(d.Changed, t[i].Path+what)
			}
			i, j = i+1, j+1
		}
	}
	return d
}

func isShared(path string, shared []string) bool {
	return slices.ContainsFunc(shared, func(s string) bool { return path == s || strings.HasPrefix(path, s+"/") })
}

// leadsToShared reports whether a directory was created for a shared path in it.
func leadsToShared(dir string, shared []string) bool {
	return slices.ContainsFunc(shared, func(s string) bool { return strings.HasPrefix(s, dir+"/") })
}

// differs returns how an entry has changed, or "".
func (e *Entry) differs(now *Entry) string {
	var what []string
	switch {
	case e.Kind != now.Kind:
		return " (was " + e.kind() + ", is " + now.kind() + ")"
	case e.Kind == 'f' && (e.Size != now.Size || e.SHA256 != now.SHA256):
		what = append(what, "content")
	case e.Kind == 'l' && e.Target != now.Target:
		what = append(what, fmt.Sprintf("leads to %q instead of %q", now.Target, e.Target))
	}
	if e.Mode != now.Mode {
		what = append(what, fmt.Sprintf("mode %04o instead of %04o", now.Mode, e.Mode))
	}
	if len(what) == 0 {
		return ""
	}
	return " (" + strings.Join(what, ", ") + ")"
}

func (e *Entry) kind() string {
	switch e.Kind {
	case 'f':
		return "a file"
	case 'd':
		return "a directory"
	case 'l':
		return "a link"
	}
	return "something else"
}
