package oldserver

import (
	"strings"
	"testing"

	"superctl/takeover/running"
)

func TestThePlanWarnsOfWorkersThatWereNotTested(t *testing.T) {
	for class, warns := range map[string]bool{
		"sync": false, "gthread": false, "uvicorn_worker.UvicornWorker": false, "gevent": true, "shop.workers.Custom": true,
	} {
		_, warnings := Describe(&running.Server{Kind: running.Gunicorn, WorkerClass: class})
		if text := strings.Join(warnings, "; "); strings.Contains(text, "not tested with gunicorn's "+class) != warns {
			t.Errorf("%s: %q", class, text)
		}
	}
}
