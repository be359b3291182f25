package setup

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	settingsModule = regexp.MustCompile(`DJANGO_SETTINGS_MODULE["']\s*(?:,|\]\s*=)\s*["']([\w.]+)["']`)
	djangoApp      = regexp.MustCompile(`(?m)^(\w+)\s*=.*\bget_(w|a)sgi_application\(`)
	djangoRouter   = regexp.MustCompile(`(?m)^(\w+)\s*=\s*ProtocolTypeRouter\(`)
	frameworkApp   = regexp.MustCompile(
		`(?m)^(\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)*(Flask|FastAPI|Starlette|Quart|Litestar|BlackSheep|Falcon|Bottle)\(`)
	falconApp  = regexp.MustCompile(`(?m)^(\w+)\s*=\s*falcon\.(asgi\.)?(?:App|API)\(`)
	factory    = regexp.MustCompile(`(?m)^def (create_app|make_app|get_app|app_factory)\(`)
	factoryOf  = regexp.MustCompile(`\b(Flask|FastAPI|Starlette|Quart|Litestar)\(`)
	byFactory  = regexp.MustCompile(`(?m)^(app|application)\s*=\s*(create_app|make_app|get_app)\(`)
	celeryApp  = regexp.MustCompile(`(?m)^(\w+)\s*(?::[^=\n]+)?=\s*(?:celery\.)?Celery\(`)
	celeryBeat = regexp.MustCompile(`\bbeat_schedule\b|\bCELERY_?BEAT_SCHEDULE\b|\bon_after_configure\.connect|` +
		`\badd_periodic_task\(|["']django_celery_beat["']`)
)

// django looks for a Django project: its manage.py, its settings and its WSGI and ASGI modules.
func (p *Project) django(r *reader) {
	for _, f := range r.files {
		if path.Base(f) != "manage.py" {
			continue
		}
		m := settingsModule.FindStringSubmatch(r.text(f))
		if m == nil {
			continue
		}
		p.Framework, p.Manage, p.Root, p.Settings = "Django", f, path.Dir(f), m[1]
		p.fact("framework", strings.TrimSpace("Django "+p.Packages["django"]), f)
		break
	}
	if p.Framework == "" {
		return
	}
	for _, f := range r.python() {
		text := r.text(f)
		if p.Root != "." && !strings.HasPrefix(f, p.Root+"/") {
			continue
		}
		for _, m := range djangoApp.FindAllStringSubmatch(text, -1) {
			at := module(p.Root, f) + ":" + m[1]
			switch {
			case m[2] == "w" && p.WSGI == "":
				p.WSGI = at
				p.fact("WSGI", at, f)
				p.settingsOf(text)
			case m[2] == "a" && p.ASGI == "":
				p.ASGI = at
				p.fact("ASGI", at, f)
			}
		}
		if m := djangoRouter.FindStringSubmatch(text); m != nil {
			p.ASGI = module(p.Root, f) + ":" + m[1]
		}
	}
	p.production(r)
}

// settingsOf prefers the settings of the WSGI module to those of manage.py, which are often those of
// a developer.
func (p *Project) settingsOf(wsgi string) {
	if m := settingsModule.FindStringSubmatch(wsgi); m != nil && m[1] != p.Settings {
		p.Settings, p.SetBy = m[1], true
	}
}

// production prefers settings for production over those for development in the same directory.
func (p *Project) production(r *reader) {
	at, last, ok := cutLast(p.Settings, ".")
	if ok && slices.Contains([]string{"local", "dev", "development", "base", "test"}, last) {
		for _, name := range []string{"production", "prod", "live"} {
			file := path.Join(p.Root, strings.ReplaceAll(at, ".", "/"), name+".py")
			if slices.Contains(r.files, file) {
				p.Settings, p.SetBy = at+"."+name, true
				p.guess("settings", p.Settings, file)
				return
			}
		}
	}
	p.fact("settings", p.Settings, p.Manage)
}

func cutLast(text, sep string) (before, after string, found bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

// isASGI are the frameworks that speak ASGI.
func isASGI(framework string) bool {
	return slices.Contains([]string{"FastAPI", "Starlette", "Quart", "Litestar", "BlackSheep"}, framework)
}

// apps looks for the app of another framework than Django.
func (p *Project) apps(r *reader) {
	if p.Framework != "" {
		return
	}
	if _, err := r.read("pyproject.toml"); err == nil || len(r.files) > 0 {
		p.Root = sourceRoot(r)
	}
	files := r.python()
	for _, f := range files {
		text := r.text(f)
		if m := frameworkApp.FindStringSubmatch(text); m != nil {
			p.found(m[2], module(p.Root, f)+":"+m[1], f, false)
			return
		}
		if m := falconApp.FindStringSubmatch(text); m != nil {
			p.found("Falcon", module(p.Root, f)+":"+m[1], f, false)
			if m[2] != "" {
				p.ASGI, p.WSGI = p.WSGI, ""
			}
			return
		}
	}
	for _, f := range files {
		text := r.text(f)
		m, of := factory.FindStringSubmatch(text), factoryOf.FindStringSubmatch(text)
		if m == nil || of == nil {
			continue
		}
		for _, other := range files { // wsgi.py: app = create_app()
			if made := byFactory.FindStringSubmatch(r.text(other)); made != nil && made[2] == m[1] {
				p.found(of[1], module(p.Root, other)+":"+made[1], other, false)
				return
			}
		}
		p.found(of[1], module(p.Root, f)+":"+m[1], f, true)
		return
	}
}

func (p *Project) found(framework, at, source string, isFactory bool) {
	p.Framework, p.Factory = framework, isFactory
	p.fact("framework", strings.TrimSpace(framework+" "+p.Packages[strings.ToLower(framework)]), source)
	if isASGI(framework) {
		p.ASGI = at
		p.fact("ASGI", at, source)
		return
	}
	p.WSGI = at
	p.fact("WSGI", at, source)
}

// sourceRoot returns src if packages are imported from there.
func sourceRoot(r *reader) string {
	if slices.Contains(r.files, "src/__init__.py") {
		return "."
	}
	for _, f := range r.files {
		if strings.HasPrefix(f, "src/") && strings.HasSuffix(f, ".py") {
			for _, top := range r.files {
				if !strings.Contains(top, "/") && strings.HasSuffix(top, ".py") && frameworkApp.MatchString(r.text(top)) {
					return "."
				}
			}
			return "src"
		}
	}
	return "."
}

// celery looks for an app of Celery, and for a schedule.
func (p *Project) celery(r *reader) {
	for _, f := range r.python() {
		text := r.text(f)
		if m := celeryApp.FindStringSubmatch(text); m != nil && p.Celery == "" {
			p.Celery = module(p.Root, f)
			if name := path.Base(f); name == "celery.py" { // celery -A shop finds shop.celery
				p.Celery = strings.TrimSuffix(p.Celery, ".celery")
			} else if m[1] != "app" && m[1] != "celery" {
				p.Celery += ":" + m[1]
			}
			p.fact("Celery", p.Celery, f)
		}
		if !p.Beat && celeryBeat.MatchString(text) {
			p.Beat = true
			p.fact("Celery schedule", "yes", f)
		}
	}
	p.Beat = p.Beat && p.Celery != ""
}

var (
	// routePath matches the path of a route: path("healthz/", re_path(r"^healthz/$", @app.get("/healthz").
	routePath = regexp.MustCompile(`(?:path|url|route|get|add_api_route|add_route|add_url_rule|Route)\(\s*r?["']\^?/?([\w/.-]*)\$?["']`)
	// healthName matches the last part of a health check's path.
	healthName = regexp.MustCompile(`^(?:healthz|health|health[-_]?check|livez|readyz|ready|alive|ping|_?_?(?:lb)?heartbeat_?_?|ht|up|status)$`)
)

// health collects the paths that may be health checks.
func (p *Project) health(r *reader) {
	type candidate struct {
		path  string
		likes int
	}
	var list []candidate
	for _, f := range r.python() {
		for _, m := range routePath.FindAllStringSubmatch(r.text(f), -1) {
			last := path.Base(strings.TrimSuffix(m[1], "/"))
			at := "/" + strings.TrimPrefix(m[1], "/")
			if healthName.MatchString(last) && !slices.ContainsFunc(list, func(c candidate) bool { return c.path == at }) {
				list = append(list, candidate{at, slices.Index(healthOrder(), last)})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return b.likes - a.likes })
	for _, c := range list {
		p.Health = append(p.Health, c.path)
	}
}

// healthOrder lists names from the least to the most telling.
func healthOrder() []string {
	return []string{"status", "up", "ping", "alive", "livez", "ht", "ready", "readyz", "health", "healthz"}
}
