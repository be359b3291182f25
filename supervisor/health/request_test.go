package health

import (
	"strings"
	"testing"
)

func TestAPathIsSentAsABrowserSendsIt(t *testing.T) {
	for path, want := range map[string]string{
		"/healthz/?a=b%20c": "GET /healthz/?a=b%20c HTTP/1.1\r\n", "/über": "GET /%C3%BCber HTTP/1.1\r\n",
	} {
		got, err := (&Check{Path: path}).request()
		if err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	vars := (&Check{Path: "/über", Protocol: "uwsgi"}).variables()
	if vars["REQUEST_URI"] != "/%C3%BCber" || vars["PATH_INFO"] != "/über" {
		t.Errorf("%q", vars)
	}
}
