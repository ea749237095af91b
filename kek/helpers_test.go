package kek_test

import (
	"context"
	"errors"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

type ctxMap = keyctx.KeyContext

// errCalled is what a KEK gives that no test here may call.
var errCalled = errors.New("a KEK was called")

// fake is a KEK by name only. It can't be compared with ==: a driver's type may
// be like that too, and == would panic.
type fake struct {
	uri   string
	extra []string
}

func (f fake) URI() string { return f.uri }

func (fake) Wrap(context.Context, []byte, kek.Binding) ([]byte, error) { return nil, errCalled }

func (fake) Unwrap(context.Context, []byte, kek.Binding) ([]byte, error) { return nil, errCalled }

// pointer is a KEK whose methods panic on a nil pointer, as drivers' do.
type pointer struct{ fake }

func named(uri string) kek.Wrapper { return fake{uri: uri} }

func anyOf(uris ...string) kek.Choice { return choice(kek.AnyOf, uris...) }

func allOf(uris ...string) kek.Choice { return choice(kek.AllOf, uris...) }

func choice(q kek.Quorum, uris ...string) kek.Choice {
	c := kek.Choice{Quorum: q}
	for _, uri := range uris {
		c.KEKs = append(c.KEKs, named(uri))
	}
	return c
}

func with(c kek.Choice, previous ...kek.Choice) kek.Choice {
	c.Previous = previous
	return c
}

func wrappings(uris ...string) (ws []keyctx.Wrapping) {
	for _, uri := range uris {
		ws = append(ws, keyctx.Wrapping{URI: uri, Wrapped: []byte{1}})
	}
	return ws
}

// show gives a choice as text, to compare and to print.
func show(c kek.Choice) string {
	s := c.Quorum.String()
	for _, w := range c.KEKs {
		s += " " + w.URI()
	}
	for _, p := range c.Previous {
		s += " | " + show(p)
	}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}
