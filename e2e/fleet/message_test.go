package fleet

import (
	"strings"
	"testing"
)

// chat notes what a host's daemon says to the team: a line for each message.
const chat = `
import http.server, json
class Chat(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with open("/run/chat/messages", "a") as f: f.write(message["text"] + "\n")
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", 8099), Chat).serve_forever()
`

// listenToChat has every host notify a chat of its own.
func (f *Fleet) listenToChat(t *testing.T) {
	t.Helper()
	const script = `systemctl stop chat 2>/dev/null || true
rm -rf /run/chat; mkdir /run/chat
systemd-run --quiet --collect --unit chat python3 -c "$1"
printf '[notify.chat]\nservice = "webhook"\nurl = "http://127.0.0.1:8099/"\non = ["success", "abort", "revert"]\n' \
	>>/etc/superctl/shop.toml
superctl --app shop reload --json --run setup --follower`
	f.Each(t, func(h *Host) { h.Run(t, "sh", "-euc", script, "sh", chat).Want(0) })
	t.Cleanup(func() {
		for _, h := range f.Hosts {
			h.Run(t, "systemctl", "stop", "chat").Wait()
		}
	})
}

// messages waits until a host has said something, and returns what all hosts have said.
func (f *Fleet) messages(t *testing.T, speaker *Host) string {
	t.Helper()
	speaker.Run(t, "timeout", "120", "sh", "-c", "until [ -s /run/chat/messages ]; do sleep 0.1; done").Want(0)
	var all strings.Builder
	for _, h := range f.Hosts {
		all.WriteString(h.Run(t, "sh", "-c", "cat /run/chat/messages 2>/dev/null; ls /var/lib/superctl/shop/outbox 2>/dev/null | "+
			"while read d; do ls /var/lib/superctl/shop/outbox/$d | grep ^to- || true; done").Want(0).Stdout())
	}
	return all.String()
}

func TestADeployIsOneMessage(t *testing.T) {
	o := newOperator(t)
	o.f.listenToChat(t)
	o.superctl("switch", "2").Want(0)
	got := o.f.messages(t, o.f.Hosts[0])
	const want = "shop@production: 2 is live on web1, web2 and web3 (switch by "
	if !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("the team is told:\n%s\nand not once\n%s...", got, want)
	}
}

func TestARefusedDeployIsOneMessage(t *testing.T) {
	o := newOperator(t)
	o.f.listenToChat(t)
	o.superctl("switch", "none").Want(1)
	got := o.f.messages(t, o.f.Hosts[0])
	if !strings.HasPrefix(got, "shop@production: none ") || strings.Count(got, "\n") != 1 {
		t.Errorf("the team is told:\n%s", got)
	}
}

func TestADeployByAnsibleIsOneMessage(t *testing.T) {
	c := newController(t)
	c.f.listenToChat(t)
	deploy := []string{"superctl.superctl.deploy", "-e", "superctl_app=shop", "-e", "superctl_release=2"}
	lock := c.f.Hosts[1].Superctl(t, "lock", "--run", "other", "--why", "moving the database")
	lock.Await("locked")
	c.play(deploy...).Want(2).Says("moving the database")
	lock.Type("done").Want(0)
	c.play(deploy...).Want(0)
	got := c.f.messages(t, c.f.Hosts[0])
	const want = "shop: 2 is live on web1 and web2 (deploy by anna ("
	if !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 {
		t.Errorf("the team is told:\n%s\nand not once\n%s...", got, want)
	}
	for _, h := range c.f.Hosts[:2] {
		if st := h.Superctl(t, "status").Want(0); strings.Contains(st.Text(), "locked") {
			t.Errorf("%s is still locked:\n%s", h.Name, st.Text())
		}
	}
}
