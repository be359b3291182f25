package drainhook

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// python is a program for a real interpreter, and files beside it that it can import.
type python struct {
	program string
	files   map[string]string
	env     []string
	flag    bool
	noFlag  bool // the file is not there
}

// run runs it, with the hook or without, and returns what it writes and its exit code.
func (p python) run(t *testing.T, hook bool) (stdout, stderr string, code int) {
	t.Helper()
	cmd, _ := p.command(t, hook)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	_ = cmd.Run() // the exit code is looked at
	return strings.ReplaceAll(
		out.String(), cmd.Dir, "OWN",
	), strings.ReplaceAll(err.String(), cmd.Dir, "OWN"), cmd.ProcessState.ExitCode()
}

// command makes the command that runs it, and with the hook its flag.
func (p python) command(t *testing.T, hook bool) (cmd *exec.Cmd, flag string) {
	t.Helper()
	dir, own := t.TempDir(), t.TempDir()
	for name, text := range p.files {
		path := filepath.Join(own, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := append([]string{"PATH=" + os.Getenv("PATH"), "PYTHONPATH=" + own}, p.env...)
	if hook {
		if err := Install(filepath.Join(dir, "hook")); err != nil {
			t.Fatal(err)
		}
		flag = filepath.Join(dir, "hook", "g1.web.0")
		if !p.noFlag {
			if err := Set(flag, p.flag); err != nil {
				t.Fatal(err)
			}
		}
		env = Environment(env, filepath.Join(dir, "hook"), flag)
	}
	cmd = exec.CommandContext(t.Context(), "python3", "-c", p.program)
	cmd.Env, cmd.Dir = env, own
	return cmd, flag
}

func TestAnInterpreterWithTheHookIsAsWithoutIt(t *testing.T) {
	t.Parallel()
	const look = `
import sys
print(sys.path, sys.modules.get("usercustomize"))
s = sys.modules.get("sitecustomize")
print(getattr(s, "__file__", None) if getattr(s, "mine", False) else "none of the test's")
`
	for name, files := range map[string]map[string]string{
		"no other sitecustomize":      {},
		"a sitecustomize":             {"sitecustomize.py": "mine = True\nprint('sitecustomize runs')"},
		"a package":                   {"sitecustomize/__init__.py": "mine = True\nprint('sitecustomize runs')"},
		"one that raises":             {"sitecustomize.py": "raise RuntimeError('no')"},
		"one that misses a module":    {"sitecustomize.py": "import no_such_module"},
		"one that does not parse":     {"sitecustomize.py": "this is no Python"},
		"one that ends the program":   {"sitecustomize.py": "raise SystemExit(7)"},
		"one that looks at sys.path":  {"sitecustomize.py": "import sys\nmine = True\nprint(sys.path)"},
		"one that looks for its name": {"sitecustomize.py": "mine = True\nprint(__name__, __spec__.name)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := python{program: look, files: files}
			out, said, code := p.run(t, false)
			withOut, withSaid, withCode := p.run(t, true)
			if out != withOut || code != withCode {
				t.Errorf("without (%d):\n%s\nwith (%d):\n%s", code, out, withCode, withOut)
			}
			// A traceback has one frame more, of the hook's.
			last := func(s string) string {
				lines := strings.Split(strings.TrimSpace(s), "\n")
				return lines[0] + "\n" + lines[len(lines)-1]
			}
			if last(said) != last(withSaid) {
				t.Errorf("stderr without:\n%s\nwith:\n%s", said, withSaid)
			}
		})
	}
}

// fakeServer is just what the hook patches of uvicorn, and a program that asks it for an answer in
// another place each time.
var fakeServer = map[string]string{
	"uvicorn/__init__.py": "",
	"uvicorn/config.py": `
class Config:
    def load(self):
        self.loaded_app = self.app
`,
	"ask.py": `
import asyncio, os, time
def ask(app=None):
    from uvicorn.config import Config
    async def plain(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
    async def main():
        got = []
        async def send(message):
            got.append(message)
        c = Config()
        c.app = app or plain
        c.load()
        await c.loaded_app({"type": "http", "http_version": "1.1"}, None, send)
        return [m.get("headers") for m in got]
    return asyncio.run(main())
def drain(value):
    flag = os.environ["SUPERCTL_DRAIN"] + ".raised"
    if value: open(flag, "w").close()
    elif os.path.exists(flag): os.remove(flag)
    seen = time.monotonic() + 0.001  # the hook looks once in a millisecond
    while time.monotonic() <= seen: pass
`,
}

func TestTheFlagReachesEveryProcessThreadAndInterpreterOfAWorker(t *testing.T) {
	t.Parallel()
	const closes = "[[(b'a', b'b'), (b'connection', b'close')]]"
	const keeps = "[[(b'a', b'b')]]"
	for name, program := range map[string]string{
		"this one": "import ask; print(ask.ask()); ask.drain(1); print(ask.ask())",
		"a fork": `
import ask, os
ask.ask()
read, write = os.pipe()
if os.fork() == 0:
    os.close(write)
    os.read(read, 1)
    print(ask.ask(), flush=True)
    os._exit(0)
print(ask.ask(), flush=True)
ask.drain(1)
os.close(write)
os.wait()`,
		"a thread": `
import ask, threading
def run(): print(ask.ask(), flush=True)
def thread():
    t = threading.Thread(target=run); t.start(); t.join()
thread(); ask.drain(1); thread()`,
		"a spawned process": `
import subprocess, sys, ask
def child(): subprocess.run([sys.executable, "-c", "import ask; print(ask.ask())"], check=True)
child(); ask.drain(1); child()`,
		"a subinterpreter": `
import ask
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
def run():
    i = interpreters.create()
    interpreters.run_string(i, "import ask; print(ask.ask(), flush=True)")
    interpreters.destroy(i)
run(); ask.drain(1); run()`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBothParts(t, func(t *testing.T, part string) {
				p := python{program: program, files: fakeServer, env: []string{part}}
				out, said, code := p.run(t, true)
				if want := keeps + "\n" + closes + "\n"; out != want || code != 0 || said != "" {
					t.Errorf("exit code %d\n%s\n%s", code, out, said)
				}
			})
		})
	}
}

// sendingApps is a program that asks applications, good and bad, for an answer: first without the
// flag, then with it.
const sendingApps = `
import ask
class Own(Exception): pass
apps = {}
def app(f): apps[f.__name__] = f; return f
def start(**k): return dict({"type": "http.response.start", "status": 200}, **k)
@app
async def no_headers(scope, receive, send): await send(start())
@app
async def a_generator(scope, receive, send): await send(start(headers=((a, b) for a, b in [(b"A", b"B")])))
@app
async def closes(scope, receive, send): await send(start(headers=[(b"Connection", b"Close")]))
@app
async def keeps(scope, receive, send): await send(start(headers=[(b"connection", b"keep-alive"), (b"x", b"y")]))
@app
async def upgrades(scope, receive, send): await send(start(headers=[(b"connection", b"upgrade")]))
@app
async def bad_names(scope, receive, send): await send(start(headers=[("connection", "x"), 7]))
@app
async def bad_headers(scope, receive, send): await send(start(headers=7))
@app
async def no_message(scope, receive, send): await send(None)
@app
async def no_type(scope, receive, send): await send({"status": 1})
@app
async def raises(scope, receive, send): raise Own("at once")
@app
async def raises_later(scope, receive, send):
    await send(start(headers=[])); raise Own("later")
@app
async def streams(scope, receive, send):
    await send(start(headers=[]))
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
@app
async def same_message(scope, receive, send):
    m = start(headers=[(b"a", b"b")])
    await send(m)
    print("its own message", m)
@app
def no_coroutine(scope, receive, send): raise Own("plain")
for name, f in apps.items():
    for value in (0, 1):
        try: ask.drain(value)
        except KeyError: pass
        try: print(name, [list(h) if h is not None and not isinstance(h, int) else h for h in ask.ask(f)])
        except BaseException as e: print(name, type(e).__name__, e)
`

func TestWhateverAnASGIAppSendsIsAsWithoutTheHookButForTheHeader(t *testing.T) {
	t.Parallel()
	p := python{program: sendingApps, files: fakeServer}
	without, _, _ := p.run(t, false)
	with, said, code := p.run(t, true)
	if code != 0 || strings.Count(said, "superctl") > 1 {
		t.Fatalf("exit code %d, and more than one complaint:\n%s", code, said)
	}
	differ := make(map[string]string)
	for i, line := range strings.Split(strings.TrimSpace(with), "\n") {
		if was := strings.Split(without, "\n")[i]; was != line {
			name, rest, _ := strings.Cut(line, " ")
			differ[name] = rest
		}
	}
	want := map[string]string{
		"no_headers":   "[[(b'connection', b'close')]]",
		"a_generator":  "[[(b'A', b'B'), (b'connection', b'close')]]",
		"keeps":        "[[(b'x', b'y'), (b'connection', b'close')]]",
		"upgrades":     "[[(b'connection', b'upgrade'), (b'connection', b'close')]]",
		"streams":      "[[(b'connection', b'close')], None]",
		"same_message": "[[(b'a', b'b'), (b'connection', b'close')]]",
	}
	for name, rest := range want {
		if differ[name] != rest {
			t.Errorf("%s: %s, want %s", name, differ[name], rest)
		}
		delete(differ, name)
	}
	for name, rest := range differ {
		t.Errorf("%s differs: %s", name, rest)
	}
}

func TestAFailureInTheHookIsSaidOnceAndTheProgramRuns(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]python{
		"the flag is not there": {program: "import ask; print(ask.ask())", files: fakeServer, noFlag: true},
		"the server is not as it is known": {program: "import uvicorn.config; print('runs')", files: map[string]string{
			"uvicorn/__init__.py": "", "uvicorn/config.py": "x = 1", "uvicorn/other.py": "",
		}},
		"nobody listens": {
			program: "import ask; print(ask.ask())", files: fakeServer, env: []string{"NOTIFY_SOCKET=/nonexistent"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, said, code := p.run(t, true)
			complaints := 1
			if len(p.env) > 0 {
				complaints = 0
			}
			if code != 0 || out == "" || strings.Count(said, "superctl: the drain hook fails") != complaints {
				t.Errorf("exit code %d\n%s\n%s", code, out, said)
			}
		})
	}
}

// The queue of the notify socket is full, as when many workers speak at once: nothing of the hook
// goes through it.
func TestTheKernelTellsThatAServerHasTheHook(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		held  bool
	}{
		"a server": {fakeServer, true},
		"one that is broken": {
			map[string]string{
				"ask.py": "def ask(): import uvicorn.config", "uvicorn/__init__.py": "", "uvicorn/config.py": "x = 1",
			},
			false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := python{files: c.files, env: []string{"NOTIFY_SOCKET=" + fullSocket(t)}, program: `
import ask, sys
print("imported", flush=True)
sys.stdin.readline()
ask.ask()
print("asked", flush=True)
sys.stdin.readline()`}
			cmd, flag := p.command(t, true)
			var said bytes.Buffer
			cmd.Stderr = &said
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stdout)
			holds := func(when string, want bool) {
				t.Helper()
				if held, err := Held(flag); err != nil || held != want {
					t.Errorf("%s: held %v, %v\n%s", when, held, err, said.String())
				}
			}
			holds("at its start", false)
			for _, when := range []string{"imported", "asked"} {
				if !lines.Scan() || lines.Text() != when {
					t.Fatalf("%q, want %q", lines.Text(), when)
				}
				holds(when, c.held && when == "asked")
				if _, err := io.WriteString(stdin, "\n"); err != nil {
					t.Fatal(err)
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
			holds("at its end", false)
		})
	}
}

// fullSocket is the path of a datagram socket that nobody reads, and that takes no more.
func fullSocket(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	at := &syscall.SockaddrUnix{Name: path}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(fd, at)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	speaker, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(speaker)
	for err == nil {
		err = syscall.Sendto(speaker, []byte("STATUS=many"), 0, at)
	}
	if !errors.Is(err, syscall.EAGAIN) {
		t.Fatal(err)
	}
	return path
}

func TestTheEnvironmentKeepsThePathThatItHad(t *testing.T) {
	for _, tt := range []struct{ before, after string }{
		{"", "/hook"}, {"PYTHONPATH=", "/hook"}, {"PYTHONPATH=/a:/b", "/hook:/a:/b"},
	} {
		env := []string{"A=1"}
		if tt.before != "" {
			env = append(env, tt.before)
		}
		got := Environment(env, "/hook", "/hook/g1")
		if want := []string{"A=1", "PYTHONPATH=" + tt.after, "SUPERCTL_DRAIN=/hook/g1"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q", tt.before, got)
		}
	}
}

func TestADirectoryOfSomebodyElseIsRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	link := filepath.Join(dir, "link")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, filepath.Join(dir, "no", "such"), filepath.Join(dir, "a:b")} {
		if err := Install(path); err == nil {
			t.Errorf("%s was taken", path)
		}
	}
	if err := Install(filepath.Join(dir, "new")); err != nil {
		t.Error(err)
	}
	if err := Install(filepath.Join(dir, "new")); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestAFlagTellsProgramsAndTheModule(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flag")
	var open *os.File
	for _, drains := range []bool{false, true, true, false, false, true} {
		if err := Set(path, drains); err != nil {
			t.Fatal(err)
		}
		if open == nil {
			var err error
			if open, err = os.Open(path); err != nil {
				t.Fatal(err)
			}
			defer open.Close()
		}
		b := make([]byte, 2)
		if n, _ := open.ReadAt(b, 0); n != 1 || (b[0] == 1) != drains {
			t.Errorf("a program that has it open reads %q", b[:n])
		}
		if _, err := os.Lstat(path + ".raised"); (err == nil) != drains {
			t.Errorf("it drains: %v, and the module's file: %v", drains, err)
		}
	}
	if Flag(path+".raised") != path || Flag(path) != path {
		t.Error(Flag(path + ".raised"))
	}
	if err := Remove(path); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// A mapping of a file that is cut short is SIGBUS.
func TestNothingThatHappensToItsFlagBreaksAWorker(t *testing.T) {
	t.Parallel()
	const keeps, closes = "[[(b'a', b'b')]]", "[[(b'a', b'b'), (b'connection', b'close')]]"
	for name, touch := range map[string]string{
		"cut short":           "open(flag, 'w').close()",
		"removed":             "os.remove(flag)",
		"unreadable":          "os.chmod(flag, 0)",
		"a directory":         "os.remove(flag); os.mkdir(flag)",
		"a pipe":              "os.remove(flag); os.mkfifo(flag)",
		"a link to itself":    "os.remove(flag); os.symlink(flag, flag)",
		"without descriptors": "os.closerange(3, 256)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := "import ask, os\nflag = os.environ['SUPERCTL_DRAIN']\nask.ask()\n" + touch +
				"\nprint(ask.ask())\nask.drain(1)\nprint(ask.ask())"
			out, said, code := python{program: program, files: fakeServer}.run(t, true)
			if out != keeps+"\n"+closes+"\n" || said != "" || code != 0 {
				t.Errorf("exit code %d\n%s\n%s", code, out, said)
			}
		})
	}
}
