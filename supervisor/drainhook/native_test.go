package drainhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPythonAndCDoAndCountTheSame(t *testing.T) {
	t.Parallel()
	hook := filepath.Join(t.TempDir(), "hook")
	if err := Install(hook); err != nil {
		t.Fatal(err)
	}
	seeds := "1000"
	if more := os.Getenv("SUPERCTL_HOOK_SEEDS"); more != "" {
		seeds = more
	}
	// -X dev also has Python check its memory
	cmd := exec.CommandContext(t.Context(), "python3", "-X", "dev", filepath.Join("testdata", "parity.py"), hook, "1", seeds)
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("requests [")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// What a request leaves would add up to the memory of a worker.
func TestTheCPartKeepsNothingOfARequest(t *testing.T) {
	t.Parallel()
	hook := filepath.Join(t.TempDir(), "hook")
	if err := Install(hook); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "python3", filepath.Join("testdata", "leaks.py"), hook, "1000")
	cmd.Env = append(os.Environ(), "PYTHONMALLOC=debug", "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "served\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// Libraries start only what they know as a coroutine, and look at its state: anyio's task groups, for one.
func TestWhatSendingALastMessageReturnsIsACoroutineForEveryone(t *testing.T) {
	t.Parallel()
	inBothParts(t, func(t *testing.T, part string) {
		sum, _ := counted(t, `
import ask, asyncio, collections.abc, inspect, types
LAST = {"type": "http.response.body", "body": b"x"}
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    never = send(LAST)
    never.close()  # a task that is cancelled before it runs
    sending = send(LAST)
    assert inspect.iscoroutine(sending) and isinstance(sending, (types.CoroutineType, collections.abc.Coroutine))
    assert asyncio.iscoroutine(sending) and inspect.isawaitable(sending) and not inspect.isgenerator(sending)
    assert inspect.getcoroutinestate(sending) == "CORO_CREATED" and sending.cr_code and sending.__qualname__
    assert not hasattr(sending, "no_such_attribute") and not inspect.iscoroutine(send)
    task = asyncio.ensure_future(sending)
    await asyncio.sleep(0)
    assert inspect.getcoroutinestate(task.get_coro()) == "CORO_SUSPENDED" and "running at" in repr(task)
    await task
    assert inspect.getcoroutinestate(sending) == "CORO_CLOSED"
    for again in sending, never:
        try: await again
        except RuntimeError: pass
        else: raise SystemExit("it was awaited twice")
async def send(message): await asyncio.sleep(0)
ask.c.app = app
ask.c.load()
asyncio.run(ask.c.loaded_app({"type": "http", "http_version": "1.1", "path": "/", "headers": []}, None, send))`, part)
		if sum[0] != 1 || sum[2] != 1 {
			t.Errorf("started %d, 2xx %d", sum[0], sum[2])
		}
	})
}

// A handler of SIGTERM may raise SystemExit at any place, in the hook too. It is to end the worker.
func TestWhatIsNoExceptionPassesThroughTheHook(t *testing.T) {
	t.Parallel()
	inBothParts(t, func(t *testing.T, part string) {
		sum, _ := counted(t, `
import ask, asyncio, warnings
warnings.simplefilter("ignore")  # of what is not awaited any more
class Transport:
    def is_closing(self): raise SystemExit(7)
class Cycle:
    disconnected, transport = False, Transport()
    async def send(self, message): pass
class End:
    def __getitem__(self, name): raise SystemExit(7)
async def parts(scope, receive, send):
    await send({"type": "http.response.body", "body": b"x", "more_body": True})
async def ends(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})
async def nothing(scope, receive, send): pass
async def message(scope, receive, send): await send(End())
for app in parts, ends, nothing, message:
    ask.c.app = app
    ask.c.load()
    scope = {"type": "http", "http_version": "1.1", "path": "/", "headers": []}
    try: ask.c.loaded_app(scope, None, Cycle().send).send(None)
    except SystemExit: pass
    else: raise AssertionError(app.__name__)`, part)
		if sum[0] != 4 {
			t.Errorf("started %d", sum[0])
		}
	})
}

// Without its parts, an object of the hook would end the process.
func TestOnlyTheHookMakesItsObjects(t *testing.T) {
	t.Parallel()
	sum, _ := counted(t, `
import ask, asyncio, copy, gc
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    last = send({"type": "http.response.body", "body": b"x"})
    for one in send, last, ask.c.loaded_app:
        for make in type(one), lambda: type(one).__new__(type(one)), lambda: object.__new__(type(one)), lambda: copy.copy(one):
            try: make()
            except TypeError: pass
            else: raise SystemExit("an object of %s" % type(one))
    await last
ask.c.app = app
ask.c.load()
asyncio.run(ask.c.loaded_app({"type": "http", "http_version": "1.1", "path": "/", "headers": []}, None, ask.send))`, "DRAIN_HOOK=c")
	if sum[2] != 1 {
		t.Errorf("2xx %d", sum[2])
	}
}

// A binary that is committed with an older source would run code that nobody can read.
func TestTheBinariesWereBuiltFromTheirSources(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("native", "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"abi.h", "build", "hook.c", "requirements.txt", "hook_amd64.so", "hook_arm64.so"} {
		text, err := os.ReadFile(filepath.Join("native", name))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(text)
		if line := hex.EncodeToString(sum[:]) + "  " + name + "\n"; !strings.Contains(string(want), line) {
			t.Errorf("%s has changed since native/build was run: run it", name)
		}
	}
}

// The directory of the hook is below /run, which Debian mounts with noexec.
func TestTheCPartIsLoadedFromAFileSystemWithoutExecution(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mounted := exec.CommandContext(t.Context(), "unshare", "--mount", "--map-root-user", "sh", "-ec", `
mount -t tmpfs -o noexec none "$1"
cp "$2"/* "$1"
printf '#!/bin/sh\n' >"$1/program" && chmod +x "$1/program" && ! "$1/program" 2>/dev/null
python3 -c 'import sys; sys.path[:0] = [sys.argv[1]]; import importlib.util as u
s = u.spec_from_file_location("hook", sys.argv[1] + "/sitecustomize.py"); m = u.module_from_spec(s); s.loader.exec_module(m)
print(type(m._native().flag(b"/")).__name__)' "$1"`, "sh", dir)
	hook := filepath.Join(t.TempDir(), "hook")
	if err := Install(hook); err != nil {
		t.Fatal(err)
	}
	mounted.Args = append(mounted.Args, hook)
	if out, err := mounted.CombinedOutput(); err != nil || string(out) != "Flag\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// Whatever is wrong with the part in C, the one in Python does its work, and nothing is said.
func TestWithoutTheCPartPythonCounts(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]string{
		"it is broken":           "open(path, 'wb').write(b'no such thing')",
		"it is empty":            "open(path, 'wb').close()",
		"it is not there":        "os.remove(path)",
		"another processor":      "data = bytearray(open(path, 'rb').read()); data[18] ^= 0xff; open(path, 'wb').write(data)",
		"the interpreter has no": "import importlib.machinery as m; m.EXTENSION_SUFFIXES.remove('.abi3.so')",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sum, _ := counted(t, `
import os
path = os.path.join(os.path.dirname(os.environ["SUPERCTL_DRAIN"]), "superctl_native.abi3.so")
os.path.getsize(path)
`+before+`
import ask, gc
ask.ask(3)
(counting,) = [o for o in gc.get_objects() if type(o).__name__ == "Counting"]
assert counting.native is None`)
			if sum[0] != 3 || sum[2] != 3 {
				t.Errorf("started %d, 2xx %d", sum[0], sum[2])
			}
		})
	}
}
