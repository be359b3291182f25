package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
)

// boots is how often a release is started in each way.
const boots = 9

// switchBench measures how long a switch takes until the first answer of the new release, compared
// with the same gunicorn started by hand, and writes its lines of bench/RESULTS.md.
func switchBench(run *harness.Run) error {
	s := &scene{run: run}
	list, err := s.switchFigures()
	s.end()
	if err != nil {
		return err
	}
	return renew(filepath.Join("bench", "RESULTS.md"), list)
}

// switchFigures starts releases by hand and by a switch alternately, because the speed of the
// machine varies.
func (s *scene) switchFigures() (list []figure, err error) {
	defer s.recovered(&err)
	a := harness.New(s, s.run, harness.Options{Server: harness.GunicornThreads(), Top: `probation = "0s"`})
	s.make()
	for _, name := range names {
		a.Release(name, apps.Behaviour{})
		s.release(name, apps.Behaviour{})
	}
	a.Start("r1")
	_, address := a.Target()
	var byHand, bySwitch, more []time.Duration
	for i := range boots {
		to := names[(i+1)%2]
		if i%2 == 0 {
			byHand = append(byHand, s.bootByHand(address, to))
		}
		bySwitch = append(bySwitch, s.bootBySwitch(a, address, to))
		if i%2 == 1 {
			byHand = append(byHand, s.bootByHand(address, to))
		}
		more = append(more, bySwitch[i]-byHand[i])
	}
	how := fmt.Sprintf("median of %d, in turns", boots)
	list = []figure{
		{"gunicorn started by hand until its first answer", median(byHand), how},
		{"`superctl switch` until the first answer of the new release", median(bySwitch), how},
		{
			"how much longer the switch takes", median(more),
			fmt.Sprintf(
				"median of %d pairs, from %s to %s", boots, slices.Min(more).Round(time.Millisecond),
				slices.Max(more).Round(time.Millisecond),
			),
		},
	}
	return list, nil
}

// bootByHand returns how long gunicorn takes from its start to its first answer.
func (s *scene) bootByHand(live, release string) time.Duration {
	s.point(release)
	address := s.freePort()
	began := time.Now()
	p := s.spawn(nil, nil, s.path(release, "venv", "bin", "gunicorn"), gunicornArgs(s, "--bind", address)...)
	took := s.firstAnswer(began, address, release, live)
	_ = p.Process.Signal(os.Interrupt)
	<-p.ended
	return took
}

// bootBySwitch returns how long a switch takes from its start to the first answer of the new
// release.
func (s *scene) bootBySwitch(a *harness.App, address, release string) time.Duration {
	began := time.Now()
	c := a.Begin("switch", release)
	took := s.firstAnswer(began, address, release, address)
	c.Wait()
	c.Want(0)
	return took
}

// askEvery is how often a server is asked: a site with little traffic. More would take the processor
// away from what is measured.
const askEvery = 20 * time.Millisecond

// firstAnswer asks again and again until that release answers at the address. The live site is asked
// as often both ways, so that it takes the same part of the processor.
func (s *scene) firstAnswer(began time.Time, address, release, live string) time.Duration {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ask := func(address string) (answered string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz/", nil)
		s.must(err)
		resp, err := client.Do(req)
		if err != nil {
			return ""
		}
		_ = resp.Body.Close()
		return resp.Header.Get("X-Release")
	}
	for ctx.Err() == nil {
		if ask(address) == release {
			return time.Since(began)
		}
		if live != address {
			ask(live)
		}
		<-time.After(askEvery)
	}
	s.Fatalf("%s does not answer at %s", release, address)
	return 0
}

// renew replaces figures in the table of a file.
func renew(path string, list []figure) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	for _, f := range list {
		row := f.row()
		at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "| "+f.what+" |") })
		if at < 0 {
			lines = append(lines, row)
		} else {
			lines[at] = row
		}
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}
