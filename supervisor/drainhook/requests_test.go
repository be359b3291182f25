package drainhook

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// countedServer is what the hook patches of uvicorn, and a program that asks it for answers.
var countedServer = map[string]string{
	"uvicorn/__init__.py": "",
	"uvicorn/config.py": `
class Config:
    def load(self):
        self.loaded_app = self.app
`,
	"waitress/__init__.py": "",
	"waitress/task.py": `
class Task:
    def service(self):
        self.status = "200 OK"
        self.finish()
    def finish(self): pass
    def build_response_header(self): pass
`,
	"ask.py": `
import asyncio
from uvicorn.config import Config
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": scope["status"], "headers": []})
    await send({"type": "http.response.body", "body": b"x"})
async def send(message): pass
c = Config()
c.app = app
c.load()
def ask(times=1, status=200, path="/", agent=b"curl"):
    async def main():
        scope = {"type": "http", "http_version": "1.1", "path": path, "headers": [(b"user-agent", agent)], "status": status}
        for _ in range(times):
            await c.loaded_app(scope, None, send)
    asyncio.run(main())
`,
}

// inBothParts runs a test with the part of the module in C, and with the one in Python.
func inBothParts(t *testing.T, test func(t *testing.T, part string)) {
	t.Helper()
	for _, part := range []string{"c", "python"} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			test(t, "DRAIN_HOOK="+part)
		})
	}
}

// counted runs a program with the hook and returns the sum of the cells of its pages, and their
// number.
func counted(t *testing.T, program string, env ...string) (sum [512]uint64, pages int) {
	t.Helper()
	dir := t.TempDir()
	p := python{program: program, files: countedServer, env: append(env, "SUPERCTL_REQUESTS="+dir)}
	if _, said, code := p.run(t, true); code != 0 || said != "" {
		t.Fatalf("exit code %d\n%s", code, said)
	}
	if _, err := os.Stat(filepath.Join(dir, ".counts")); err != nil {
		t.Error(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "[^.]*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(text[:4]) != "Srq1" || len(text)%4096 != 0 {
			t.Fatalf("%s is not a page: %d bytes, %q", path, len(text), text[:8])
		}
		for i := range (len(text) - 4096) / 8 {
			sum[i%512] += binary.LittleEndian.Uint64(text[4096+8*i:])
		}
	}
	return sum, len(files)
}

func TestEachProcessAndInterpreterCountsItsRequestsOnPagesOfItsOwn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		program string
		started uint64
		pages   int
	}{
		"no request": {"import ask", 0, 0}, // superctl knows by the file .counts that the worker counts
		"requests":   {"import ask; ask.ask(3)", 3, 1},
		"a fork": {`
import ask, os
ask.ask(2)
if os.fork() == 0:
    ask.ask(3)
    os._exit(0)
os.wait()
ask.ask(4)`, 9, 2},
		"a spawned process": {`
import ask, subprocess, sys
ask.ask(2)
subprocess.run([sys.executable, "-c", "import ask; ask.ask(3)"], check=True)`, 5, 2},
		"a subinterpreter": {`
import ask
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
ask.ask(2)
i = interpreters.create()
interpreters.run_string(i, "import ask; ask.ask(3)")
interpreters.destroy(i)`, 5, 2},
		"a process that is killed": {`
import ask, os, signal
if os.fork() == 0:
    ask.ask(3)
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()`, 3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBothParts(t, func(t *testing.T, part string) {
				sum, pages := counted(t, c.program, part)
				if sum[0] != c.started || sum[2] != c.started || pages != c.pages {
					t.Errorf("started %d, 2xx %d, on %d pages; want %d on %d", sum[0], sum[2], pages, c.started, c.pages)
				}
			})
		})
	}
}

func TestNoRequestOfAnyThreadIsCountedTwiceOrLost(t *testing.T) {
	t.Parallel()
	inBothParts(t, func(t *testing.T, part string) {
		sum, pages := counted(t, `
import ask, sys, threading
sys.setswitchinterval(1e-6)
together = threading.Barrier(40)
def run():
    together.wait()
    ask.ask(50)
    together.wait()
for _ in range(3):  # the second and third threads have the rows of the first
    threads = [threading.Thread(target=run) for _ in range(40)]
    for t in threads: t.start()
    for t in threads: t.join()`, part)
		const requests = 3 * 40 * 50
		if sum[0] != requests || sum[2] != requests {
			t.Errorf("started %d, 2xx %d, want %d", sum[0], sum[2], requests)
		}
		if part == "DRAIN_HOOK=python" && pages != 4 { // of 1, 4, 16 and 64 rows; in C the threads share one
			t.Errorf("%d pages", pages)
		}
	})
}

func TestAnswersAreCountedByTheClassOfTheirStatus(t *testing.T) {
	t.Parallel()
	inBothParts(t, func(t *testing.T, part string) {
		sum, _ := counted(t, `
import ask
for status in (200, 204, 302, 404, 404, 500, 503, 599, 600, 999):
    ask.ask(1, status)`, part)
		for i, want := range map[int]uint64{0: 10, 1: 0, 2: 2, 3: 1, 4: 2, 5: 3, 6: 2, 7: 0} {
			if sum[i] != want {
				t.Errorf("cell %d: %d, want %d", i, sum[i], want)
			}
		}
	})
}

// An app may send its last message twice, and a status that HTTP does not have: what the server makes of
// it, each request ends once.
func TestAnAnswerThatIsWrongEndsOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		messages      string
		cell          int
		refuses, both bool
	}{
		"two last messages":               {messages: "start(200), body, body", cell: 2},
		"two last messages at once":       {messages: "start(200), body, body", cell: 2, both: true},
		"two last messages, refused":      {messages: "start(200), body, body", cell: 2, refuses: true},
		"a negative status":               {messages: "start(-5), body", cell: 6},
		"the status -1":                   {messages: "start(-1), body", cell: 6},
		"the status 0":                    {messages: "start(0), body", cell: 6},
		"a negative status, refused":      {messages: "start(-5), body", cell: 6, refuses: true},
		"a negative status and no body":   {messages: "start(-5)", cell: 6},
		"a WebSocket that is refused -5":  {messages: "refuse(-5), part", cell: 6},
		"a WebSocket that is refused 404": {messages: "refuse(404), part", cell: 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sum, _ := counted(t, `
import ask, asyncio
body = {"type": "http.response.body", "body": b"x"}
part = {"type": "websocket.http.response.body", "body": b"x"}
def start(status): return {"type": "http.response.start", "status": status, "headers": []}
def refuse(status): return {"type": "websocket.http.response.start", "status": status, "headers": []}
messages = [`+c.messages+`]
async def app(scope, receive, send):
    if `+pythonBool(c.both)+`:
        await send(messages[0])
        await asyncio.gather(*map(send, messages[1:]))
    else:
        for message in messages: await send(message)
taken = []
async def send(message):
    taken.append(message)
    await asyncio.sleep(0)
    if `+pythonBool(c.refuses)+` and (message.get("status", 200) < 100 or len(taken) > 2): raise RuntimeError
ask.c.app = app
ask.c.load()
kind = "websocket" if "websocket" in messages[0]["type"] else "http"
try: asyncio.run(ask.c.loaded_app({"type": kind, "http_version": "1.1", "path": "/", "headers": []}, None, send))
except RuntimeError: pass
assert `+pythonBool(c.refuses)+` or len(taken) == len(messages)`)
			var ends uint64
			for _, n := range sum[1:8] {
				ends += n
			}
			if sum[0] != 1 || ends != 1 || sum[c.cell] != 1 {
				t.Errorf("started %d, ended %d: %v; want cell %d", sum[0], ends, sum[1:8], c.cell)
			}
		})
	}
}

func pythonBool(is bool) string {
	if is {
		return "True"
	}
	return "False"
}

func TestTheHealthChecksOfSuperctlAreNotCounted(t *testing.T) {
	t.Parallel()
	inBothParts(t, func(t *testing.T, part string) {
		sum, _ := counted(t, `
import ask
ask.ask(1, path="/healthz/", agent=b"superctl/health")
ask.ask(2, path="/healthz/")
ask.ask(3, path="/other/", agent=b"superctl/health")`, "SUPERCTL_PROBES=/healthz/\n/ready/", part)
		if sum[0] != 5 {
			t.Errorf("started %d, want 5: those of others, and on other paths", sum[0])
		}
	})
}

// The middle of a cell is at most 5 % from every duration in it, from 100 µs to 5 minutes.
func TestADurationIsKnownToFivePercent(t *testing.T) {
	t.Parallel()
	inBothParts(t, func(t *testing.T, part string) {
		env := []string{"SUPERCTL_REQUESTS=" + t.TempDir(), part}
		out, said, code := python{files: countedServer, env: env, program: `
import ask, gc, glob, os, time
counting = next(o for o in gc.get_objects() if type(o).__name__ == "Counting")
request = counting.begin()
(path,) = glob.glob(os.environ["SUPERCTL_REQUESTS"] + "/[0-9]*")
file = open(path, "rb", buffering=0)
def row(): return memoryview(os.pread(file.fileno(), 4096, 4096)).cast("Q").tolist()
ns = 100_000
before = row()
while ns < 300e9:
    began = time.perf_counter_ns() - ns
    counting.end(began if counting.native else (request[0], began), 200)
    most = time.perf_counter_ns() - began  # it took at least ns
    after = row()
    (cell,) = [n - 16 for n in range(16, 512) if after[n] != before[n]]
    before = after
    octave = max(cell // 16 - 1, 0)
    low = (cell - 16 * octave) << octave
    middle = (low + (1 << octave) / 2) * 4096
    if middle < 0.95 * ns or middle > 1.05 * most: print(ns, most, cell, middle)
    ns = int(ns * 1.003)
print("done")`}.run(t, true)
		if out != "done\n" || code != 0 {
			t.Errorf("exit code %d\n%s%s", code, out, said)
		}
	})
}

func TestWhateverAnASGIAppSendsIsTheSameWhenItsRequestsAreCounted(t *testing.T) {
	t.Parallel()
	inBothParts(t, func(t *testing.T, part string) {
		plain := python{program: sendingApps, files: fakeServer}
		counting := plain
		counting.env = []string{"SUPERCTL_REQUESTS=" + t.TempDir(), part}
		without, _, _ := plain.run(t, true)
		with, said, code := counting.run(t, true)
		if with != without || code != 0 || strings.Count(said, "superctl") > 1 {
			t.Errorf("exit code %d\n%s\nwithout:\n%s\nwith:\n%s", code, said, without, with)
		}
	})
}

func TestAPageThatCannotBeMadeIsReportedOnceAndTheAppRuns(t *testing.T) {
	t.Parallel()
	inBothParts(t, func(t *testing.T, part string) {
		p := python{
			program: "import ask; ask.ask(3); print('runs')", files: countedServer,
			env: []string{"SUPERCTL_REQUESTS=/nonexistent", part},
		}
		out, said, code := p.run(t, true)
		if out != "runs\n" || code != 0 || strings.Count(said, "superctl: ") != 1 || !strings.Contains(said, "count requests") {
			t.Errorf("exit code %d\n%s%s", code, out, said)
		}
	})
}
