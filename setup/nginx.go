package setup

import (
	"fmt"
	"path/filepath"
	"strings"
)

// nginx decides the site of nginx.
func (d *decider) nginx(s *Site) error {
	if d.answers.NoNginx {
		return nil
	}
	if !d.machine.Program("nginx") {
		d.warn("nginx is not installed, so no site is written for it: install it and run superctl init again")
		return nil
	}
	domains, first := d.domains()
	if len(domains) == 0 {
		return &UnknownError{"domain", "the domain of the site, for nginx,", "--domain shop.example.com, or --no-nginx"}
	}
	n := &Nginx{
		Domains: domains, Address: s.Listen[0].Address, Cert: d.answers.Cert, Key: d.answers.Key,
		Upgrade: d.project.ASGI != "" && !strings.HasPrefix(s.Processes[0].Command, "gunicorn --workers"),
	}
	n.SchemeHeader, n.SchemeValue = d.settings.schemeHeader()
	d.certificate(n, first)
	d.locations(s, n)
	s.Nginx = n
	return nil
}

// certificate looks for a certificate of certbot.
func (d *decider) certificate(n *Nginx, domain string) {
	if n.Cert != "" {
		return
	}
	if cert := filepath.Join(certDir, domain, "fullchain.pem"); d.machine.Owner(cert) != "" {
		n.Cert, n.Key = cert, filepath.Join(certDir, domain, "privkey.pem")
		d.fact("certificate", cert, "certbot")
		return
	}
	if d.settings != nil && d.settings.SSLRedirect {
		d.warn("there is no certificate for %s, and SECURE_SSL_REDIRECT sends every user to HTTPS: see the next steps",
			domain)
	}
}

// locations lets nginx serve static files and uploads.
func (d *decider) locations(s *Site, n *Nginx) {
	set := d.settings
	if set == nil {
		return
	}
	add := func(url, root, shared string) {
		if !isServed(url, root) {
			return
		}
		if shared != "" {
			root = shared
		} else if rel, inside := d.inRelease(root); inside {
			root = filepath.Join(s.Current, rel)
		}
		n.Locations = append(n.Locations, Location{"/" + strings.Trim(url, "/") + "/", root + "/"})
	}
	if !set.WhiteNoise {
		shared := ""
		if isServed(set.StaticURL, set.StaticRoot) {
			shared = d.assets(s)
		}
		add(set.StaticURL, set.StaticRoot, shared)
		if set.StaticRoot == "" && d.project.Framework == "Django" {
			d.warn("STATIC_ROOT is not set: Django serves no static files in production (docs/nginx.md)")
		}
	}
	media := ""
	if rel, inside := d.inRelease(set.MediaRoot); inside {
		for _, sh := range s.Shared {
			if sh.Path == rel {
				media = sh.Target
			}
		}
	}
	add(set.MediaURL, set.MediaRoot, media)
}

// isServed reports whether nginx can serve a directory at a URL.
func isServed(url, root string) bool {
	return url != "" && url != "/" && safePath(url) && root != "" && safePath(root)
}

// Text returns nginx's config file for the app.
func (n *Nginx) Text(app string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	names := strings.Join(n.Domains, " ")
	server := n.Address
	if strings.HasPrefix(server, ":") || strings.HasPrefix(server, "0.0.0.0:") || strings.HasPrefix(server, "[::]:") {
		_, port, _ := cutLast(server, ":")
		server = "127.0.0.1:" + port
	}
	line("# %s: nginx in front of %s. Written by superctl init; yours to edit.", nginxPath(app), app)
	line("# Nothing here changes when a release does: the address stays. docs/nginx.md explains it.")
	line("")
	variable := "$" + strings.ReplaceAll(app, "-", "_") + "_connection"
	if n.Upgrade {
		line("map $http_upgrade %s {\n    default upgrade; # WebSockets\n    ''      close;   # a connection for each request\n}\n",
			variable)
	}
	line("upstream %s {\n    server %s;\n}\n", app, server)
	if n.Cert != "" {
		line("server {\n    listen      80;\n    listen      [::]:80;\n    server_name %s;\n"+
			"    return      301 https://$host$request_uri;\n}\n", names)
		line("server {\n    listen      443 ssl;\n    listen      [::]:443 ssl;\n    server_name %s;\n", names)
		line("    ssl_certificate     %s;\n    ssl_certificate_key %s;", n.Cert, n.Key)
	} else {
		line("server {\n    listen      80;\n    listen      [::]:80;\n    server_name %s;", names)
	}
	line("\n    client_max_body_size 20m;\n")
	for _, l := range n.Locations {
		line("    location %s { alias %s; }", l.URL, l.Path)
	}
	if len(n.Locations) > 0 {
		line("")
	}
	n.proxy(line, app, variable)
	line("}")
	return b.String()
}

// proxy writes the location of the app.
func (n *Nginx) proxy(line func(string, ...any), app, variable string) {
	line("    location / {")
	defer line("    }")
	if n.UWSGI {
		line("        include    uwsgi_params;\n        uwsgi_pass %s;", app)
		return
	}
	connection := "close"
	line("        proxy_pass         http://%s;\n        proxy_http_version 1.1;", app)
	if n.Upgrade {
		connection = variable
		line("        proxy_set_header   Upgrade           $http_upgrade;")
	}
	line("        proxy_set_header   Connection        %s;", connection)
	line("        proxy_set_header   Host              $http_host;")
	line("        proxy_set_header   X-Forwarded-For   $proxy_add_x_forwarded_for;")
	line("        proxy_set_header   X-Forwarded-Proto $scheme;")
	if n.SchemeHeader != "" {
		value := "$scheme"
		if n.SchemeValue != "https" {
			value = n.SchemeValue
			if n.Cert == "" {
				value = `""`
			}
		}
		line("        proxy_set_header   %s %s;", n.SchemeHeader, value)
	}
	line("        proxy_read_timeout 60s; # at least as long as the slowest view")
}

// nginxPath returns the path of nginx's config file for an app.
func nginxPath(app string) string { return filepath.Join(nginxDir, app+".conf") }
