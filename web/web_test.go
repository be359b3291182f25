//go:build linux

package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"superctl/api"
	"superctl/host"
)

func get(t *testing.T, h http.Handler, method, target string, header map[string]string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestOnlyAnAddressOfThisHostIsServed(t *testing.T) {
	for _, text := range []string{"127.0.0.1:9180", "[::1]:9180", "localhost:9180", "unix:/run/superctl-web/web.sock"} {
		if _, err := ParseAddress(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"0.0.0.0:9180", "10.0.0.5:9180", "[::]:9180", "web1:9180"} {
		if _, err := ParseAddress(text); err == nil || !strings.Contains(err.Error(), "put nginx with a password in front") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := ParseAddress(":9180"); err == nil {
		t.Error("every address of the machine is served")
	}
}

func TestAPageOfAnotherSiteGetsNothing(t *testing.T) {
	h := handler(newWatch(Source{}))
	for target, code := range map[string]int{
		"http://localhost/": 200, "http://127.0.0.1:9180/": 200, "http://[::1]:9180/": 200, "http://[::1]/": 200,
		"http://evil.example/": 421, "http://127.0.0.1.evil.example:9180/": 421, "http://10.0.0.5:9180/": 421,
		"http://localhost/page.css": 200, "http://localhost/nothing": 404, "http://localhost/index.html": 404,
	} {
		if w := get(t, h, http.MethodGet, target, nil); w.Code != code {
			t.Errorf("%s: %d, want %d", target, w.Code, code)
		}
	}
	w := get(t, h, http.MethodGet, "http://localhost/events", map[string]string{"Sec-Fetch-Site": "cross-site"})
	if w.Code != http.StatusForbidden {
		t.Errorf("another site gets events: %d", w.Code)
	}
}

func TestThePageCanOnlyBeRead(t *testing.T) {
	h := handler(newWatch(Source{}))
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		for _, path := range []string{"/", "/events", "/page.js"} {
			if w := get(t, h, method, "http://localhost"+path, nil); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	}
	for _, path := range []string{"/", "/events", "/page.js"} {
		w := get(t, h, http.MethodHead, "http://localhost"+path, nil)
		if w.Code != http.StatusOK {
			t.Errorf("HEAD %s: %d", path, w.Code)
		}
	}
}

func TestThePageMayUseNothingButItsOwnFiles(t *testing.T) {
	h := handler(newWatch(Source{}))
	w := get(t, h, http.MethodGet, "http://localhost/", nil)
	csp := w.Header().Get("Content-Security-Policy")
	if !strings.HasPrefix(csp, "default-src 'none'; ") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
		t.Errorf("the policy is %s", csp)
	}
	if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("headers: %v", w.Header())
	}
	page := w.Body.String()
	if strings.Contains(page, "://") || strings.Contains(page, " style=") || strings.Contains(page, "<style") {
		t.Error("the page has an address, or a style of its own")
	}
	again := get(t, h, http.MethodGet, "http://localhost/", map[string]string{"If-None-Match": w.Header().Get("ETag")})
	if again.Code != http.StatusNotModified || again.Body.Len() > 0 {
		t.Errorf("the same page is sent again: %d", again.Code)
	}
}

// shop is a daemon whose generation serves 100 requests a second, one of which fails. It gets a new
// generation every minute.
type shop struct {
	asked, histories atomic.Int64
	began            time.Time
}

func (s *shop) measure(context.Context) ([]host.Measured, error) {
	s.asked.Add(1)
	n := uint64(time.Since(s.began).Seconds())
	id := 1 + int(n/60)
	m := host.Measured{App: host.App{Name: "shop", Control: "/run/shop.sock", Running: true}}
	m.Measures = api.Measures{
		Status: api.Status{
			App: "shop", Release: fmt.Sprint("r", id), Generation: id, Health: api.HealthOK,
			Generations: []api.GenerationStatus{{ID: id, Release: fmt.Sprint("r", id), State: "live", Requests: new(api.Requests)}},
		},
		Requests: []api.ProcessRequests{{Process: "web", Generation: id, Requests: api.Requests{
			Status2xx: 99 * n, Status5xx: n,
		}, Durations: map[int]uint64{300: 100 * n}}},
		Changes: []api.ChangeTotal{{Kind: "switch", Outcome: api.Done, Count: uint64(id)}},
	}
	m.Status = &m.Measures.Status
	return []host.Measured{m, {App: host.App{Name: "blog", Control: "/run/blog.sock", Error: "no daemon"}}}, nil
}

func (s *shop) history(context.Context, *host.App) ([]api.PastChange, error) {
	s.histories.Add(1)
	began := time.Now().Add(-time.Second)
	return []api.PastChange{{Number: 1, Outcome: api.Outcome{
		Kind: "switch", Release: "r1", Result: api.Reverted, Log: []string{strings.Repeat("x", 5000)},
		Steps: []api.Step{{Name: api.StepCutover, Began: began}},
	}}}, nil
}

// next returns the next event of a page.
func next(t *testing.T, p *page) (s screen) {
	t.Helper()
	text := strings.TrimSpace(strings.TrimPrefix(string(<-p.news), "data: "))
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return s
}

// watching runs a watch in virtual time.
func watching(t *testing.T, test func(w *watch, s *shop)) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{began: time.Now()}
		w := newWatch(Source{Measure: s.measure, History: s.history})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { w.run(ctx); close(ended) }()
		test(w, s)
		stop()
		<-ended
	})
}

func TestDaemonsAreAskedOnlyWhileAPageIsOpen(t *testing.T) {
	watching(t, func(w *watch, s *shop) {
		time.Sleep(time.Hour)
		if s.asked.Load() != 0 {
			t.Errorf("they are asked %d times without a page", s.asked.Load())
		}
		p, _ := w.open()
		q, _ := w.open()
		for range 30 {
			next(t, p)
			next(t, q)
		}
		if s.asked.Load() > 32 || s.histories.Load() != 1 {
			t.Errorf("for two pages they are asked %d times, and for the history %d times", s.asked.Load(), s.histories.Load())
		}
		w.close(p)
		w.close(q)
		time.Sleep(time.Minute)
		synctest.Wait()
		after := s.asked.Load()
		time.Sleep(time.Hour)
		if s.asked.Load() != after || after > 45 {
			t.Errorf("they are asked %d times after the last page, then %d", after, s.asked.Load())
		}
		p, _ = w.open()
		next(t, p)
		if got := next(t, p).Apps[0].Releases[0].Rate; got == nil || *got > 200 {
			t.Errorf("the rate after a pause is %v", got)
		}
		w.close(p)
	})
}

func TestAPageThatDoesNotReadHoldsUpNoOther(t *testing.T) {
	watching(t, func(w *watch, _ *shop) {
		stuck, _ := w.open()
		p, _ := w.open()
		if !next(t, p).Whole {
			t.Error("the first event has not everything")
		}
		for range 100 {
			if next(t, p).Whole {
				t.Error("a page that reads gets everything again")
			}
		}
		next(t, stuck)
		if s := next(t, stuck); !s.Whole || len(s.Apps[0].Lines[0].Points) < 20 {
			t.Error("the page that has missed events does not get everything")
		}
		w.close(stuck)
		w.close(p)
	})
}

func TestHoursOfChangesNeedNoMoreMemoryThanOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{began: time.Now()}
		b := newBook(Source{Measure: s.measure, History: s.history})
		var hour, all int
		for i := range 4 * 1800 {
			_, whole := b.ask(t.Context())
			switch i {
			case 1800 - 1:
				hour = len(whole())
			case 4*1800 - 1:
				all = len(whole())
			}
			time.Sleep(2 * time.Second)
		}
		r := b.records["/run/shop.sock"]
		points := 0
		for _, l := range r.lines {
			points += len(l.points)
		}
		if len(r.lines) > maxLines || len(r.marks) > maxMarks || points > int(keep/between)+2 || len(b.records) != 2 {
			t.Errorf("%d lines, %d marks, %d points, %d records", len(r.lines), len(r.marks), points, len(b.records))
		}
		if all > hour+hour/10 || hour > 64<<10 {
			t.Errorf("everything has %d bytes after an hour and %d after four", hour, all)
		}
	})
}

func TestTheFiguresOfTheOldReleaseAreOfTheTimeBeforeTheCutover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{began: time.Now()}
		b := newBook(Source{Measure: s.measure, History: s.history})
		var got screen
		for range 80 {
			now, _ := b.ask(t.Context())
			if err := json.Unmarshal(now[len("data: "):], &got); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		app := got.Apps[0]
		if len(app.Releases) != 2 || app.Releases[0].State != "live" || app.Releases[0].Until != 0 {
			t.Fatalf("%+v", app.Releases)
		}
		old := app.Releases[1]
		if old.State != "ended" || old.Release != "r1" || old.Rate == nil || *old.Rate != 100 || *old.Failed != 0.01 || *old.P99 <= 0 ||
			old.Until != s.began.Add(59*time.Second).UnixMilli() {
			t.Errorf("the old release: %+v", old)
		}
		if marks := app.Marks; len(marks) == 0 || marks[len(marks)-1].Release != "r2" {
			t.Errorf("marks: %+v", marks)
		}
		if blog := got.Apps[1]; blog.Health != host.Stopped || blog.Reason != "no daemon" {
			t.Errorf("the app whose daemon does not run: %+v", blog)
		}
	})
}

func TestOnlyAReleaseWhoseWorkersDoNotCountIsSaidNotToBeCounted(t *testing.T) {
	counting := &api.Requests{Started: 1}
	uncounted := []api.Uncounted{{Process: "web", Server: "uwsgi"}}
	for name, c := range map[string]struct {
		of   api.GenerationStatus
		want bool
	}{
		"its workers start":          {api.GenerationStatus{}, true},
		"they count":                 {api.GenerationStatus{Requests: counting}, true},
		"they do not count":          {api.GenerationStatus{Uncounted: uncounted}, false},
		"those of one process count": {api.GenerationStatus{Requests: counting, Uncounted: uncounted}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.of.ID, c.of.State = 2, string(api.Staged)
			if got := new(record).present(&api.Status{}, &c.of).Counted; got != c.want {
				t.Errorf("counted: %t", got)
			}
		})
	}
}

func TestAReleaseThatHadConnectionsForAMomentIsShownAfterItsEnd(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	says := func(list ...api.GenerationStatus) *host.Measured {
		st := &api.Status{Generation: list[0].ID, Generations: list}
		return &host.Measured{App: host.App{Status: st}}
	}
	live, staged := string(api.Live), string(api.Staged)
	r := new(record)
	r.add(now, says(
		api.GenerationStatus{ID: 5, Release: "counted", State: live, Requests: new(api.Requests)},
		api.GenerationStatus{ID: 4, Release: "not known yet", State: live},
		api.GenerationStatus{ID: 3, Release: "not counted", State: live, Uncounted: []api.Uncounted{{Process: "web"}}},
		api.GenerationStatus{ID: 2, Release: "never live", State: staged, Requests: new(api.Requests)},
	))
	later := says(api.GenerationStatus{ID: 1, Release: "r1", State: live, Requests: new(api.Requests)})
	ended := func(at time.Time) (names []string) {
		r.add(at, later)
		for _, v := range r.view(later, true).Releases {
			if v.State == "ended" {
				names = append(names, v.Release)
			}
		}
		return names
	}
	if got := ended(now.Add(keep)); !slices.Equal(got, []string{"counted", "not known yet"}) {
		t.Errorf("after its end: %v", got)
	}
	if got := ended(now.Add(keep + time.Second)); len(got) != 0 {
		t.Errorf("after the time of the charts: %v", got)
	}
}

func TestAnAppKeepsItsNameWhileItsDaemonDoesNotAnswer(t *testing.T) {
	app := host.Measured{App: host.App{Name: "shop", Control: "/run/user/1000/main.sock", Status: &api.Status{}}}
	b := newBook(Source{
		Measure: func(context.Context) ([]host.Measured, error) { return []host.Measured{app}, nil },
		History: func(context.Context, *host.App) ([]api.PastChange, error) { return nil, nil },
	})
	b.ask(t.Context())
	app.Name, app.Status, app.Error = "main", nil, "the daemon does not answer within 5s"
	if event, _ := b.ask(t.Context()); !strings.Contains(string(event), `"name":"shop"`) {
		t.Errorf("%s", event)
	}
}

func TestAHistoryThatCannotBeReadSaysWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{began: time.Now()}
		asked := 0
		b := newBook(Source{Measure: s.measure, History: func(context.Context, *host.App) ([]api.PastChange, error) {
			asked++
			return nil, errors.New("an older daemon")
		}})
		for range 30 {
			_, whole := b.ask(t.Context())
			if !strings.Contains(string(whole()), `"problem":"an older daemon"`) {
				t.Fatalf("%s", whole())
			}
			time.Sleep(time.Second)
		}
		if asked != 1 {
			t.Errorf("it is asked for %d times", asked)
		}
	})
}

func TestALogIsShortenedAndTheGuardIsQuoted(t *testing.T) {
	got := changeViews([]api.PastChange{{Number: 7, Outcome: api.Outcome{
		Kind: "switch", Result: api.Reverted, Log: append(make([]string, 50), strings.Repeat("ä", 5000)), Culprit: api.Worker,
		Guard: []api.GuardReport{
			{Process: "web", Verdict: api.Worse, Requests: 400, Errors: 124, OldRequests: 812, OldErrors: 3},
			{Process: "api", Verdict: api.NotCounted},
			{Process: "ws", Verdict: api.NoVerdict, Requests: 6},
		},
	}}})[0]
	if n := len(got.Log); n != maxLogLines || len(got.Log[n-1]) > maxLogLine+4 {
		t.Errorf("%d lines, the last of %d bytes", n, len(got.Log[n-1]))
	}
	const want = "web: worse, 5xx 124 of 400 requests, before 3 of 812; api: requests not counted (unknown server); ws: no verdict: 6 requests"
	if got.Guard != want {
		t.Errorf("got  %s\nwant %s", got.Guard, want)
	}
}

func TestEventsEndWithTheProcess(t *testing.T) {
	at, err := ParseAddress("unix:" + t.TempDir() + "/s")
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{began: time.Now()}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- Serve(ctx, at, Source{Measure: s.measure, History: s.history}, func(at string) { ready <- at })
	}()
	client := http.Client{Transport: unixTransport(<-ready)}
	resp, err := client.Get("http://localhost/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for text := ""; !strings.HasPrefix(text, "data: "); {
		if text, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("X-Accel-Buffering") != "no" {
		t.Errorf("headers: %v", resp.Header)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	_, _ = io.Copy(io.Discard, lines) // ends
}

// unixTransport connects to a unix socket.
func unixTransport(path string) http.RoundTripper {
	return &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}
}

func TestThereAreNotTooManyPages(t *testing.T) {
	w := newWatch(Source{})
	for range maxPages {
		w.open()
	}
	got := get(t, handler(w), http.MethodGet, "http://localhost/events", nil)
	if got.Code != http.StatusServiceUnavailable || !strings.Contains(got.Body.String(), "close some") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}
