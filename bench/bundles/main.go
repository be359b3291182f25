// Bundles times how a release comes to a server: superctl's bundles, pip on the host, uv
// sync, pex and shiv, for one Django project with compiled dependencies. It writes
// bench/BUNDLES.md.
//
// It judges nothing: times depend on the machine and on the way to the package registry, which is
// the same for all.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rounds is how often everything is done; a figure is the median.
const rounds = 3

func main() {
	if err := bench(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/bundles:", err)
		os.Exit(1)
	}
}

func bench() error {
	dir, err := os.MkdirTemp("", "superctl-bundles-")
	if err != nil {
		return err
	}
	defer exec.Command("sh", "-c", `chmod -R u+w "$1"; rm -rf "$1"`, "rm", dir).Run()
	b, err := prepare(dir)
	if err != nil {
		return err
	}
	var rows []row
	for i, c := range b.contenders() {
		r, err := b.measure(c, filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		rows = append(rows, r)
	}
	return os.WriteFile(filepath.Join("bench", "BUNDLES.md"), []byte(report(rows)), 0o644)
}

// board is where everything is.
type board struct {
	project  string
	superctl string
	tools    string // bin of the virtualenv with pex, shiv and uv
	python   string
}

// prepare makes a checkout of the project and builds superctl.
func prepare(dir string) (*board, error) {
	b := &board{
		project: filepath.Join(dir, "project"), superctl: filepath.Join(dir, "superctl"), python: "/usr/bin/python3",
	}
	out, err := output("scripts/deps", "--peers")
	if err != nil {
		return nil, err
	}
	lines := strings.Fields(out)
	b.tools = filepath.Join(lines[len(lines)-1], "bin")
	for _, argv := range [][]string{
		{"go", "build", "-o", b.superctl, "."},
		{"cp", "-r", "bench/bundles/project", b.project},
		{"git", "init", "-q", b.project},
		{"git", "-C", b.project, "add", "-A"},
		{
			"git", "-C", b.project, "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c",
			"commit.gpgsign=false", "commit", "-qm", "the project",
		},
	} {
		if _, err := output(argv[0], argv[1:]...); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out, errs.Bytes())
	}
	return string(out), nil
}

// contender is one way to a server, as shell commands in a directory of their own, with the
// variables of board.env.
type contender struct {
	name    string
	build   string // makes what is shipped, $OUT; "" = nothing is built
	install string // makes what runs, $RUN
	start   string // imports the project
	fresh   string // further preparation of a round, not timed
}

func (b *board) contenders() []contender {
	return []contender{
		{
			name:    "superctl build, superctl install",
			fresh:   `mkdir -p releases; printf 'app = "shop"\nreleases = "%s/releases"\n[process.web]\ncommand = "python manage.py runserver"\n' "$PWD" > shop.toml`,
			build:   `$SUPERCTL build -o "$OUT" "$PROJECT"`,
			install: `$SUPERCTL --config shop.toml install "$OUT" && ln -s "$PWD"/releases/* "$RUN"`,
			start:   `cd "$RUN" && venv/bin/python manage.py check`,
		},
		{
			name:    "pip install -r on the server",
			install: `cp -r "$PROJECT" "$RUN" && $PYTHON -m venv "$RUN/venv" && "$RUN/venv/bin/pip" install -q --require-hashes -r "$RUN/requirements.txt"`,
			start:   `cd "$RUN" && venv/bin/python manage.py check`,
		},
		{
			name:    "uv sync on the server",
			install: `cp -r "$PROJECT" "$RUN" && cd "$RUN" && $TOOLS/uv sync -q --frozen --no-install-project --python $PYTHON --compile-bytecode`,
			start:   `cd "$RUN" && .venv/bin/python manage.py check`,
		},
		{
			name:    "pex",
			build:   `$TOOLS/pex --python $PYTHON --pex-root "$CACHE/pex" -r "$PROJECT/requirements.txt" -D "$PROJECT" -o "$OUT"`,
			install: `cp "$OUT" "$RUN"`,
			start:   `PEX_ROOT="$CACHE/run" PEX_INTERPRETER=1 $PYTHON "$RUN" "$PROJECT/manage.py" check`,
		},
		{
			name:    "shiv",
			build:   `rm -rf site && mkdir site && cp -r "$PROJECT/shop" site && $TOOLS/shiv --compressed --python $PYTHON --site-packages site -o "$OUT" -r "$PROJECT/requirements.txt"`,
			install: `cp "$OUT" "$RUN" && cp "$PROJECT/manage.py" .`,
			start:   `SHIV_ROOT="$CACHE/run" SHIV_INTERPRETER=1 $PYTHON "$RUN" manage.py check`,
		},
	}
}

// row is what was measured of one contender.
type row struct {
	name                                string
	built                               bool
	build, rebuild, install, first, run time.Duration
	size, installed                     int64 // bytes
}

// measure does everything a few times: each round begins without any cache.
func (b *board) measure(c contender, dir string) (row, error) {
	r := row{name: c.name, built: c.build != ""}
	var build, rebuild, install, first, again []time.Duration
	for n := range rounds {
		dir := fmt.Sprintf("%s-%d", dir, n)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return r, err
		}
		sh := func(script string, took *[]time.Duration) error {
			if script == "" {
				return nil
			}
			d, err := b.shell(dir, script)
			if took != nil {
				*took = append(*took, d)
			}
			return err
		}
		for _, step := range []struct {
			script string
			took   *[]time.Duration
		}{
			{c.fresh, nil},
			{c.build, &build},
			{c.build, &rebuild},
			{c.install, &install},
			{c.start, &first},
			{c.start, &again},
		} {
			if err := sh(step.script, step.took); err != nil {
				return r, err
			}
		}
		if st, err := os.Stat(filepath.Join(dir, "out")); err == nil {
			r.size = st.Size()
		}
		var err error
		if r.installed, err = b.used(dir); err != nil {
			return r, err
		}
	}
	r.build, r.rebuild, r.install, r.first, r.run = median(build), median(rebuild), median(install), median(first), median(again)
	return r, nil
}

// used is what a release takes on disk, with what its first start has unpacked.
func (b *board) used(dir string) (total int64, err error) {
	for _, place := range []string{"run", "cache/run"} {
		out, err := output(
			"sh", "-c", `if [ -e "$1" ]; then du -sLk "$1"; else echo 0; fi`, "du", filepath.Join(dir, place),
		)
		if err != nil {
			return 0, err
		}
		var n int64
		if _, err := fmt.Sscan(out, &n); err != nil {
			return 0, err
		}
		total += n << 10
	}
	return total, nil
}

// shell runs a script with caches of its own, so that nothing which an earlier round has fetched
// helps.
func (b *board) shell(dir, script string) (time.Duration, error) {
	cmd := exec.Command("bash", "-euc", script)
	cmd.Dir = dir
	cache := filepath.Join(dir, "cache")
	cmd.Env = append(os.Environ(), "OUT="+filepath.Join(dir, "out"), "RUN="+filepath.Join(dir, "run"), "CACHE="+cache, "PROJECT="+b.project,
		"SUPERCTL="+b.superctl, "TOOLS="+b.tools, "PYTHON="+b.python, "XDG_CACHE_HOME="+cache, "SUPERCTL_CACHE="+cache,
		"PIP_CACHE_DIR="+filepath.Join(cache, "pip"),
		"UV_CACHE_DIR="+filepath.Join(cache, "uv"), "UV_PYTHON_DOWNLOADS=never", "DJANGO_SETTINGS_MODULE=shop.settings")
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	return time.Since(began), nil
}

func median(took []time.Duration) time.Duration {
	if len(took) == 0 {
		return 0
	}
	took = slices.Sorted(slices.Values(took))
	return took[len(took)/2]
}

func report(rows []row) string {
	var t strings.Builder
	fmt.Fprintf(&t, `# How a release comes to a server

Made by `+"`make bench-bundles`"+` on %s: %d cores, %s, median of %d rounds. The project of bench/bundles/project: Django with psycopg,
cryptography and pillow, locked with hashes. A round begins with empty caches; "again" is the same build a second time. "Installed" is
with what the first start unpacks. A start is `+"`manage.py check`"+`. What superctl's install does and the others leave out: it proves every
file's hash and the platform, compiles all modules for the place where they run, writes a list of all files, makes them read-only,
and puts the release in its place in one step. What the others do and superctl does not: they need the registry on the server (pip, uv),
or unpack at the first start, under the first request (pex, shiv).

| | build | again | shipped | install | installed | first start | start |
|---|---|---|---|---|---|---|---|
`, time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), strings.TrimSpace(versionOf("/usr/bin/python3", "--version")), rounds)
	for _, r := range rows {
		build, again, size := "", "", ""
		if r.built {
			build, again, size = secs(r.build), secs(r.rebuild), mb(r.size)
		}
		fmt.Fprintf(
			&t, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", r.name, build, again, size, secs(r.install),
			mb(r.installed), secs(r.first), secs(r.run),
		)
	}
	return t.String()
}

func versionOf(name string, args ...string) string {
	out, err := output(name, args...)
	if err != nil {
		return name
	}
	return out
}

func secs(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func mb(n int64) string { return fmt.Sprintf("%d MB", (n+1<<19)>>20) }
