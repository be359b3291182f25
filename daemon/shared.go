package daemon

import (
	"os"
	"os/user"
	"strconv"
	"strings"

	"superctl/config"
	"superctl/releases"
	"superctl/supervisor"
)

// shareInto implements the supervisor's Share.
func shareInto(plan supervisor.Plan, owner string, inUse bool) (string, error) {
	r := releases.Release{Name: plan.Release.Name, Path: plan.Release.Path}
	made, err := r.Share(releases.Sharing{Paths: plan.Shared, InUse: inUse, Owner: owner})
	if err != nil {
		return "", err
	}
	if len(made) == 0 {
		return "nothing to do", nil
	}
	return strings.Join(made, ", "), nil
}

// OwnerOf returns the owner of the files that an app writes, as USER or USER:GROUP.
func OwnerOf(c *config.Config) string {
	if c.User != nil {
		name := c.User.Name
		if g, err := user.LookupGroupId(strconv.FormatUint(uint64(c.User.Credential.GID), 10)); err == nil {
			name += ":" + g.Name
		}
		return name
	}
	me, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		return ""
	}
	if g, err := user.LookupGroupId(me.Gid); err == nil {
		return me.Username + ":" + g.Name
	}
	return me.Username
}
