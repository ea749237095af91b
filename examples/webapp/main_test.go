package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage/sqlstore"
)

// TestTryIt starts the program, and does what it prints.
func TestTryIt(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	r, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, config{log: slog.New(slog.DiscardHandler)}, "127.0.0.1:0", out)
		_ = out.Close()
		ended <- err
	}()
	var printed strings.Builder
	for !strings.Contains(printed.String(), "Ctrl-C") {
		b := make([]byte, 4096)
		n, err := r.Read(b)
		if err != nil {
			t.Fatal(err, <-ended)
		}
		printed.Write(b[:n])
	}
	go func() { _, _ = io.Copy(io.Discard, r) }() // till it is closed

	line := regexp.MustCompile(`curl (?:-X (\S+))? +(\S+) -H 'Authorization: Bearer (\S+)'(?: -d '(.*)')?`)
	want := []int{http.StatusOK, http.StatusCreated, http.StatusNotFound, http.StatusConflict, http.StatusNotFound}
	lines := line.FindAllStringSubmatch(printed.String(), -1)
	if len(lines) != len(want) {
		t.Fatalf("%d lines in\n%s", len(lines), printed.String())
	}
	for i, l := range lines {
		req, err := http.NewRequestWithContext(ctx, l[1], l[2], strings.NewReader(l[4]))
		noError(t, err)
		req.Header.Set("Authorization", "Bearer "+l[3])
		res, err := http.DefaultClient.Do(req)
		noError(t, err)
		_ = res.Body.Close()
		if res.StatusCode != want[i] {
			t.Errorf("%s: got %d, want %d", l[0], res.StatusCode, want[i])
		}
	}
	stop()
	noError(t, <-ended)
}

// TestDatabaseWithoutKeyset wants no root key to be made that dies with the process.
func TestDatabaseWithoutKeyset(t *testing.T) {
	err := run(t.Context(), config{databaseURL: "postgres://127.0.0.1:1/none"}, "127.0.0.1:0", io.Discard)
	if err == nil || !strings.Contains(err.Error(), "VAULT_KEYSET") {
		t.Errorf("got %v", err)
	}
}

// TestShutdown wants a request under way to be answered after the program has been
// told to stop, and no other.
func TestShutdown(t *testing.T) {
	w := newWorld(t, "")
	w.acme.connect(t, "acct_acme", "sk_acme_1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	w.url = "http://" + l.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, w.app, l) }()

	asked, answer := make(chan struct{}), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(answer) })
	defer goOn()
	w.bank.answer(func(rw http.ResponseWriter, r *http.Request) {
		close(asked)
		<-answer
		w.bank.answer(nil)
		w.bank.ServeHTTP(rw, r)
	})
	paid := make(chan struct{})
	go func() {
		defer close(paid)
		w.acme.pay(t, http.StatusCreated, "p1")
	}()
	select {
	case <-asked:
	case <-paid:
		t.Fatal("the bank wasn't asked")
	}
	stop()
	for { // until nobody is let in any more
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break
		}
		_ = c.Close()
		time.Sleep(5 * time.Millisecond)
	}
	select {
	case err := <-served:
		t.Fatalf("it ended before the request: %v", err)
	default:
	}
	goOn()
	<-paid
	noError(t, <-served)
}

// TestSecretPrintsNothing wants no way of printing a secret to show it.
func TestSecretPrintsNothing(t *testing.T) {
	in := struct {
		Key  secret
		Keys map[string]secret
	}{"sk_acme", map[string]secret{"a": "sk_acme"}}
	js, err := json.Marshal(in)
	noError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "in", in, "key", in.Key)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "in", in, "key", in.Key)
	text := string(js) + log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text += fmt.Sprintf(verb, in) + fmt.Sprintf(verb, &in) + fmt.Sprintf(verb, in.Key)
	}
	if strings.Contains(text, "sk_acme") || strings.Contains(text, fmt.Sprintf("%x", "sk_acme")) {
		t.Error(text)
	}
}

// TestProblems wants the vault's errors to be told apart, and none to be repeated.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{
		{vault.ErrNotFound, http.StatusNotFound},
		{vault.ErrKEKDenied, http.StatusForbidden},
		{vault.ErrKEKUnavailable, http.StatusServiceUnavailable},
		{vault.ErrStoreUnavailable, http.StatusServiceUnavailable},
		{sqlstore.ErrRetry, http.StatusServiceUnavailable},
		{vault.ErrDecrypt, http.StatusInternalServerError},
		{vault.ErrKEKCorrupt, http.StatusInternalServerError},
		{vault.ErrKeyNotFound, http.StatusInternalServerError},
		{errBody, http.StatusBadRequest},
	} {
		p := problemOf(fmt.Errorf("reading secret_table: %w", c.err))
		if p.status != c.status || strings.Contains(p.text, "secret_table") {
			t.Errorf("%v: got %d %s", c.err, p.status, p.text)
		}
	}
}
