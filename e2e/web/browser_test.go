package web

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"superctl/e2e/harness"
)

// browser is a real Chromium with one page. It speaks the DevTools protocol on two pipes, as
// --remote-debugging-pipe has it: JSON texts, each with a NUL at its end.
type browser struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.Writer
	session string

	mu       sync.Mutex
	next     int
	pending  map[int]chan reply
	problems []string // what the page wrote to its console, or could not do
	asked    []string // the addresses that it has asked for
}

type reply struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// startBrowser starts Chromium until the test ends.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	theirIn, ourIn, err := os.Pipe()
	must(t, err)
	ourOut, theirOut, err := os.Pipe()
	must(t, err)
	home := t.TempDir()
	log, err := os.Create(filepath.Join(home, "log"))
	must(t, err)
	b := &browser{t: t, in: ourIn, pending: make(map[int]chan reply)}
	b.cmd = exec.Command("chromium", "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
		"--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--hide-scrollbars",
		"--force-color-profile=srgb", "--user-data-dir="+filepath.Join(home, "profile"))
	b.cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TZ=UTC", "LANG=C.UTF-8"}
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	must(t, b.cmd.Start())
	_, _, _ = theirIn.Close(), theirOut.Close(), log.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		b.read(ourOut)
	}()
	t.Cleanup(func() {
		_ = ourIn.Close()
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // with its processes
		_ = b.cmd.Wait()
		<-read
		_ = ourOut.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			for line := range strings.Lines(string(text)) {
				if !strings.Contains(line, "dbus/") { // a browser without windows needs none
					t.Logf("chromium said: %s", line)
				}
			}
		}
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network", "Accessibility"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// read takes answers and events until Chromium has ended.
func (b *browser) read(out io.Reader) {
	for in := bufio.NewReader(out); ; {
		text, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID     int
			Method string
			Params json.RawMessage
			reply
		}
		if json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m) != nil {
			continue
		}
		b.mu.Lock()
		if answer := b.pending[m.ID]; answer != nil {
			answer <- m.reply
			delete(b.pending, m.ID)
		}
		b.note(m.Method, m.Params)
		b.mu.Unlock()
	}
}

// note keeps what a test looks at later. b.mu is held.
func (b *browser) note(method string, params json.RawMessage) {
	var p struct {
		Type    string
		Request struct{ URL string }
		Entry   struct{ Level, Text, URL string }
	}
	_ = json.Unmarshal(params, &p)
	switch method {
	case "Network.requestWillBeSent":
		b.asked = append(b.asked, p.Request.URL)
	case "Runtime.exceptionThrown":
		b.problems = append(b.problems, string(params))
	case "Runtime.consoleAPICalled":
		b.problems = append(b.problems, string(params))
	case "Log.entryAdded":
		b.problems = append(b.problems, p.Entry.Text+" "+p.Entry.URL)
	}
}

// call makes one call of the protocol.
func (b *browser) call(method string, params, into any) {
	b.t.Helper()
	answer := make(chan reply, 1)
	b.mu.Lock()
	b.next++
	id := b.next
	b.pending[id] = answer
	b.mu.Unlock()
	text, err := json.Marshal(map[string]any{"id": id, "method": method, "params": params, "sessionId": b.session})
	must(b.t, err)
	if b.session == "" {
		text = bytes.Replace(text, []byte(`,"sessionId":""`), nil, 1)
	}
	_, err = b.in.Write(append(text, 0))
	must(b.t, err)
	ctx, cancel := harness.Limited(b.t.Context())
	defer cancel()
	select {
	case r := <-answer:
		if r.Error != nil {
			b.t.Fatalf("%s: %s", method, r.Error.Message)
		}
		if into != nil {
			must(b.t, json.Unmarshal(r.Result, into))
		}
	case <-ctx.Done():
		b.t.Fatalf("%s: no answer: %v", method, ctx.Err())
	}
}

// before has the page run a script before its own.
func (b *browser) before(script string) {
	b.t.Helper()
	b.call("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": script}, nil)
}

// open opens an address and waits until the page is loaded.
func (b *browser) open(url string) {
	b.t.Helper()
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	b.becomes("document.readyState === 'complete' && location.href.startsWith('http')")
}

// eval evaluates an expression of JavaScript in the page.
func (b *browser) eval(expression string, into any) error {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Exception struct{ Description string }
		}
	}
	b.call("Runtime.evaluate", map[string]any{
		"expression": expression, "returnByValue": true, "awaitPromise": true,
	}, &r)
	if r.ExceptionDetails != nil {
		return errors.New(r.ExceptionDetails.Exception.Description)
	}
	if into == nil || len(r.Result.Value) == 0 {
		return nil
	}
	return json.Unmarshal(r.Result.Value, into)
}

// get returns the value of an expression.
func get[T any](b *browser, expression string) (value T) {
	b.t.Helper()
	if err := b.eval(expression, &value); err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// becomes waits until an expression is true.
func (b *browser) becomes(expression string) {
	b.t.Helper()
	var err error
	harness.Eventually(b.t, expression, func() (is bool) {
		err = b.eval("Boolean("+expression+")", &is)
		return err == nil && is
	}, func() string {
		var shown string
		_ = b.eval("document.body.innerText", &shown)
		return fmt.Sprintf("the last error is %v; the page shows\n%s", err, shown)
	})
}

// press presses a key, such as Tab or Enter.
func (b *browser) press(key string) {
	b.t.Helper()
	code := map[string]int{"Tab": 9, "Enter": 13}[key]
	down := map[string]any{"type": "rawKeyDown", "key": key, "code": key, "windowsVirtualKeyCode": code}
	if key == "Enter" {
		down["type"], down["text"] = "keyDown", "\r"
	}
	b.call("Input.dispatchKeyEvent", down, nil)
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
}

// look sets the width of the page and its colours, "light" or "dark".
func (b *browser) look(width int, colours string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500,
	}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": colours}},
	}, nil)
	b.becomes(fmt.Sprintf("innerWidth === %d && matchMedia('(prefers-color-scheme: %s)').matches", width, colours))
}

// picture returns the whole page as PNG.
func (b *browser) picture() []byte {
	b.t.Helper()
	var shot struct{ Data string }
	height := get[int](b, "Math.min(document.documentElement.scrollHeight, 2400)")
	b.call("Page.captureScreenshot", map[string]any{
		"format": "png", "captureBeyondViewport": true,
		"clip": map[string]any{"x": 0, "y": 0, "width": get[int](b, "innerWidth"), "height": height, "scale": 1},
	}, &shot)
	data, err := base64.StdEncoding.DecodeString(shot.Data)
	must(b.t, err)
	return data
}

// clean checks that the page has written nothing to its console, and has asked this address only.
func (b *browser) clean(address string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.t.Errorf("the console has %s", p)
	}
	for _, url := range b.asked {
		if !strings.HasPrefix(url, address) {
			b.t.Errorf("the page asks for %s", url)
		}
	}
	if len(b.asked) < 5 {
		b.t.Errorf("the page has asked only for %s", b.asked)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
