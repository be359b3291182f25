package releases

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// packedLimit bounds how much of git's list of packed references is read.
const packedLimit = 8 << 20

// fromGit reads the commit of a checkout without running git, which might execute the checkout's
// configuration.
func (r *Release) fromGit() {
	dir, common := gitDirs(r.Path)
	head, err := readSmall(filepath.Join(dir, "HEAD"))
	if err != nil {
		return
	}
	commit := strings.TrimSpace(string(head))
	if ref, symbolic := strings.CutPrefix(commit, "ref: "); symbolic {
		if !filepath.IsLocal(ref) {
			return
		}
		if branch := strings.TrimPrefix(ref, "refs/heads/"); printable(branch) {
			r.Branch = branch
		}
		commit = reference(dir, common, ref)
	}
	if isCommit(commit) {
		r.Commit = commit
		r.Committed = commitTime(common, commit)
	}
}

// gitDirs returns the directory with a checkout's HEAD, and the one that it shares with other
// worktrees (gitrepository-layout(5)).
func gitDirs(checkout string) (dir, common string) {
	dir = filepath.Join(checkout, ".git")
	if data, err := readSmall(dir); err == nil { // a worktree or a submodule
		to, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
		if !ok {
			return dir, dir
		}
		if dir = to; !filepath.IsAbs(dir) {
			dir = filepath.Join(checkout, dir)
		}
	}
	data, err := readSmall(filepath.Join(dir, "commondir"))
	if err != nil {
		return dir, dir
	}
	if common = strings.TrimSpace(string(data)); !filepath.IsAbs(common) {
		common = filepath.Join(dir, common)
	}
	return dir, common
}

// reference returns the commit that a reference names, or "".
func reference(dir, common, ref string) string {
	for _, place := range []string{dir, common} {
		if data, err := readSmall(filepath.Join(place, ref)); err == nil {
			return strings.TrimSpace(string(data))
		}
	}
	f, err := openRegular(filepath.Join(common, "packed-refs"))
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(io.LimitReader(f, packedLimit)); lines.Scan(); {
		if commit, name, ok := strings.Cut(lines.Text(), " "); ok && name == ref {
			return commit
		}
	}
	return ""
}

// commitTime returns the time of a commit if its object is loose: reading packs would need git.
func commitTime(common, commit string) time.Time {
	if len(commit) < 40 {
		return time.Time{}
	}
	packed, err := readSmall(filepath.Join(common, "objects", commit[:2], commit[2:]))
	if err != nil {
		return time.Time{}
	}
	plain, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return time.Time{}
	}
	defer plain.Close()
	for lines := bufio.NewScanner(io.LimitReader(plain, metadataLimit)); lines.Scan(); {
		who, ok := strings.CutPrefix(lines.Text(), "committer ")
		if !ok {
			continue
		}
		fields := strings.Fields(who[strings.LastIndexByte(who, '>')+1:]) // seconds, zone
		if len(fields) > 0 {
			return unixTime(fields[0])
		}
	}
	return time.Time{}
}

// unixTime parses seconds since 1970, and returns the zero time for anything else.
func unixTime(text string) time.Time {
	at, err := strconv.ParseInt(text, 10, 64)
	if err != nil || at <= 0 || at > 1<<40 {
		return time.Time{}
	}
	return time.Unix(at, 0)
}
