package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"superctl/supervisor/worker"
)

// A generation has a directory for the files of its workers alone, such as those that
// prometheus_client shares between processes: what a new release writes or wipes there is none of
// the live one's. It is made when the first worker starts and removed with the generation.

// scratchName is the directory of a generation, for the workers of one user.
func scratchName(generation int, user *worker.Credential) string {
	name := "g" + strconv.Itoa(generation)
	if user != nil {
		name += "-" + strconv.FormatUint(uint64(user.UID), 10)
	}
	return name
}

// scratch makes the directory of a worker that is about to start. One that cannot be made must not
// keep a worker from starting that has no use for it; one that needs it fails with its placeholder.
func (co *core) scratch(generation int, user *worker.Credential) string {
	if co.opt.Scratch == "" {
		return ""
	}
	name := scratchName(generation, user)
	if err := makeScratch(co.opt.Scratch, name, user); err != nil {
		co.log.Error("scratch directory", zap.Int("generation", generation), zap.Error(err))
		return ""
	}
	return filepath.Join(co.opt.Scratch, name)
}

// makeScratch makes a directory that its user alone can enter. It follows no link: where its parent
// is not this user's own, another user could put one there.
func makeScratch(dir, name string, user *worker.Credential) error {
	uid, gid := os.Geteuid(), os.Getegid()
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) { // workers of other users go through it
		return err
	}
	if st, err := os.Lstat(dir); err != nil || !ownedBy(st, uid) || st.Mode().Perm()&0o022 != 0 {
		return errors.Join(
			err, fmt.Errorf("%s is not a directory that only its owner, user %d, can write: move it away", dir, uid),
		)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if user != nil {
		uid, gid = int(user.UID), int(user.GID)
	}
	err = root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		if st, err := root.Lstat(name); err != nil || !ownedBy(st, uid) {
			return errors.Join(err, fmt.Errorf("%s is not a directory of user %d", filepath.Join(dir, name), uid))
		}
		return nil
	}
	if err == nil && uid != os.Geteuid() {
		err = root.Lchown(name, uid, gid)
	}
	return err
}

func ownedBy(st fs.FileInfo, uid int) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && st.IsDir() && int(sys.Uid) == uid
}

// clearScratch removes the directories of generations that are gone, also of those that an earlier
// daemon has left.
func (mf *memoryFiles) clearScratch() {
	if mf.opt.Scratch == "" {
		return
	}
	used, next := make(map[int]bool), mf.owner.next
	for _, g := range mf.owner.generations {
		used[g.id] = true
		for _, in := range g.instances {
			used[in.scratch] = true // a restart of another process has carried it over
		}
	}
	mf.async(func() {
		if err := removeScratch(mf.opt.Scratch, func(generation int) bool {
			return generation >= next || used[generation]
		}); err != nil {
			mf.log.Error("remove scratch directories", zap.Error(err))
		}
	})
}

func removeScratch(dir string, used func(generation int) bool) error {
	if st, err := os.Lstat(dir); err != nil || !ownedBy(st, os.Geteuid()) {
		return nil // none was made
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	for _, e := range entries {
		number, _, _ := strings.Cut(strings.TrimPrefix(e.Name(), "g"), "-")
		if n, bad := strconv.Atoi(number); bad == nil && used(n) {
			continue
		}
		err = errors.Join(err, root.RemoveAll(e.Name()))
	}
	return err
}
