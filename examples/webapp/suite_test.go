package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault"
)

func testStoreAndUse(t *testing.T, w *world) {
	w.acme.connect(t, "acct_acme", "sk_acme_1")
	_, got := w.acme.call(t, "GET", "/integration", "")
	if got["account"] != "acct_acme" {
		t.Errorf("got %v", got)
	}
	status, got := w.acme.call(t, "POST", "/payments", payBody("p1"))
	if status != http.StatusCreated || got["status"] != "paid" || got["reference"] != "ch_1" {
		t.Errorf("got %d %v", status, got)
	}
	w.acme.pay(t, http.StatusConflict, "p1") // not twice

	w.bank.open("acct_acme", "sk_acme_2") // a new key in place of the old
	_, got = w.acme.call(t, "PUT", "/integration", connectBody("acct_acme", "sk_acme_2"))
	if got["version"] != 2.0 {
		t.Errorf("got %v", got)
	}
	w.acme.pay(t, http.StatusCreated, "p2")
	want := []charge{{"sk_acme_1", "acct_acme", "p1"}, {"sk_acme_2", "acct_acme", "p2"}}
	if got := w.bank.taken(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	_, got = w.acme.call(t, "GET", "/payments/p2", "")
	if got["status"] != "paid" || got["reference"] != "ch_2" || got["account"] != "acct_acme" {
		t.Errorf("got %v", got)
	}

	w.acme.want(t, http.StatusNoContent, "DELETE", "/integration", "")
	w.acme.want(t, http.StatusNotFound, "DELETE", "/integration", "")
	w.acme.want(t, http.StatusNotFound, "GET", "/integration", "")
	w.acme.pay(t, http.StatusNotFound, "p3")
}

// testOtherTenant wants one organisation to reach nothing of the other's.
func testOtherTenant(t *testing.T, w *world) {
	w.acme.connect(t, "acct_acme", "sk_acme_1")
	w.acme.pay(t, http.StatusCreated, "p1")

	w.globex.want(t, http.StatusNotFound, "GET", "/integration", "")
	w.globex.want(t, http.StatusNotFound, "DELETE", "/integration", "")
	w.globex.want(t, http.StatusNotFound, "GET", "/payments/p1", "")
	w.globex.pay(t, http.StatusNotFound, "p2")
	if n := w.rows(t, `SELECT count(*) FROM payments WHERE tenant_id = 'globex'`); n != 0 {
		t.Errorf("%d payments without a key", n)
	}
	if _, err := w.app.tenant("globex").secrets.Get(t.Context(), apiKey); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if len(w.bank.taken()) != 1 {
		t.Errorf("the bank was asked for %v", w.bank.taken())
	}
	for _, token := range []string{"", "x", w.acme.token + "x", hashToken(w.acme.token)} {
		caller{w, token}.want(t, http.StatusUnauthorized, "GET", "/integration", "")
		caller{w, token}.pay(t, http.StatusUnauthorized, "p3")
	}
	w.acme.pay(t, http.StatusCreated, "p4")
}

// testRollback makes a statement fail that comes after the secret was stored.
func testRollback(t *testing.T, w *world) {
	w.acme.connect(t, "acct_acme", "sk_acme_1")
	w.bank.open("acct_acme", "sk_globex_1")
	globex := w.app.tenant("globex").secrets

	w.globex.want(t, http.StatusConflict, "PUT", "/integration", connectBody("acct_acme", "sk_globex_1"))
	if _, err := globex.Describe(t.Context(), apiKey); !errors.Is(err, vault.ErrNotFound) {
		t.Errorf("the secret: got %v", err)
	}
	if n := w.rows(t, `SELECT count(*) FROM integrations WHERE tenant_id = 'globex'`); n != 0 {
		t.Error("the row is there")
	}

	w.globex.connect(t, "acct_globex", "sk_globex_2") // and now in place of something
	w.globex.want(t, http.StatusConflict, "PUT", "/integration", connectBody("acct_acme", "sk_globex_1"))
	if n := count(t, globex); n != 1 {
		t.Errorf("there are %d versions", n)
	}
	w.globex.pay(t, http.StatusCreated, "p1")
	if got, want := w.bank.taken(), (charge{"sk_globex_2", "acct_globex", "p1"}); !slices.Equal(got, []charge{want}) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func testRollbackOfDelete(t *testing.T, w *world) {
	w.acme.connect(t, "acct_acme", "sk_acme_1")
	failure := errors.New("a later statement failed")
	acme := w.app.tenant("acme")
	err := w.app.inTx(t.Context(), acme, func(ctx context.Context, tx *sql.Tx) error {
		if err := acme.secrets.Delete(ctx, apiKey); err != nil {
			return err
		}
		if _, err := acme.secrets.Get(ctx, apiKey); !errors.Is(err, vault.ErrNotFound) {
			t.Errorf("within: got %v", err)
		}
		return failure
	})
	if !errors.Is(err, failure) {
		t.Fatal(err)
	}
	w.acme.pay(t, http.StatusCreated, "p1")
}

// count returns how many versions an API key has.
func count(t *testing.T, s *vault.Scope) int {
	t.Helper()
	n := 0
	for _, err := range s.Versions(t.Context(), apiKey) {
		noError(t, err)
		n++
	}
	return n
}

// testProviderRefuses wants every answer to be written down, and the key to go to
// the provider only. The bank quotes the key when it refuses.
func testProviderRefuses(t *testing.T, w *world) {
	w.acme.connect(t, "acct_acme", "sk_acme_1")
	elsewhere := newBank(t)
	elsewhere.open("acct_acme", "sk_acme_1")
	for id, c := range map[string]struct {
		answer http.HandlerFunc
		status int
		kept   string
	}{
		"refused": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, r.Header.Get("Authorization"), http.StatusForbidden)
		}, http.StatusPaymentRequired, "declined"},
		"broken": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, r.Header.Get("Authorization"), http.StatusInternalServerError)
		}, http.StatusBadGateway, "unknown"},
		"redirected": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.url+"/charges", http.StatusTemporaryRedirect)
		}, http.StatusBadGateway, "unknown"},
		"quoting": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"id":%q}`, r.Header.Get("Authorization"))
		}, http.StatusCreated, "paid"},
		"gone": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, http.StatusBadGateway, "unknown"},
	} {
		w.bank.answer(c.answer)
		w.acme.pay(t, c.status, id)
		_, got := w.acme.call(t, "GET", "/payments/"+id, "")
		if got["status"] != c.kept || got["reference"] != nil {
			t.Errorf("%s: got %v", id, got)
		}
	}
	if got := elsewhere.taken(); len(got) != 0 {
		t.Errorf("the key went elsewhere: %v", got)
	}
}

// testCallerGoesAway wants a payment to be written down that nobody waits for.
func testCallerGoesAway(t *testing.T, w *world) {
	w.acme.connect(t, "acct_acme", "sk_acme_1")
	ctx, leave := context.WithCancel(t.Context())
	asked, away := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(away) })
	defer goOn()
	w.bank.answer(func(rw http.ResponseWriter, r *http.Request) {
		close(asked)
		<-away
		w.bank.answer(nil)
		w.bank.ServeHTTP(rw, r)
	})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if res, err := w.acme.do(ctx, "POST", "/payments", payBody("p1")); err == nil {
			t.Error("it waited")
			_ = res.Body.Close()
		}
	}()
	select {
	case <-asked:
	case <-gone:
		t.Fatal("the bank wasn't asked")
	}
	leave()
	<-gone
	goOn()
	for !strings.Contains(w.log.String(), `"pattern":"POST /payments"`) { // the request has ended
		time.Sleep(5 * time.Millisecond)
	}
	_, got := w.acme.call(t, "GET", "/payments/p1", "")
	if got["status"] != "paid" {
		t.Errorf("got %v", got)
	}
}

// testBadRequests also wants nothing of them to be repeated: see wantNoLeaks.
func testBadRequests(t *testing.T, w *world) {
	w.bank.open("acct_acme", "sk_typed_wrongly")
	for body, status := range map[string]int{
		``:                       http.StatusBadRequest,
		`"sk_typed_wrongly"`:     http.StatusBadRequest,
		`{"sk_typed_wrongly":`:   http.StatusBadRequest,
		`{"sk_typed_wrongly":1}`: http.StatusBadRequest,
		`{"account":"a","api_key":"k","tenant":"sk_typed_wrongly"}`: http.StatusBadRequest,
		`{"account":"a","api_key":["sk_typed_wrongly"]}`:            http.StatusBadRequest,
		`{"account":"a","api_key":"sk_typed_wrongly\n"}`:            http.StatusUnprocessableEntity,
		`{"account":"a b","api_key":"sk_typed_wrongly"}`:            http.StatusUnprocessableEntity,
		`{"account":"a"}`: http.StatusUnprocessableEntity,
		`{"account":"a","api_key":"` + strings.Repeat("sk_typed_wrongly", 9000) + `"}`: http.StatusBadRequest,
	} {
		w.acme.want(t, status, "PUT", "/integration", body)
	}
	w.acme.connect(t, "acct_acme", "sk_acme_1")
	for body, status := range map[string]int{
		`{"id":"p1","amount":"sk_typed_wrongly","currency":"EUR"}`: http.StatusBadRequest,
		`{"id":"p1","amount":0,"currency":"EUR"}`:                  http.StatusUnprocessableEntity,
		`{"id":"p 1","amount":1,"currency":"EUR"}`:                 http.StatusUnprocessableEntity,
		`{"id":"p1","amount":1,"currency":"sk_typed_wrongly"}`:     http.StatusUnprocessableEntity,
	} {
		w.acme.want(t, status, "POST", "/payments", body)
	}
	if n := w.rows(t, `SELECT count(*) FROM payments`); n != 0 || len(w.bank.taken()) != 0 {
		t.Errorf("%d payments", n)
	}
}

func testReady(t *testing.T, w *world) {
	for _, path := range []string{"/healthz", "/readyz"} {
		if got, _ := w.acme.callText(t.Context(), t, "GET", path, ""); got != http.StatusOK {
			t.Errorf("%s: got %d", path, got)
		}
	}
	noError(t, w.app.db.Close())
	w.acme.want(t, http.StatusServiceUnavailable, "GET", "/readyz", "")
	w.acme.want(t, http.StatusOK, "GET", "/healthz", "")
}
