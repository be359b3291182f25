//go:build linux

package movecommand

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/urfave/cli/v2"

	"superctl/cli/commandline"
	"superctl/cli/console"
	"superctl/cli/terminal"
	"superctl/config"
	"superctl/setup"
	"superctl/supervisor/worker"
)

// Init is the command superctl init.
func Init(con *console.Console) *cli.Command {
	c := &command{con}
	return &cli.Command{
		Name: "init", Usage: "set up a project on this machine: its config, its user and nginx",
		UsageText: "superctl init [DIR | --from FILE|UNIT] [--domain NAME] [--apply] [--json]",
		Description: `Looks at the project in DIR (default: the current directory) and at this machine, and shows the
files and commands that run the project under superctl: its config, a file for secrets, a site of
nginx, the user and the directories. DIR is a release, the directory that has releases/, or any
checkout. Django is asked for its settings, as the app's user and never as root.

Without --apply nothing is changed. With it, superctl init does what it has shown; the second time
there is nothing to do. A file that differs from the plan is overwritten only with --replace.

With --from it imports the settings of what runs the project now, and reports the fate of each line: a
systemd unit with its drop-ins, supervisord.conf, circus.ini, Procfile, gunicorn.conf.py, uwsgi.ini
or Kamal's deploy.yml.

   superctl init /srv/shop
   superctl init --from shop.service
   superctl init /srv/shop --domain shop.example.com --health /healthz/ --apply`,
		Flags: initFlags(),
		Action: func(cc *cli.Context) error {
			if err := commandline.Arguments(cc, 0, 1); err != nil {
				return err
			}
			return c.initialize(cc)
		},
	}
}

func initFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{
			Name: "from",
			Usage: "import `FILE|UNIT`: a systemd unit, or the config of another supervisor or server; " +
				"repeat it for the unit of each process",
		},
		&cli.BoolFlag{Name: "apply", Usage: "carry out the plan (as root)"},
		&cli.BoolFlag{Name: "replace", Usage: "with --apply: overwrite files that differ, and keep them as FILE.old"},
		&cli.StringFlag{Name: "name", Usage: "the `NAME` of the app (default: of the directory)"},
		&cli.StringFlag{Name: "user", Usage: "the `USER` that the app runs as (default: the owner of the releases)"},
		&cli.StringFlag{Name: "base", Usage: "the `DIR` for releases/ and current (default: /srv/NAME)"},
		&cli.StringFlag{Name: "address", Usage: "listen on `ADDRESS` (default: 127.0.0.1 and the first free port from 8000)"},
		&cli.StringFlag{Name: "command", Usage: "the `COMMAND` of the web process"},
		&cli.IntFlag{Name: "workers", Usage: "run `N` web workers (default: one for each processor, 2 to 8)"},
		&cli.StringFlag{Name: "health", Usage: "the `PATH` of the health check, such as /healthz/"},
		&cli.StringSliceFlag{Name: "domain", Usage: "the `DOMAIN` of the site, for nginx (default: the names in ALLOWED_HOSTS)"},
		&cli.StringFlag{Name: "cert", Usage: "the certificate `FILE` for nginx (default: certbot's)"},
		&cli.StringFlag{Name: "key", Usage: "the private key `FILE` of the certificate"},
		&cli.BoolFlag{Name: "no-nginx", Usage: "leave nginx out"},
		commandline.JSONFlag(),
	}
}

// setUp is one run of superctl init.
type setUp struct {
	*command
	cc      *cli.Context
	project string // DIR of the command line; "" = none
	machine *setup.Machine
	answers setup.Answers
	from    *setup.Import // nil without --from
	units   []string      // that --from names; the server's is the first
	// of a supervisord.conf that --from names; the server's is the first
	programs []string
	asked    []string // options for the answers at the terminal
	checkout bool     // the project is where --from says, although it has releases already
}

func (c *command) initialize(cc *cli.Context) error {
	answers, err := answersOf(cc)
	if err != nil {
		return commandline.Usagef("init: %w", err)
	}
	machine, err := setup.ThisMachine()
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	ctx, stop := commandline.Interruptible()
	defer stop()
	s := &setUp{command: c, cc: cc, project: cc.Args().First(), machine: machine, answers: answers}
	if from := cc.StringSlice("from"); len(from) > 0 {
		if err := s.readFrom(from); err != nil {
			return commandline.Usagef("init: %w", err)
		}
		s.answers = s.from.Answers(s.answers)
	}
	d, dir, err := s.decide(ctx)
	var unknown *setup.UnknownError
	switch {
	case errors.As(err, &unknown):
		return commandline.Usagef("init: %w", err)
	case err != nil:
		return fmt.Errorf("init: %w", err)
	}
	plan, err := setup.NewPlan(d.Site, machine, rand.Text)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	switch {
	case len(s.units) > 0:
		plan.Replace(setup.Replaced{Names: s.units, Stop: []string{"systemctl", "disable", "--now"}}, s.from, d.Site)
	case len(s.programs) > 0:
		plan.Replace(setup.Replaced{Names: s.programs, Stop: []string{"supervisorctl", "stop"}}, s.from, d.Site)
	}
	return s.conclude(ctx, dir, d, plan)
}

// answersOf returns the answers on the command line.
func answersOf(cc *cli.Context) (setup.Answers, error) {
	a := setup.Answers{
		Name: cc.String("name"), User: cc.String("user"), Base: cc.String("base"), Address: cc.String("address"),
		Command: cc.String("command"), Health: cc.String("health"), Domains: cc.StringSlice("domain"),
		Cert: cc.String("cert"), Key: cc.String("key"), Workers: cc.Int("workers"), NoNginx: cc.Bool("no-nginx"),
	}
	return a, a.Check()
}

// decide looks at the project, and decides what the app is made of.
func (s *setUp) decide(ctx context.Context) (d *setup.Decision, dir string, err error) {
	project, err := s.inspect()
	if err != nil {
		return nil, "", err
	}
	var settings *setup.Settings
	var warning string
	if project != nil {
		dir = project.Dir
		settings, warning = s.ask(ctx, project)
	}
	for {
		if s.from != nil {
			d, err = setup.DecideImport(s.from, project, settings, s.machine, s.answers)
		} else {
			d, err = setup.Decide(project, settings, s.machine, s.answers)
		}
		var unknown *setup.UnknownError
		if errors.As(err, &unknown) && s.answer(unknown) {
			continue
		}
		break
	}
	if err == nil && warning != "" {
		d.Warnings = append(d.Warnings, warning)
	}
	return d, dir, err
}

// inspect reads the project. It returns nil if an import does not say where that is.
func (s *setUp) inspect() (*setup.Project, error) {
	dir := cmp.Or(s.project, ".")
	if s.from != nil && s.project == "" {
		dir = s.from.Dir
	}
	if dir == "" {
		return nil, nil
	}
	dir, err := s.projectDir(dir)
	if err != nil && s.from != nil && s.project == "" {
		return nil, nil // the machine to import from may be another one
	}
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir) // no link of the project leads out of it
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return setup.Inspect(root.FS(), dir)
}

func (s *setUp) projectDir(dir string) (string, error) {
	if s.checkout {
		return filepath.Abs(dir)
	}
	return setup.ProjectDir(dir)
}

// ask asks Django for its settings. If Django cannot answer, it returns a warning that
// names what superctl does not know.
func (s *setUp) ask(ctx context.Context, p *setup.Project) (*setup.Settings, string) {
	if p.Framework != "Django" {
		return nil, ""
	}
	const without = "the settings of Django are not known (%s): ALLOWED_HOSTS, HTTPS, static files and uploads are left out"
	if p.Venv == "" {
		return nil, fmt.Sprintf(without, "the project has no venv/ or .venv/")
	}
	app, name, err := setup.Names(p, s.machine, s.answers)
	if err != nil {
		return nil, fmt.Sprintf(without, "the app has no name yet")
	}
	u, err := s.unprivileged(p.Dir, name)
	if err != nil {
		return nil, fmt.Sprintf(without, err.Error())
	}
	if terminal.Is(s.Stderr) {
		fmt.Fprintln(s.Stderr, "asking Django for its settings ...")
	}
	env := []string{
		"PATH=" + filepath.Join(p.Dir, p.Venv, "bin") + ":/usr/local/bin:/usr/bin:/bin", "HOME=/", "LANG=C.UTF-8",
		"VIRTUAL_ENV=" + filepath.Join(p.Dir, p.Venv),
	}
	if s.from != nil {
		for _, v := range slices.Concat(s.from.Env, s.from.Secrets) {
			env = append(env, v.Name+"="+v.Value)
		}
	}
	if vars, err := config.ReadEnvFile(setup.EnvPath(app)); err == nil {
		env = append(env, vars...)
	}
	settings, err := p.Ask(ctx, func(ctx context.Context, args []string, line func(string)) error {
		return worker.Run(ctx, worker.Command{Args: args, Env: env, Dir: p.Dir, User: u.Become()}, line)
	})
	if err != nil {
		return nil, fmt.Sprintf(without, err.Error())
	}
	return settings, ""
}

// unprivileged returns the user who runs the project's code for root: the app's, else the owner of
// the project, else the user nobody.
func (s *setUp) unprivileged(dir, name string) (*config.User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, candidate := range []string{name, s.machine.Owner(dir), "nobody"} {
		if u, err := config.UserNamed(candidate); err == nil && u.Credential.UID != 0 {
			return u, nil
		}
	}
	return nil, errors.New("there is no user without privileges to run it")
}

// answer asks a question at a terminal. It reports whether there is an answer now.
func (s *setUp) answer(q *setup.UnknownError) bool {
	in, isFile := s.cc.App.Reader.(*os.File)
	if !isFile || !isatty.IsTerminal(in.Fd()) || !terminal.Is(s.Stderr) || s.cc.Bool("json") {
		return false
	}
	example, _, _ := strings.Cut(strings.TrimPrefix(q.Flag, "--"+q.Name+" "), ", or")
	fmt.Fprintf(s.Stderr, "%s? (such as %s) ", strings.TrimSuffix(q.Question, ","), example)
	line, err := bufio.NewReader(in).ReadString('\n')
	if line = strings.TrimSpace(line); line == "" || err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	next := s.answers
	if !next.Set(q.Name, line) {
		return false
	}
	if err := next.Check(); err != nil {
		fmt.Fprintf(s.Stderr, "%v\n", err)
		return true // and asks again
	}
	s.answers = next
	s.asked = append(s.asked, "--"+q.Name, line)
	return true
}
