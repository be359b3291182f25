package drainhook

import "testing"

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
