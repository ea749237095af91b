package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
)

// suite is what is tested on every database.
var suite = map[string]func(*testing.T, *world){
	"store and use":          testStoreAndUse,
	"other tenant":           testOtherTenant,
	"rollback":               testRollback,
	"rollback of a delete":   testRollbackOfDelete,
	"concurrent tenants":     testConcurrentTenants,
	"one key replaced often": testReplacedOften,
	"rotate while serving":   testRotateWhileServing,
	"restart":                testRestart,
	"two processes":          testTwoProcesses,
	"provider refuses":       testProviderRefuses,
	"caller goes away":       testCallerGoesAway,
	"bad requests":           testBadRequests,
	"ready":                  testReady,
}

func TestSQLite(t *testing.T) {
	for name, test := range suite {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, "")) })
	}
}

func TestPostgreSQL(t *testing.T) {
	server := pgserver.Start(t, pgserver.Options{})
	for name, test := range suite {
		t.Run(name, func(t *testing.T) {
			url, err := server.NewDatabase(t.Context())
			noError(t, err)
			test(t, newWorld(t, url))
		})
	}
}

// world is the application with its two organisations and a payment provider. When
// the test ends, no API key and no token may stand in the log or in an answer.
type world struct {
	cfg          config
	bank         *bank
	app          *app
	url          string
	acme, globex caller
	log, answers lockedBuffer
	stop         func() // the application, as the process ends
}

func newWorld(t *testing.T, databaseURL string) *world {
	t.Helper()
	w := &world{bank: newBank(t)}
	w.cfg = config{
		databaseURL: databaseURL,
		dir:         t.TempDir(),
		provider:    w.bank.url,
		log:         slog.New(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	t.Cleanup(func() { w.wantNoLeaks(t) })
	w.start(t)
	var err error
	w.acme.token, err = w.app.newToken(t.Context(), "acme", "Acme Inc.")
	noError(t, err)
	w.globex.token, err = w.app.newToken(t.Context(), "globex", "Globex Corp.")
	noError(t, err)
	w.acme.world, w.globex.world = w, w
	return w
}

// start starts the application, with nothing in its memory.
func (w *world) start(t *testing.T) {
	t.Helper()
	var err error
	w.app, err = newApp(t.Context(), w.cfg)
	noError(t, err)
	web := httptest.NewServer(w.app.routes())
	w.url = web.URL
	w.stop = sync.OnceFunc(func() {
		web.Close()
		_ = w.app.close()
	})
	t.Cleanup(w.stop)
}

// wantNoLeaks looks for what must not be written anywhere.
func (w *world) wantNoLeaks(t *testing.T) {
	w.bank.mu.Lock()
	defer w.bank.mu.Unlock()
	for _, s := range append(w.bank.keys, w.acme.token, w.globex.token) {
		for where, text := range map[string]string{"log": w.log.String(), "answers": w.answers.String()} {
			if strings.Contains(text, s) {
				t.Errorf("the %s have %s:\n%s", where, s, text)
			}
		}
	}
	if !strings.Contains(w.log.String(), `"pattern"`) {
		t.Error("nothing was logged")
	}
}

// caller is an organisation's own program.
type caller struct {
	world *world
	token string
}

// call makes a request and returns the answer's status and JSON.
func (c caller) call(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	status, text := c.callText(t.Context(), t, method, path, body)
	var answer map[string]any
	if text != "" {
		noError(t, json.Unmarshal([]byte(text), &answer))
	}
	return status, answer
}

func (c caller) callText(ctx context.Context, t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	res, err := c.do(ctx, method, path, body)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return 0, ""
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	_, _ = c.world.answers.Write(text)
	return res.StatusCode, string(text)
}

func (c caller) do(ctx context.Context, method, path, body string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.world.url+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	return http.DefaultClient.Do(r)
}

// want makes a request that must have this status, and returns the answer. It may
// be called on any goroutine.
func (c caller) want(t *testing.T, status int, method, path, body string) string {
	t.Helper()
	got, text := c.callText(t.Context(), t, method, path, body)
	if got != status {
		t.Errorf("%s %s: got %d %s, want %d", method, path, got, text, status)
	}
	return text
}

// connect stores the API key of an account, which the bank then knows.
func (c caller) connect(t *testing.T, account, key string) {
	t.Helper()
	c.world.bank.open(account, key)
	c.want(t, http.StatusOK, "PUT", "/integration", connectBody(account, key))
}

func (c caller) pay(t *testing.T, status int, id string) {
	t.Helper()
	c.want(t, status, "POST", "/payments", payBody(id))
}

func connectBody(account, key string) string {
	return `{"account":"` + account + `","api_key":"` + key + `"}`
}

func payBody(id string) string { return `{"id":"` + id + `","amount":1250,"currency":"EUR"}` }

// rows counts rows of the application's.
func (w *world) rows(t *testing.T, query string, args ...any) int {
	t.Helper()
	var n int
	noError(t, w.app.db.QueryRowContext(t.Context(), query, args...).Scan(&n))
	return n
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
