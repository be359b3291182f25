package control

import (
	"context"
	"net/http"
	"slices"
	"sync"

	"superctl/api"
)

// mostWithdrawn is how many requests are remembered that were withdrawn before they arrived.
const mostWithdrawn = 64

// maxToken is the most bytes of a token.
const maxToken = 64

// tokens are the requests for changes that their clients can withdraw.
type tokens struct {
	mu        sync.Mutex
	open      map[string]context.CancelFunc // guarded by mu
	withdrawn []string                      // guarded by mu: before their requests arrived, newest last
}

// begin returns the context of a request for a change by a user. It ends when the request is
// withdrawn, with an *api.CanceledError as its cause. When the client is gone, it ends with
// api.ErrClientGone if the request has a token. forget must be called at the end of the request.
func (t *tokens) begin(r *http.Request, who string) (ctx context.Context, forget func()) {
	token := r.Header.Get(tokenHeader)
	if token == "" || len(token) > maxToken {
		return r.Context(), func() {}
	}
	ctx, end := context.WithCancelCause(context.WithoutCancel(r.Context()))
	unhook := context.AfterFunc(r.Context(), func() { end(api.ErrClientGone) })
	withdraw := func() { end(&api.CanceledError{Who: who}) }
	t.mu.Lock()
	defer t.mu.Unlock()
	if slices.Contains(t.withdrawn, token) {
		withdraw()
	}
	if t.open == nil {
		t.open = make(map[string]context.CancelFunc)
	}
	t.open[token] = withdraw
	return ctx, func() {
		unhook()
		end(nil)
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open, token)
	}
}

// withdraw ends the request with that token, now or when it arrives.
func (t *tokens) withdraw(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if end := t.open[token]; end != nil {
		end()
		return
	}
	t.withdrawn = append(t.withdrawn, token)
	t.withdrawn = t.withdrawn[max(0, len(t.withdrawn)-mostWithdrawn):]
}

func (h handler) withdraw(w http.ResponseWriter, r *http.Request) {
	var req withdrawRequest
	if !readJSON(w, r, &req) {
		return
	}
	if req.Token == "" || len(req.Token) > maxToken {
		http.Error(w, "the request has no valid token", http.StatusBadRequest)
		return
	}
	h.tokens.withdraw(req.Token)
}
