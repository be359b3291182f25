package drainhook

import (
	"strings"
	"testing"
)

// A module that does not say that it needs no lock gives one back to a free-threaded Python.
func TestOnlyAFreeThreadedPythonDoesWithoutTheCPartAndStaysFree(t *testing.T) {
	t.Parallel()
	out, said, code := python{files: countedServer, env: []string{"SUPERCTL_REQUESTS=" + t.TempDir()}, program: `
import ask, gc, sys, sysconfig
ask.ask()
(counting,) = [o for o in gc.get_objects() if type(o).__name__ == "Counting"]
free = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
print(free == (counting.native is None), free == (not getattr(sys, "_is_gil_enabled", lambda: True)()))`}.run(t, true)
	if strings.TrimSpace(out) != "True True" || said != "" || code != 0 {
		t.Errorf("exit code %d\n%s%s", code, out, said)
	}
}

// Else a server that starts and ends threads would fill the disk with pages.
func TestARowIsUsedAgainWhenItsThreadHasEnded(t *testing.T) {
	t.Parallel()
	const threads, rounds = 300, 4
	sum, pages := counted(t, `
import ask, threading
together = threading.Barrier(300)
def run():
    ask.ask()
    together.wait()  # all have a row
for _ in range(4):
    all = [threading.Thread(target=run) for _ in range(300)]
    for t in all: t.start()
    for t in all: t.join()`, "DRAIN_HOOK=python")
	if sum[0] != threads*rounds || sum[2] != threads*rounds || pages != 5 { // of 1, 4, 16, 64 and 255 rows
		t.Errorf("started %d, 2xx %d, on %d pages", sum[0], sum[2], pages)
	}
}

func TestServersThatAreImportedAtOnceAreAllCounted(t *testing.T) {
	t.Parallel()
	inBothParts(t, func(t *testing.T, part string) {
		sum, _ := counted(t, `
import importlib.util, sys, threading
make = importlib.util.module_from_spec
import_other = threading.Thread(target=__import__, args=("waitress.task",))
def while_it_is_made(spec):
    if spec.name == "superctl_requests" and import_other.ident is None:
        import_other.start()
        import_other.join()
    return make(spec)
importlib.util.module_from_spec = while_it_is_made
import ask
ask.ask(3)
from waitress.task import Task
class Channel: connected = True
for _ in range(2):
    task = Task()
    task.request, task.channel = None, Channel()
    task.service()`, part)
		if sum[0] != 5 || sum[2] != 5 {
			t.Errorf("started %d, 2xx %d: want 3 of uvicorn and 2 of waitress", sum[0], sum[2])
		}
	})
}

// posix_fallocate of musl fails there, that of glibc writes.
func TestRequestsAreCountedOnAFileSystemThatCannotReserve(t *testing.T) {
	t.Parallel()
	inBothParts(t, func(t *testing.T, part string) {
		sum, pages := counted(t, `
import ask, errno, os
def cannot(*args): raise OSError(errno.EOPNOTSUPP, "Operation not supported")
os.posix_fallocate = cannot
ask.ask(3)`, part)
		if sum[0] != 3 || sum[2] != 3 || pages != 1 {
			t.Errorf("started %d, 2xx %d, on %d pages", sum[0], sum[2], pages)
		}
	})
}

// The child returns through the server as well, as one that a library has forked may do.
func TestARequestWhoseAppForksIsCountedOnce(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]string{
		"both answer":          "await ask.app(dict(scope, status=200), receive, send)",
		"both leave it broken": "await send({'type': 'http.response.start', 'status': 200, 'headers': []})",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBothParts(t, func(t *testing.T, part string) {
				sum, _ := counted(t, `
import ask, asyncio, os
children = []
async def app(scope, receive, send):
    children.append(os.fork())
    `+answers+`
ask.c.app = app
ask.c.load()
asyncio.run(ask.c.loaded_app({"type": "http", "http_version": "1.1", "path": "/", "headers": []}, None, ask.send))
if children[0] == 0: os._exit(0)
assert os.waitpid(children[0], 0)[1] == 0`, part)
				var ends uint64
				for _, n := range sum[1:8] {
					ends += n
				}
				if sum[0] != 1 || ends != 1 {
					t.Errorf("started %d, ended %d: %v", sum[0], ends, sum[1:8])
				}
			})
		})
	}
}
