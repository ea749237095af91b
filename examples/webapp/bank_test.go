package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// bank is a payment provider. It refuses a key that isn't the account's, and quotes
// it then, as some do.
type bank struct {
	url string

	mu       sync.Mutex // guards what is below
	accounts map[string]string
	keys     []string // all there have been
	charges  []charge
	instead  http.HandlerFunc // answers in its place, if set
}

// charge is a request that the bank took.
type charge struct{ key, account, id string }

func newBank(t *testing.T) *bank {
	b := &bank{accounts: map[string]string{}}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// open opens an account with a key to it.
func (b *bank) open(account, key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accounts[key] = account
	b.keys = append(b.keys, key)
}

// answer makes the bank answer otherwise; nil ends that.
func (b *bank) answer(instead http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.instead = instead
}

// taken returns the charges so far.
func (b *bank) taken() []charge {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]charge(nil), b.charges...)
}

// ServeHTTP implements [http.Handler].
func (b *bank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	instead := b.instead
	b.mu.Unlock()
	if instead != nil {
		instead(w, r)
		return
	}
	var body struct {
		Account  string
		Amount   int64
		Currency string
	}
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	err := json.NewDecoder(r.Body).Decode(&body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || r.URL.Path != "/charges" || b.accounts[key] == "" || b.accounts[key] != body.Account {
		http.Error(w, "invalid API key "+key, http.StatusUnauthorized)
		return
	}
	b.charges = append(b.charges, charge{key, body.Account, r.Header.Get("Idempotency-Key")})
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"id":"ch_%d"}`, len(b.charges))
}
