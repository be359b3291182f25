package requests

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// example returns the example of the documentation in a language.
func example(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/requests.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "```"+language+"\n")
	code, _, ends := strings.Cut(rest, "```")
	if !found || !ends {
		t.Fatalf("no example for %s", language)
	}
	return code
}

// around are programs that run an example for three requests, which are answered with 404.
const aroundNode = `
const server = require("http").createServer((request, response) => { response.statusCode = 404; response.end("x"); });
EXAMPLE
server.listen(0, "127.0.0.1", () => {
  let left = 3;
  const ask = () => require("http").get({port: server.address().port, agent: false}, (answer) => {
    answer.resume().on("close", () => --left ? ask() : server.close());
  });
  ask();
});`

const aroundRuby = `
module Rack
  class BodyProxy
    def initialize(_body, &block) = @block = block
    def close = @block.call
  end
end
def use(_) = nil
EXAMPLE
app = Count.new(->(_) { [404, {}, []] })
3.times { app.call({})[2].close }`

const aroundGo = `package main

import (
	"bytes"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

EXAMPLE
func main() {
	cells, err := open(os.Getenv("SUPERCTL_REQUESTS"))
	if err != nil {
		panic(err)
	}
	for range 3 {
		atomic.AddUint64(&cells[512], 1)
		atomic.AddUint64(&cells[512+404/100], 1)
		atomic.AddUint64(&cells[512+cell(time.Millisecond)], 1)
	}
}`

func TestTheExamplesOfTheDocumentationCount(t *testing.T) {
	for language, c := range map[string]struct {
		around string
		run    []string
	}{
		"js":   {aroundNode, []string{"node"}},
		"ruby": {aroundRuby, []string{"ruby"}},
		"go":   {aroundGo, []string{"go", "run"}},
	} {
		t.Run(language, func(t *testing.T) {
			root := t.TempDir()
			dir := one(t, root, "g1.web.0")
			program := filepath.Join(root, "program."+language)
			code := strings.Replace(c.around, "EXAMPLE", example(t, language), 1)
			if err := os.WriteFile(program, []byte(code), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), c.run[0], append(c.run[1:], program)...)
			cmd.Env = append(os.Environ(), Variable+"="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			counts := sum(t, NewLedger(root, Running))
			class := http.StatusNotFound/100 - 1
			if counts.Started != 3 || counts.Answered[class] != 3 || counts.Lost != 0 || counts.Durations.Count() != 3 {
				t.Errorf("%+v", counts)
			}
			if p99 := counts.Durations.Quantile(0.99); p99 <= 0 || p99 > time.Minute {
				t.Errorf("p99 is %s", p99)
			}
		})
	}
}
