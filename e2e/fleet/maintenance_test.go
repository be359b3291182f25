package fleet

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"superctl/load"
)

// answers fails the test if a request got no answer, or one that is neither the site's nor the page's. It
// returns how many of those that were sent within a window got which status.
func answers(t *testing.T, res *load.Result, began, ended time.Time) map[int]int {
	t.Helper()
	for _, r := range res.Failed() {
		if r.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: status %d: %s", r.Failure, r.Status, r.Err)
		}
	}
	n := make(map[int]int)
	for i := range res.Records {
		if r := &res.Records[i]; r.Begun.After(began) && r.Ended.Before(ended) {
			n[r.Status]++
		}
	}
	return n
}

// only fails the test unless all requests of a window got one status.
func only(t *testing.T, when string, n map[int]int, status int) {
	t.Helper()
	if len(n) != 1 || n[status] == 0 {
		t.Errorf("%s: the requests by their status are %v: want only %d", when, n, status)
	}
}

// TestUsersOfAllHostsGetThePageFromOnToOff deploys behind the page, under load through nginx.
func TestUsersOfAllHostsGetThePageFromOnToOff(t *testing.T) {
	o := newOperator(t)
	o.f.listenToChat(t)
	page := filepath.Join(o.dir, "page.html")
	must(t, os.WriteFile(page, []byte("<h1>We are back at noon</h1>\n"), 0o644))
	r := o.f.Load(t)
	must(t, r.WaitMore(t.Context(), 50))
	began := time.Now()
	must(t, r.WaitMore(t.Context(), 100))

	turning := time.Now()
	o.superctl("maintenance", "on", "--page", page, "--retry-after", "5m").Want(0).Says("users get the maintenance page on 3 hosts")
	on := time.Now()
	must(t, r.WaitMore(t.Context(), 100))
	for _, h := range o.f.Hosts {
		h.Run(t, "curl", "-si", "http://127.0.0.1:8000/").Want(0).Says("503 ").Says("Retry-After: 300").Says("back at noon")
	}
	o.superctl("maintenance", "on", "--page", page, "--retry-after", "5m").Want(0).Says("nothing to do")
	o.superctl("status").Want(0).Says("maintenance since")
	o.superctl("switch", "2").Want(0)
	must(t, r.WaitMore(t.Context(), 100))

	ending := time.Now()
	o.superctl("maintenance", "off").Want(0).Says("reach the app again on 3 hosts")
	off := time.Now()
	must(t, r.WaitMore(t.Context(), 100))
	o.f.wantLive(t, "2 2 2")
	res := r.Stop()
	only(t, "before on", answers(t, res, began, turning), http.StatusOK)
	only(t, "between on and off", answers(t, res, on, ending), http.StatusServiceUnavailable)
	only(t, "after off", answers(t, res, off, time.Now()), http.StatusOK)

	const over = "until grep -q 'maintenance is over' /run/chat/messages; do sleep 0.1; done"
	o.f.Hosts[0].Run(t, "timeout", "120", "sh", "-c", over).Want(0)
	told := o.f.messages(t, o.f.Hosts[0])
	for _, want := range []string{
		"shop@production: users get the maintenance page on web1, web2 and web3 (maintenance by ",
		"shop@production: maintenance is over, users reach the app on web1, web2 and web3 (maintenance by ",
	} {
		if strings.Count(told, want) != 1 {
			t.Errorf("the team is told\n%s\nand not once %q", told, want)
		}
	}
	if n := strings.Count(told, "\n"); n != 3 { // and of the switch
		t.Errorf("the team gets %d messages instead of 3:\n%s", n, told)
	}
}

func TestMaintenanceGoesOnWithoutAHostThatIsDown(t *testing.T) {
	o := newOperator(t)
	down := o.f.Hosts[1]
	down.Refuse(t)
	o.superctl("maintenance", "on").Want(3).Says(down.Name).Says("Connection refused").Says("on web1, web3, but not on web2")
	down.Mend(t)
	o.superctl("status").Want(0).Says("get the maintenance page on web1, web3 and reach the app on web2")
	o.superctl("maintenance", "on").Want(0)
	lock := down.Superctl(t, "lock", "--run", "other", "--why", "moving the database")
	lock.Await("locked")
	o.superctl("maintenance", "off").Want(4).Says("moving the database").Says("no host has changed")
	lock.Type("done").Want(0)
	o.superctl("maintenance", "off").Want(0)
}
