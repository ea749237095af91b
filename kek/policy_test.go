package kek_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

func uris(n int) (us []string) {
	for i := range n {
		us = append(us, fmt.Sprintf("fake:%d", i))
	}
	return us
}

func TestNormalizeAccepts(t *testing.T) {
	kc := ctxMap{"org": "a", "user": "u"}
	for name, tc := range map[string]struct {
		in   kek.Choice
		want string
	}{
		"one, quorum left out": {choice(0, "x:1"), "any-of x:1"},
		"one, any-of":          {anyOf("x:1"), "any-of x:1"},
		"eight, any-of":        {anyOf(uris(8)...), "any-of " + strings.Join(uris(8), " ")},
		"two, all-of":          {allOf("x:1", "x:2"), "all-of x:1 x:2"},
		"order is kept":        {anyOf("x:2", "x:1"), "any-of x:2 x:1"},
		"longest URI":          {anyOf(strings.Repeat("u", keyctx.MaxURILen)), "any-of " + strings.Repeat("u", keyctx.MaxURILen)},
		"previous":             {with(anyOf("x:1"), choice(0, "x:2"), allOf("x:1", "x:3")), "any-of x:1 | any-of x:2 | all-of x:1 x:3"},
		"previous's previous":  {with(anyOf("x:1"), with(anyOf("x:2"), anyOf("x:3"))), "any-of x:1 | any-of x:2"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tc.in.Normalize(kc)
			must(t, err)
			if show(got) != tc.want {
				t.Errorf("got %s, want %s", show(got), tc.want)
			}
		})
	}
	t.Run("parent", func(t *testing.T) {
		got, err := kek.Choice{Parent: ctxMap{"org": "a"}, Previous: []kek.Choice{anyOf("x:1")}}.Normalize(kc)
		must(t, err)
		if got.Parent["org"] != "a" || len(got.Previous) != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestNormalizeRefuses(t *testing.T) {
	kc := ctxMap{"org": "a", "user": "u"}
	var typedNil *pointer
	bad := map[string]kek.Choice{
		"nothing":                  {},
		"no KEKs":                  {Quorum: kek.AnyOf},
		"nine":                     anyOf(uris(9)...),
		"two, quorum left out":     choice(0, "x:1", "x:2"),
		"unknown quorum":           choice(3, "x:1"),
		"all-of with one":          allOf("x:1"),
		"nil KEK":                  {KEKs: []kek.Wrapper{nil}, Quorum: kek.AnyOf},
		"second KEK nil":           {KEKs: []kek.Wrapper{named("x:1"), nil}, Quorum: kek.AnyOf},
		"nil pointer":              {KEKs: []kek.Wrapper{typedNil}, Quorum: kek.AnyOf},
		"empty URI":                anyOf(""),
		"URI too long":             anyOf(strings.Repeat("u", keyctx.MaxURILen+1)),
		"URI with a space":         anyOf("x: 1"),
		"URI with a line break":    anyOf("x:1\n"),
		"URI not ASCII":            anyOf("x:é"),
		"the vault's own URI":      anyOf("vault-key:" + strings.Repeat("0", 64)),
		"URI twice":                anyOf("x:1", "x:2", "x:1"),
		"KEKs and Parent":          {KEKs: []kek.Wrapper{named("x:1")}, Quorum: kek.AnyOf, Parent: ctxMap{"org": "a"}},
		"Parent empty":             {Parent: ctxMap{}},
		"Parent is the context":    {Parent: kc},
		"Parent of another value":  {Parent: ctxMap{"org": "b"}},
		"Parent with another key":  {Parent: ctxMap{"region": "eu"}},
		"Previous has no KEKs":     with(anyOf("x:1"), kek.Choice{}),
		"Previous: nil pointer":    with(anyOf("x:1"), kek.Choice{KEKs: []kek.Wrapper{typedNil}}),
		"Previous: bad Parent":     with(anyOf("x:1"), kek.Choice{Parent: ctxMap{"org": "b"}}),
		"Previous: KEKs, Parent":   with(anyOf("x:1"), kek.Choice{KEKs: anyOf("x:2").KEKs, Parent: ctxMap{"org": "a"}}),
		"Previous: all-of one":     with(anyOf("x:1"), allOf("x:2")),
		"Parent, Previous invalid": {Parent: ctxMap{"org": "a"}, Previous: []kek.Choice{{}}},
	}
	for name, c := range bad {
		t.Run(name, func(t *testing.T) {
			_, err := c.Normalize(kc)
			wantErr(t, err, kek.ErrPolicy)
		})
	}
}

func TestNormalizeLeavesThePolicysChoiceAlone(t *testing.T) {
	c := with(choice(0, "x:1"), with(choice(0, "x:2"), anyOf("x:3")))
	got, err := c.Normalize(ctxMap{"org": "a"})
	must(t, err)
	got.Previous[0] = anyOf("x:9")
	if c.Quorum != 0 || c.Previous[0].Quorum != 0 || len(c.Previous[0].Previous) != 1 || c.Previous[0].KEKs[0].URI() != "x:2" {
		t.Errorf("Normalize changed its receiver: %s", show(c))
	}
}

func TestMatch(t *testing.T) {
	any3 := anyOf("x:1", "x:2", "x:3")
	all2 := allOf("x:1", "x:2")
	history := with(anyOf("x:1"), allOf("x:2", "x:3"), anyOf("x:4", "x:5"))
	for name, tc := range map[string]struct {
		choice kek.Choice
		quorum kek.Quorum
		uris   []string
		ok     bool
	}{
		"any-of, all of them":              {any3, kek.AnyOf, []string{"x:1", "x:2", "x:3"}, true},
		"any-of, a subset":                 {any3, kek.AnyOf, []string{"x:3", "x:1"}, true},
		"any-of, one":                      {any3, kek.AnyOf, []string{"x:2"}, true},
		"any-of, none":                     {any3, kek.AnyOf, nil, false},
		"any-of, one foreign":              {any3, kek.AnyOf, []string{"x:1", "y:1"}, false},
		"any-of, only foreign":             {any3, kek.AnyOf, []string{"y:1"}, false},
		"any-of, one twice":                {any3, kek.AnyOf, []string{"x:1", "x:1"}, false},
		"any-of, prefix of a URI":          {any3, kek.AnyOf, []string{"x:"}, false},
		"any-of, other case":               {any3, kek.AnyOf, []string{"X:1"}, false},
		"any-of, record says all-of":       {any3, kek.AllOf, []string{"x:1", "x:2", "x:3"}, false},
		"any-of, record says nothing":      {any3, 0, []string{"x:1"}, false},
		"all-of, exactly":                  {all2, kek.AllOf, []string{"x:1", "x:2"}, true},
		"all-of, another order":            {all2, kek.AllOf, []string{"x:2", "x:1"}, true},
		"all-of, one missing":              {all2, kek.AllOf, []string{"x:1"}, false},
		"all-of, one too many":             {all2, kek.AllOf, []string{"x:1", "x:2", "x:3"}, false},
		"all-of, the same share twice":     {all2, kek.AllOf, []string{"x:1", "x:1"}, false},
		"all-of, one foreign":              {all2, kek.AllOf, []string{"x:1", "y:1"}, false},
		"all-of, lowered to any-of":        {all2, kek.AnyOf, []string{"x:1"}, false},
		"all-of, lowered, both":            {all2, kek.AnyOf, []string{"x:1", "x:2"}, false},
		"previous, all-of":                 {history, kek.AllOf, []string{"x:2", "x:3"}, true},
		"previous, all-of lowered":         {history, kek.AnyOf, []string{"x:2"}, false},
		"previous, all-of, one missing":    {history, kek.AllOf, []string{"x:2"}, false},
		"previous, any-of subset":          {history, kek.AnyOf, []string{"x:5"}, true},
		"now and previous mixed":           {history, kek.AnyOf, []string{"x:1", "x:4"}, false},
		"two previous mixed":               {history, kek.AllOf, []string{"x:3", "x:4"}, false},
		"a choice with a parent":           {kek.Choice{Parent: ctxMap{"org": "a"}}, kek.AnyOf, []string{"vault-key:00"}, false},
		"a choice with a parent, nothing":  {kek.Choice{Parent: ctxMap{"org": "a"}}, 0, nil, false},
		"a previous choice with a parent":  {with(anyOf("x:1"), kek.Choice{Parent: ctxMap{"org": "a"}}), kek.AnyOf, []string{"x:2"}, false},
		"nine wrappings, more than chosen": {anyOf(uris(8)...), kek.AnyOf, uris(9), false},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tc.choice.Normalize(ctxMap{"org": "a", "user": "u"})
			must(t, err)
			ws, err := c.Match(tc.quorum, wrappings(tc.uris...))
			if !tc.ok {
				wantErr(t, err, kek.ErrPolicy)
				if ws != nil {
					t.Fatalf("an error, and KEKs: %v", ws)
				}
				return
			}
			must(t, err)
			for i, w := range ws {
				if w.URI() != tc.uris[i] {
					t.Errorf("wrapping %d of %s is for %s", i, tc.uris[i], w.URI())
				}
			}
			if len(ws) != len(tc.uris) {
				t.Errorf("got %d KEKs for %d wrappings", len(ws), len(tc.uris))
			}
		})
	}
}

// The URIs in the error come from data: whatever their number and length, the
// error stays short, and control characters don't reach a log as they are.
func TestMatchErrorIsBounded(t *testing.T) {
	hostile := slices.Repeat([]string{strings.Repeat("\n\x1b[31m", 10_000)}, 100_000)
	_, err := anyOf("x:1").Match(kek.AnyOf, wrappings(hostile...))
	wantErr(t, err, kek.ErrPolicy)
	if s := err.Error(); len(s) > 8<<10 || strings.ContainsAny(s, "\n\x1b") {
		t.Errorf("the error has %d bytes, or control characters", len(s))
	}
}

func TestClass(t *testing.T) {
	sdk := errors.New("sdk")
	for name, tc := range map[string]struct{ err, want error }{
		"none":              {nil, nil},
		"denied":            {fmt.Errorf("x: %w: %w", kek.ErrDenied, sdk), kek.ErrDenied},
		"unavailable":       {fmt.Errorf("x: %w: %w", kek.ErrUnavailable, sdk), kek.ErrUnavailable},
		"corrupt":           {fmt.Errorf("x: %w: %w", kek.ErrCorrupt, sdk), kek.ErrCorrupt},
		"no class":          {sdk, kek.ErrUnavailable},
		"cancelled":         {context.Canceled, kek.ErrUnavailable},
		"denied beats both": {errors.Join(kek.ErrUnavailable, kek.ErrCorrupt, kek.ErrDenied), kek.ErrDenied},
	} {
		if got := kek.Class(tc.err); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

func TestBindingBytes(t *testing.T) {
	b := kek.Binding{Purpose: keyctx.PurposeWrapping, Version: 0x01020304, Context: ctxMap{"org": "a"}}
	for i := range b.KeyID {
		b.KeyID[i], b.ContextHash[i] = byte(i), byte(0x80+i)
	}
	const want = "7661756c742f76312f77726170" + // vault/v1/wrap
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" +
		"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f" +
		"03" + "01020304"
	if got := hex.EncodeToString(b.AppendBytes(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := b.AppendBytes([]byte("head")); string(got[:4]) != "head" || hex.EncodeToString(got[4:]) != want {
		t.Errorf("AppendBytes lost what was there: %x", got)
	}
}

func TestFixedAndPolicyFunc(t *testing.T) {
	c, err := kek.Fixed(named("x:1")).Choose(t.Context(), ctxMap{"org": "a"})
	must(t, err)
	if c, err = c.Normalize(ctxMap{"org": "a"}); err != nil || show(c) != "any-of x:1" {
		t.Errorf("got %s, %v", show(c), err)
	}
	own := errors.New("the application's own")
	_, err = kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) { return kek.Choice{}, own }).Choose(t.Context(), nil)
	wantErr(t, err, own)
}
