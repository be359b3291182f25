package notify

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/zap"

	"superctl/api"
)

// FuzzOutbox proves that any content on disk is either a valid message or moved aside, and that the
// next message is delivered.
func FuzzOutbox(f *testing.F) {
	good := message(api.Done)
	data, err := json.Marshal(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("000000000001-"+good.ID, "to-chat", data)
	f.Add("000000000001-"+good.ID, "to-chat", data[:len(data)/2])
	f.Add("99999999999999999999-x", "to-chat", []byte("{}"))
	f.Add("18446744073709551615-x", "to-chat", data)
	f.Add("0-x", "to-chat", data)
	f.Add("damaged-000000000001-x", "to-", []byte("null"))
	f.Add(".new-000000000001-x", "to-chat", []byte(`{"id":"x","event":"start","outcome":{"steps":[{}]}}`))
	f.Fuzz(func(t *testing.T, name, to string, body []byte) {
		if filepath.Base(name) != name || filepath.Base(to) != to || name == "." || name == ".." || to == "." ||
			to == ".." || len(name) > 100 || len(to) > 100 {
			return // not a file name
		}
		dir := t.TempDir()
		_ = os.Mkdir(filepath.Join(dir, name), 0o700) // the kernel rejects invalid names
		_ = os.WriteFile(filepath.Join(dir, name, bodyName), body, 0o600)
		_ = os.WriteFile(filepath.Join(dir, name, to), nil, 0o600)
		b := newOutbox(dir, zap.NewNop())
		next := newMessage("shop", "web1", begun("next"), reported)
		if err := b.put(next, []string{"chat"}, ""); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			it := b.first("chat")
			if it == nil {
				t.Fatal("the next message is lost")
			}
			m, err := b.read(it)
			if err != nil {
				b.damaged(it, err)
				continue
			}
			if m.ID != it.id || !slices.Contains(Events(), m.Event) {
				t.Fatalf("%+v is taken for %s", m, it.id)
			}
			if _ = m.title(); m.ID == next.ID {
				return
			}
			b.done(it, "chat")
		}
		t.Fatal("the next message is held up")
	})
}
