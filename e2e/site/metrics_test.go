package site

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"superctl/e2e/apps"
	"superctl/e2e/harness"
	"superctl/load"
)

// prometheus is a real Prometheus that scrapes a real `superctl metrics`.
type prometheus struct {
	app              *harness.App
	programs         string // directory of prometheus and promtool
	metrics, address string
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startPrometheus starts both.
func startPrometheus(t *testing.T, a *harness.App) *prometheus {
	t.Helper()
	deps := exec.Command(filepath.Join("..", "..", "scripts", "deps"), "--prometheus")
	deps.Stderr = os.Stderr
	out, err := deps.Output()
	must(t, err)
	p := &prometheus{
		app: a, programs: strings.TrimSpace(string(out)),
		metrics: net.JoinHostPort("127.0.0.1", freePort(t)), address: net.JoinHostPort("127.0.0.1", freePort(t)),
	}
	p.start(t, a.Binary, "metrics", "--listen", p.metrics)
	a.WriteFile("prometheus.yml", fmt.Sprintf(`global: {scrape_interval: 1s}
scrape_configs:
  - job_name: superctl
    static_configs: [{targets: [%q]}]
`, p.metrics))
	p.start(t, filepath.Join(p.programs, "prometheus"), "--config.file="+a.Path("prometheus.yml"),
		"--storage.tsdb.path="+t.TempDir(), "--web.listen-address="+p.address)
	return p
}

// start starts a program of the host, which finds the app by its socket, until the test ends.
func (p *prometheus) start(t *testing.T, program string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	must(t, err)
	defer log.Close()
	cmd := p.command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Errorf("%s: %v\n%s", program, err, text)
		}
	})
}

func (p *prometheus) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"RUNTIME_DIRECTORY=" + p.app.Path("run"), "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// query returns the values of an instant query.
func (p *prometheus) query(ctx context.Context, expr string) ([]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+"/api/v1/query?query="+url.QueryEscape(expr), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Error string `json:"error"`
		Data  struct {
			Result []struct {
				Value [2]any `json:"value"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s: %s", expr, answer.Error)
	}
	var values []float64
	for _, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

// becomes waits until a query has one value.
func (p *prometheus) becomes(t *testing.T, expr string, want float64) {
	t.Helper()
	var got []float64
	var err error
	defer func() {
		if len(got) != 1 || got[0] != want {
			t.Logf("it is %v, %v", got, err)
		}
	}()
	harness.Eventually(t, fmt.Sprintf("%s is %g", expr, want), func() bool {
		got, err = p.query(t.Context(), expr)
		return err == nil && len(got) == 1 && got[0] == want
	})
}

func TestPrometheusCountsEveryRequestOverSwitchesAndDeaths(t *testing.T) {
	t.Parallel()
	a := harness.New(t, run, harness.Options{})
	a.Releases("r1", "r2")
	a.Release("bad", apps.Behaviour{Fault: apps.ImportError})
	a.Start("r1")
	p := startPrometheus(t, a)
	p.becomes(t, "superctl_up", 1)
	r := a.Load(load.Config{Clients: 4, Rate: 100, KeepAlive: true, Shapes: []load.Shape{load.Get("/")}})
	a.More(r, 50)
	p.becomes(t, `count(superctl_release_info{release="r1"})`, 1)
	a.Command("switch", "r2").Want(0)
	a.Command("switch", "bad").Want(1)
	a.More(r, 50)
	p.becomes(t, `count(superctl_generation_requests_total{release="r2", code="2xx"} > 0)`, 1)
	a.Daemon.Kill()
	must(t, a.Launch().Ready())
	a.Command("rollback").Want(0)
	a.More(r, 50)
	res := a.Lossless(r)

	p.becomes(t, `sum(superctl_requests_total{code="2xx"})`, float64(len(res.Records)))
	p.becomes(t, `sum(superctl_requests_total)`, float64(len(res.Records)))
	p.becomes(t, `superctl_request_duration_seconds_count`, float64(len(res.Records)))
	p.becomes(t, `superctl_changes_total{kind="switch", outcome="done"}`, 2)
	p.becomes(t, `superctl_changes_total{kind="switch", outcome="aborted"}`, 1)
	p.becomes(t, `superctl_change_duration_seconds_count{kind="rollback", outcome="done"}`, 1)
	p.becomes(t, `superctl_workers_ready - superctl_workers_wanted`, 0)
	// No total has ever fallen.
	p.becomes(t, `sum(resets(superctl_requests_total[1h])) + sum(resets(superctl_request_duration_seconds_count[1h]))`, 0)
	p.dashboard(t)
	p.promtool(t)
}

// dashboard runs every query of the dashboard.
func (p *prometheus) dashboard(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "packaging", "grafana", "superctl.json"))
	must(t, err)
	var board struct {
		Annotations struct {
			List []struct {
				Expr string `json:"expr"`
			} `json:"list"`
		} `json:"annotations"`
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	must(t, json.Unmarshal(text, &board))
	queries := map[string]string{"annotations": board.Annotations.List[0].Expr}
	for _, panel := range board.Panels {
		for i, target := range panel.Targets {
			queries[fmt.Sprintf("%s, %d", panel.Title, i)] = target.Expr
		}
	}
	if len(queries) < 14 {
		t.Errorf("only %d queries", len(queries))
	}
	variables := strings.NewReplacer("$app", ".*", "$__rate_interval", "1m")
	for name, expr := range queries {
		expr = variables.Replace(expr)
		if values, err := p.query(t.Context(), expr); err != nil || len(values) == 0 || strings.Contains(expr, "$") {
			t.Errorf("panel %s: %v, %v: %s", name, values, err, expr)
		}
	}
}

// promtool checks the names, and that the document lists all of them.
func (p *prometheus) promtool(t *testing.T) {
	t.Helper()
	var out, complaint bytes.Buffer
	printed := p.command(p.app.Binary, "metrics")
	printed.Stdout, printed.Stderr = &out, &complaint
	if err := printed.Run(); err != nil {
		t.Fatalf("superctl metrics: %v\n%s", err, complaint.String())
	}
	check := p.command(filepath.Join(p.programs, "promtool"), "check", "metrics")
	check.Stdin = bytes.NewReader(out.Bytes())
	if said, err := check.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("promtool: %v\n%s", err, said)
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "watching.md"))
	must(t, err)
	for _, name := range regexp.MustCompile(`(?m)^# TYPE (\S+)`).FindAllStringSubmatch(out.String(), -1) {
		if !strings.Contains(string(doc), "| `"+name[1]+"` |") {
			t.Errorf("docs/watching.md does not list %s", name[1])
		}
	}
}
