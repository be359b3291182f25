package importer

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"superctl/redact"
	"superctl/setup"
)

// kamal imports Kamal's deploy.yml, as far as it goes: superctl runs no containers, so what is about
// images and hosts is left out.
func (r *report) kamal(f File) error {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(f.Text), &doc); err != nil {
		return fmt.Errorf("%s: not YAML", f.Path) // yaml's error has the file's content
	}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return fmt.Errorf("%s: not a deploy.yml of Kamal", f.Path)
	}
	k := &kamalImport{report: r, file: f, lines: strings.Split(f.Text, "\n")}
	top := doc.Content[0]
	k.each(top, k.end(len(k.lines)), k.top)
	return nil
}

type kamalImport struct {
	*report
	file  File
	lines []string
}

// end returns the last line with content before a line.
func (k *kamalImport) end(before int) int {
	for before > 0 {
		text := strings.TrimSpace(k.lines[before-1])
		if text != "" && text[0] != '#' && text != "---" && text != "..." {
			break
		}
		before--
	}
	return before
}

// each calls one with every entry of a mapping, as a directive from its key's line to the line
// before the next key.
func (k *kamalImport) each(n *yaml.Node, last int, one func(d directive, value *yaml.Node)) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		to := last
		if i+2 < len(n.Content) {
			to = k.end(n.Content[i+2].Line - 1)
		}
		d := directive{file: k.file.Path, from: key.Line, to: max(to, key.Line), key: key.Value, value: value.Value}
		d.text = key.Value + ":"
		if value.Kind == yaml.ScalarNode {
			d.text += " " + value.Value
		}
		one(d, value)
	}
}

// nested calls one with the entries of a mapping in block style. It reports false for any other
// value, and for one that begins in its key's own line.
func (k *kamalImport) nested(d directive, n *yaml.Node, one func(d directive, value *yaml.Node)) bool {
	if n.Kind != yaml.MappingNode || n.Style&yaml.FlowStyle != 0 || n.Anchor != "" || len(n.Content) == 0 ||
		n.Content[0].Line <= d.from {
		return false
	}
	for i := 2; i < len(n.Content); i += 2 {
		if n.Content[i].Line <= n.Content[i-2].Line {
			return false
		}
	}
	k.each(n, d.to, one)
	return true
}

// withoutKamal is why a setting at the top has no counterpart.
func withoutKamal() map[string]string {
	return map[string]string{
		"image": "superctl runs releases and no containers: superctl build makes a bundle", "registry": "bundles need no registry",
		"builder": "superctl build: docs/bundles.md", "accessories": "databases are not superctl's to run: packages of the system, or containers of their own",
		"volumes": "[shared] links what outlives a release", "asset_path": "docs/nginx.md: static files of several releases",
		"ssh": "~/.ssh/config: docs/fleet.md", "sshkit": "docs/fleet.md", "boot": "docs/fleet.md: canary and batch", "labels": "labels are of containers",
		"aliases": "superctl exec", "logging": "the journal has the logs", "require_destination": "each environment is a [fleet.NAME]",
		"traefik": "nginx is in front: superctl init sets it up", "run_directory": "superctl has /run/superctl",
		"hooks_path": "[hooks] has commands around a switch", "secrets_path": "secrets are in env_file, or are credentials of the unit",
		"primary_role": "the first process with a listener is the web", "allow_empty_roles": "roles are processes",
		"minimum_version": "it is Kamal's", "error_pages_path": "error pages are nginx's",
	}
}

func (k *kamalImport) top(d directive, v *yaml.Node) {
	switch d.key {
	case "service":
		k.out.App = v.Value
		k.kept(d, "app")
	case "servers":
		if !k.nested(d, v, k.role) {
			k.dropped(d, "hosts are in [fleet.NAME]: docs/fleet.md")
		}
	case "proxy", "healthcheck":
		if !k.nested(d, v, k.proxy) {
			k.dropped(d, "nginx is in front")
		}
	case "env":
		if !k.nested(d, v, func(d directive, v *yaml.Node) { k.env(d, v, nil) }) {
			k.dropped(d, "not a mapping")
		}
	case "retain_containers":
		if n, err := strconv.Atoi(v.Value); err == nil && n > 0 && n < 1000 {
			k.out.Keep = n
			k.kept(d, "keep")
			return
		}
		k.dropped(d, "not a number")
	case "deploy_timeout":
		k.time(d, v, "start_timeout")
	case "drain_timeout", "stop_wait_time":
		k.time(d, v, "drain")
	case "readiness_delay":
		k.builtIn(d, "a process without listeners is ready after ready_after")
	default:
		k.dropped(d, cmp.Or(withoutKamal()[d.key], "superctl init does not know it"))
	}
}

func (k *kamalImport) time(d directive, v *yaml.Node, key string) {
	n, err := strconv.Atoi(v.Value)
	if err != nil || n < 1 || n > 86400 {
		k.dropped(d, "not a number of seconds")
		return
	}
	p := k.process("web")
	setKey(p, key, tomlDuration(time.Duration(n)*time.Second))
	k.kept(d, "process.web."+key)
}

// role imports a role of servers.
func (k *kamalImport) role(d directive, v *yaml.Node) {
	name := d.key
	if !k.nested(d, v, func(d directive, v *yaml.Node) { k.roleKey(d, v, name) }) {
		k.process(name)
		k.dropped(d, "hosts are in [fleet.NAME]: docs/fleet.md")
	}
}

func (k *kamalImport) roleKey(d directive, v *yaml.Node, role string) {
	switch d.key {
	case "cmd":
		p, c := k.addProcess(role, v.Value)
		k.kept(d, "process."+p.Name+".command", c.notes...)
	case "hosts":
		k.dropped(d, "hosts are in [fleet.NAME]: docs/fleet.md")
	case "env":
		p := k.process(role)
		if !k.nested(d, v, func(d directive, v *yaml.Node) { k.env(d, v, p) }) {
			k.dropped(d, "not a mapping")
		}
	case "proxy":
		if !k.nested(d, v, k.proxy) {
			k.builtIn(d, "a process with a listener serves users")
		}
	case "options":
		k.dropped(d, "options are of containers: memory_max and cpu_weight limit a worker")
	default:
		k.dropped(d, "superctl init does not know it")
	}
}

// proxy imports what Kamal's proxy is told.
func (k *kamalImport) proxy(d directive, v *yaml.Node) {
	web := k.process("web")
	switch d.key {
	case "host":
		if isHost := strings.Trim(v.Value, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" && v.Value != ""; isHost {
			k.out.Domains = append(k.out.Domains, v.Value)
		}
		k.kept(d, "nginx: server_name")
	case "hosts":
		k.dropped(d, "name them with --domain")
	case "app_port", "port":
		if digits(v.Value) && len(v.Value) < 6 {
			l := k.listen(web, "127.0.0.1:"+v.Value)
			k.kept(d, "listen."+l+".address")
			return
		}
		k.dropped(d, "not a port")
	case "healthcheck":
		if !k.nested(d, v, k.proxy) {
			k.dropped(d, "not a mapping")
		}
	case "path":
		if strings.HasPrefix(v.Value, "/") {
			web.Health = append(web.Health, setup.Key{Name: "path", TOML: strconv.Quote(v.Value)})
			k.kept(d, "process.web.health.path")
			return
		}
		k.dropped(d, "not a path")
	case "response_timeout", "buffering", "forward_headers", "path_prefix", "strip_path_prefix":
		k.dropped(d, "a setting of nginx")
	case "ssl", "ssl_redirect", "tls":
		k.builtIn(d, "nginx ends HTTPS, with a certificate of certbot")
	case "interval", "timeout", "max_attempts", "cord":
		k.builtIn(d, "superctl asks every 250 ms until start_timeout")
	default:
		k.dropped(d, "superctl init does not know it")
	}
}

// env imports clear variables, and names those that are secret.
func (k *kamalImport) env(d directive, v *yaml.Node, p *setup.Process) {
	add := func(d directive, v *yaml.Node) {
		k.addVariables(p, []setup.Variable{{Name: d.key, Value: v.Value}})
		if redact.IsSecret(d.key, v.Value) {
			d.text = d.key + ": ***"
		}
		k.kept(d, "env."+d.key)
	}
	switch {
	case d.key == "clear":
		if !k.nested(d, v, add) {
			k.dropped(d, "write it in several lines")
		}
	case d.key == "secret" && v.Kind == yaml.SequenceNode:
		for _, n := range v.Content {
			name, _, _ := strings.Cut(n.Value, ":")
			if !slices.ContainsFunc(k.out.Secrets, func(s setup.Variable) bool { return s.Name == name }) {
				k.out.Secrets = append(k.out.Secrets, setup.Variable{Name: name})
			}
		}
		k.kept(d, "the file of secrets", "without the values, which are in .kamal/secrets")
	case v.Kind == yaml.ScalarNode:
		add(d, v)
	default:
		k.dropped(d, "superctl init does not know it")
	}
}
