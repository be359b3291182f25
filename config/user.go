package config

import (
	"os"
	"os/user"
	"strconv"

	"superctl/supervisor/worker"
)

// user looks up a user of this machine with its groups, or with another primary group.
func (l *loader) user(key, name, group string) *User {
	if name == "" {
		return nil
	}
	u, err := lookup(name)
	if err != nil {
		l.at(key, "there is no user %q on this machine", name)
		return nil
	}
	uid, gid := number(u.Uid), number(u.Gid)
	if group != "" {
		if gid = l.group(key, group); gid < 0 {
			return nil
		}
	}
	if l.euid != 0 && uid != l.euid {
		l.at(key,
			"user = %q: only a daemon that runs as root can start workers as another user; leave it out, and run "+
				"the daemon as %s (User= of the unit)", name, name)
	}
	found, err := withGroups(u, gid)
	if err != nil {
		l.at(key, "groups of user %q: %v", name, err)
	}
	return found
}

// UserNamed returns the user of this machine with that name or, as in User= of a unit, that number,
// with its groups.
func UserNamed(name string) (*User, error) {
	u, err := lookup(name)
	if err != nil {
		return nil, err
	}
	return withGroups(u, number(u.Gid))
}

// lookup finds a user by name or number.
func lookup(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if err != nil && isID(name) {
		return user.LookupId(name)
	}
	return u, err
}

// isID reports whether a name is the number of a user or group.
func isID(name string) bool { _, err := strconv.ParseUint(name, 10, 32); return err == nil }

// GroupNamed returns the number of a group, by its name or the number itself.
func GroupNamed(name string) (int, error) {
	g, err := user.LookupGroup(name)
	switch {
	case err == nil:
		return number(g.Gid), nil
	case isID(name):
		return number(name), nil
	}
	return -1, err
}

// UserOf returns the user of this machine with that number, with its groups.
func UserOf(uid uint32) (*User, error) {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return nil, err
	}
	return withGroups(u, number(u.Gid))
}

func withGroups(u *user.User, gid int) (*User, error) {
	cred := worker.Credential{UID: uint32(number(u.Uid)), GID: uint32(gid)}
	ids, err := u.GroupIds()
	for _, id := range ids {
		cred.Groups = append(cred.Groups, uint32(number(id)))
	}
	return &User{Name: u.Username, Home: u.HomeDir, Credential: cred}, err
}

func (l *loader) group(key, name string) int {
	gid, err := GroupNamed(name)
	if err != nil {
		l.at(key, "there is no group %q on this machine", name)
	}
	return gid
}

// owner checks the owner and group of a unix socket.
func (l *loader) owner(key, name, group string) {
	if _, err := user.Lookup(name); name != "" && err != nil && !isID(name) {
		l.at(key+".owner", "there is no user %q on this machine", name)
	}
	if group != "" {
		l.group(key+".group", group)
	}
}

func number(id string) int {
	n, err := strconv.Atoi(id)
	if err != nil {
		return -1 // only on systems with ids that are not numbers
	}
	return n
}

// Become returns the user as a program is started as; nil if this process cannot become another
// user, or the program runs as this process does (a nil User).
func (u *User) Become() *worker.Credential {
	if u == nil || os.Geteuid() != 0 {
		return nil
	}
	return &u.Credential
}

// IDs returns the user and the group that programs started as Become have.
func (u *User) IDs() (uid, gid int) {
	if c := u.Become(); c != nil {
		return int(c.UID), int(c.GID)
	}
	return os.Geteuid(), os.Getegid()
}
