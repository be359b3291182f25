package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// ansible reads the hosts of an Ansible inventory: those of the group with the fleet's name, or all
// if there is no such group. Ansible itself reads it, so that every format, group_vars and plugin
// means what it means to a play.
func (o *Options) ansible(
	ctx context.Context, path, group string, refuse func(format string, args ...any) error,
) ([]Host, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, refuse("inventory: %w", err)
	}
	run := o.Ansible
	if run == nil {
		run = ansibleInventory
	}
	out, err := run(ctx, "-i", path, "--list")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, refuse("an Ansible inventory is read by ansible-inventory, which is not installed here: " +
			"install ansible-core, or write hosts = [\"web1\", \"web2\"]")
	case err != nil:
		return nil, refuse("ansible-inventory -i %s --list: %v", path, err)
	}
	var list map[string]json.RawMessage
	if err := json.Unmarshal(out, &list); err != nil {
		return nil, refuse("ansible-inventory -i %s --list: %v", path, err)
	}
	hosts, err := ansibleHosts(list, group)
	if err != nil {
		return nil, refuse("ansible-inventory -i %s --list: %v", path, err)
	}
	return hosts, nil
}

// ansibleHosts returns the hosts of a group, with the variables that say how ssh reaches them.
func ansibleHosts(list map[string]json.RawMessage, group string) ([]Host, error) {
	var meta struct {
		Vars map[string]struct {
			Address string `json:"ansible_host"`
			User    string `json:"ansible_user"`
			Port    any    `json:"ansible_port"` // a number or a string
		} `json:"hostvars"`
	}
	if raw, ok := list["_meta"]; ok {
		if err := json.Unmarshal(raw, &meta); err != nil {
			return nil, err
		}
	}
	if _, ok := list[group]; !ok {
		group = "all"
	}
	names, err := membersOf(list, group, nil)
	if err != nil {
		return nil, err
	}
	var hosts []Host
	for _, name := range names {
		vars := meta.Vars[name]
		h := Host{Name: name, Address: vars.Address, User: vars.User}
		if vars.Port != nil {
			h.Port = fmt.Sprint(vars.Port)
		}
		for _, value := range []string{h.Address, h.User, h.Port} {
			if strings.Contains(value, "{{") {
				return nil, fmt.Errorf("%s: %s is a template, which ansible-inventory does not resolve: write the value, or keep "+
					"it in ~/.ssh/config", name, value)
			}
		}
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// membersOf returns the hosts of a group and of its children, each once.
func membersOf(list map[string]json.RawMessage, group string, above []string) (names []string, err error) {
	var g struct {
		Hosts    []string `json:"hosts"`
		Children []string `json:"children"`
	}
	raw, ok := list[group]
	if !ok || slices.Contains(above, group) {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		return nil, fmt.Errorf("group %s: %w", group, err)
	}
	names = g.Hosts
	for _, child := range g.Children {
		more, err := membersOf(list, child, append(above, group))
		if err != nil {
			return nil, err
		}
		for _, name := range more {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

func ansibleInventory(ctx context.Context, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, "ansible-inventory", args...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return nil, errors.New(lastLine(string(failed.Stderr)))
	}
	return out, err
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
