package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// demoProvider stands in for a payment provider.
type demoProvider struct {
	*http.Server
	url string
}

// startDemoProvider starts one on a loopback port.
func startDemoProvider() (*demoProvider, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: http.HandlerFunc(demoCharge), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = srv.Serve(l) }() // until it is closed
	return &demoProvider{srv, "http://" + l.Addr().String()}, nil
}

// demoCharge takes every key that looks like one of its own.
func demoCharge(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer sk_demo_") {
		http.Error(w, "invalid API key", http.StatusUnauthorized)
		return
	}
	reply(w, http.StatusCreated, map[string]string{"id": "ch_" + rand.Text()})
}

// printTryIt makes tokens for two organisations and prints what to do with them. A
// real application issues tokens somewhere else, and prints none.
func (a *app) printTryIt(ctx context.Context, out io.Writer, url string) error {
	acme, err := a.newToken(ctx, "acme", "Acme Inc.")
	if err != nil {
		return err
	}
	globex, err := a.newToken(ctx, "globex", "Globex Corp.")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, `Listening on %[1]s. Try, in this order:

Acme connects its account; the API key goes into the vault, the rest into a table:
  curl -X PUT  %[1]s/integration -H 'Authorization: Bearer %[2]s' -d '{"account":"acct_acme","api_key":"sk_demo_1"}'

Acme pays with it:
  curl -X POST %[1]s/payments -H 'Authorization: Bearer %[2]s' -d '{"id":"p1","amount":1250,"currency":"EUR"}'

Globex has no key, and can't reach Acme's; nor can it connect Acme's account:
  curl -X POST %[1]s/payments -H 'Authorization: Bearer %[3]s' -d '{"id":"p1","amount":1250,"currency":"EUR"}'
  curl -X PUT  %[1]s/integration -H 'Authorization: Bearer %[3]s' -d '{"account":"acct_acme","api_key":"sk_demo_2"}'
  curl         %[1]s/payments/p1 -H 'Authorization: Bearer %[3]s'

Ctrl-C finishes what is under way, and stops.
`, url, acme, globex)
	return nil
}
