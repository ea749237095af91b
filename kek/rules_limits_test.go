package kek

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/embedvault/vault/keyctx"
)

func oneKEK(uri string) Choice { return Choice{KEKs: []Wrapper{named(uri)}} }

func wantLimit(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrRulesLimit) {
		t.Fatalf("got %v, want ErrRulesLimit", err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRulesPastChoicesLimit(t *testing.T) {
	a, au := keyctx.KeyContext{"org": "A"}, keyctx.KeyContext{"org": "A", "user": "u"}
	r, err := NewRules(oneKEK("d:0"), Rule{a, oneKEK("a:0")}, Rule{au, oneKEK("u:0")})
	ok(t, err)
	for i := range MaxPastChoices {
		ok(t, r.Set(a, oneKEK(fmt.Sprint("a:", i+1))))
	}
	before := r.now()
	wantLimit(t, r.Set(a, oneKEK("a:new")))
	wantLimit(t, r.RemoveToDefault(a))
	c, err := r.Choose(context.Background(), a)
	ok(t, err)
	if len(c.Previous) != MaxPastChoices || c.KEKs[0].URI() != fmt.Sprint("a:", MaxPastChoices) || r.now() != before {
		t.Errorf("a refused change changed something: %d past choices", len(c.Previous))
	}
	ok(t, r.Set(a, oneKEK(fmt.Sprint("a:", MaxPastChoices)))) // no change, so there is room
	ok(t, r.DropPrevious(a))
	ok(t, r.Set(a, oneKEK("a:new")))

	// A rule that is set again after it was removed ends nothing.
	for i := range MaxPastChoices - 2 {
		ok(t, r.Set(a, oneKEK(fmt.Sprint("a:", i))))
	}
	ok(t, r.RemoveToDefault(a))
	if n := r.index.find(a); n.past() != MaxPastChoices {
		t.Fatalf("%d past choices, want %d", n.past(), MaxPastChoices)
	}
	ok(t, r.Set(a, oneKEK("a:again")))
	wantLimit(t, r.RemoveToDefault(a))

	for i := range MaxPastChoices {
		ok(t, r.SetDefault(oneKEK(fmt.Sprint("d:", i+1))))
	}
	wantLimit(t, r.SetDefault(oneKEK("d:new")))
	wantLimit(t, r.SetDefault(Choice{}))
	r.DropAllPrevious()
	ok(t, r.SetDefault(Choice{}))
}

func TestRulesCountLimits(t *testing.T) {
	r := new(Rules)
	r.index.count = MaxRules - 1 // as if they were there
	ok(t, r.Set(keyctx.KeyContext{"org": "A"}, oneKEK("a:1")))
	wantLimit(t, r.Set(keyctx.KeyContext{"org": "B"}, oneKEK("a:1")))
	wantLimit(t, r.DropPrevious(keyctx.KeyContext{"org": "B"}))
	ok(t, r.Set(keyctx.KeyContext{"org": "A"}, oneKEK("a:2")))

	r = new(Rules)
	for i := range MaxRuleShapes {
		ok(t, r.Set(keyctx.KeyContext{fmt.Sprint("k", i): "v"}, oneKEK("a:1")))
	}
	wantLimit(t, r.Set(keyctx.KeyContext{"other": "v"}, oneKEK("a:1")))
	ok(t, r.Set(keyctx.KeyContext{"k0": "w"}, oneKEK("a:1")))
	// A shape that nothing uses any more makes room.
	ok(t, r.Remove(keyctx.KeyContext{"k1": "v"}))
	r.DropAllPrevious()
	ok(t, r.Set(keyctx.KeyContext{"other": "v"}, oneKEK("a:1")))

	for i := range MaxRequired {
		ok(t, r.Require(fmt.Sprint("k", i)))
	}
	wantLimit(t, r.Require("more"))
	ok(t, r.Require("k0"))

	r = &Rules{changes: maxGeneration - 1}
	wantLimit(t, r.Set(keyctx.KeyContext{"org": "A"}, oneKEK("a:1")))
	wantLimit(t, r.SetDefault(oneKEK("a:1")))
	wantLimit(t, r.Require("org"))
	if len(r.index.shapes) != 0 || r.index.count != 0 {
		t.Errorf("a refused Set left a node: %d", r.index.count)
	}
}

// What is dropped takes no memory: neither past choices nor floors that a wider
// one makes idle stay.
func TestRulesPrune(t *testing.T) {
	r, err := NewRules(oneKEK("d:0"))
	ok(t, err)
	for i := range 100 {
		kc := keyctx.KeyContext{"org": fmt.Sprint(i % 10), "user": fmt.Sprint(i)}
		ok(t, r.Set(kc, oneKEK("u:1")))
		ok(t, r.Set(kc, oneKEK("u:2")))
		ok(t, r.RemoveToDefault(kc))
		ok(t, r.DropPrevious(keyctx.KeyContext{"user": fmt.Sprint(i)}))
	}
	if r.index.count != 100 { // the floors by user
		t.Errorf("%d nodes, want 100", r.index.count)
	}
	ok(t, r.Set(keyctx.KeyContext{"org": "0", "user": "0"}, oneKEK("u:3")))
	ok(t, r.Set(keyctx.KeyContext{"org": "0", "user": "0"}, oneKEK("u:4")))
	if n := r.index.find(keyctx.KeyContext{"org": "0", "user": "0"}); n.past() != 1 {
		t.Errorf("%d past choices, want 1", n.past())
	}
	ok(t, r.DropPrevious(keyctx.KeyContext{"org": "0"})) // wider, by another way
	if n := r.index.find(keyctx.KeyContext{"org": "0", "user": "0"}); n.past() != 0 {
		t.Errorf("%d past choices, want 0", n.past())
	}
	r.DropAllPrevious()
	if r.index.count != 1 || len(r.index.shapes) != 1 {
		t.Errorf("%d nodes in %d shapes, want the one rule", r.index.count, len(r.index.shapes))
	}
}

func TestNamedIsNoKEK(t *testing.T) {
	if _, err := named("x:1").Wrap(context.Background(), make([]byte, 32), Binding{}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if _, err := named("x:1").Unwrap(context.Background(), []byte{1}, Binding{}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}
