package kek_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

func newRules(t testing.TB, def kek.Choice, rules ...kek.Rule) *kek.Rules {
	t.Helper()
	r, err := kek.NewRules(def, rules...)
	must(t, err)
	return r
}

func wantChoice(t testing.TB, r *kek.Rules, kc ctxMap, want string) {
	t.Helper()
	c, err := r.Choose(t.Context(), kc)
	if err != nil {
		t.Fatalf("Choose(%v): %v", kc, err)
	}
	if got := show(c); got != want {
		t.Fatalf("Choose(%v) = %s, want %s", kc, got, want)
	}
	if _, err := c.Normalize(kc); err != nil {
		t.Fatalf("Choose(%v) gave what Normalize refuses: %v", kc, err)
	}
}

func wantRefused(t testing.TB, r *kek.Rules, kc ctxMap) {
	t.Helper()
	c, err := r.Choose(t.Context(), kc)
	wantErr(t, err, kek.ErrPolicy)
	if c.KEKs != nil || c.Previous != nil {
		t.Fatalf("an error, and a choice: %s", show(c))
	}
	for k, v := range kc {
		if strings.Contains(strings.ReplaceAll(err.Error(), k, ""), v) {
			t.Fatalf("the error holds the value of %s: %v", k, err)
		}
	}
}

func TestRulesMostSpecificWins(t *testing.T) {
	r := newRules(t, anyOf("d:0"),
		kek.Rule{Match: ctxMap{"org": "A01"}, Choice: choice(0, "a:1")},
		kek.Rule{Match: ctxMap{"org": "A01", "region": "R-eu"}, Choice: allOf("a:1", "a:eu")},
		kek.Rule{Match: ctxMap{"region": "R-us"}, Choice: anyOf("us:1")},
		kek.Rule{Match: ctxMap{"plan": "P-gold"}, Choice: anyOf("us:1")},
		kek.Rule{Match: ctxMap{"tier": "T-both"}, Choice: anyOf("t:2", "t:1")},
		kek.Rule{Match: ctxMap{"same": "S-both"}, Choice: anyOf("t:1", "t:2")},
	)
	wantChoice(t, r, ctxMap{"org": "B02"}, "any-of d:0")
	wantChoice(t, r, ctxMap{"org": "A01"}, "any-of a:1")
	wantChoice(t, r, ctxMap{"org": "A01", "user": "u"}, "any-of a:1")
	wantChoice(t, r, ctxMap{"org": "A01", "region": "R-eu"}, "all-of a:1 a:eu")
	wantChoice(t, r, ctxMap{"org": "A01", "region": "R-eu", "user": "u"}, "all-of a:1 a:eu")
	wantChoice(t, r, ctxMap{"org": "B02", "region": "R-eu"}, "any-of d:0")
	wantChoice(t, r, ctxMap{"org": "a01"}, "any-of d:0") // bytes, not letters

	// Equally specific: an error when they differ, not when they agree.
	wantRefused(t, r, ctxMap{"org": "A01", "region": "R-us"})
	wantChoice(t, r, ctxMap{"region": "R-us", "plan": "P-gold"}, "any-of us:1")
	if c, err := r.Choose(t.Context(), ctxMap{"tier": "T-both", "same": "S-both"}); err != nil || len(c.KEKs) != 2 {
		t.Errorf("the same KEKs in another order: %s, %v", show(c), err)
	}
	// A more specific one settles it.
	must(t, r.Set(ctxMap{"org": "A01", "region": "R-us"}, anyOf("a:us")))
	wantChoice(t, r, ctxMap{"org": "A01", "region": "R-us"}, "any-of a:us")
}

func TestRulesOwnContextsGetTheDefault(t *testing.T) {
	r := newRules(t, anyOf("d:0"), kek.Rule{Match: ctxMap{"org": "A01"}, Choice: anyOf("a:1")})
	must(t, r.Require("org"))
	own := []ctxMap{
		{keyctx.ReservedSystem: "audit"},
		{keyctx.ReservedScope: keyctx.ScopeGlobal},
		{keyctx.ReservedScope: keyctx.ScopeGlobal, keyctx.ReservedIndex: "2"},
		{keyctx.ReservedSystem: "x", "org": "B02"},
	}
	for _, kc := range own {
		wantChoice(t, r, kc, "any-of d:0")
	}
	wantChoice(t, r, ctxMap{"org": "A01", keyctx.ReservedIndex: "2"}, "any-of a:1")
	must(t, r.SetDefault(anyOf("d:1")))
	wantChoice(t, r, own[0], "any-of d:1 | any-of d:0")
	must(t, r.SetDefault(kek.Choice{}))
	wantRefused(t, r, ctxMap{keyctx.ReservedSystem: "S-audit"})
}

func TestRulesWithoutDefault(t *testing.T) {
	var zero kek.Rules
	wantRefused(t, &zero, ctxMap{"org": "A01"})
	must(t, zero.Set(ctxMap{"org": "A01"}, anyOf("a:1")))
	wantChoice(t, &zero, ctxMap{"org": "A01"}, "any-of a:1")

	r := newRules(t, kek.Choice{})
	wantRefused(t, r, ctxMap{"org": "A01"})
	if c, ok := r.Default(); ok {
		t.Errorf("a default out of nothing: %s", show(c))
	}
	// Without a default there is none to fall to: no explicit call is needed.
	must(t, r.Set(ctxMap{"org": "A01"}, anyOf("a:1")))
	must(t, r.Remove(ctxMap{"org": "A01"}))
	wantRefused(t, r, ctxMap{"org": "A01"})
	// What the rule gave is still Previous when there is a choice again.
	must(t, r.SetDefault(anyOf("d:0")))
	wantChoice(t, r, ctxMap{"org": "A01"}, "any-of d:0 | any-of a:1")
	wantChoice(t, r, ctxMap{"org": "B02"}, "any-of d:0")
}

func TestRulesRequire(t *testing.T) {
	r := newRules(t, anyOf("d:0"),
		kek.Rule{Match: ctxMap{"org": "A01"}, Choice: anyOf("a:1")},
		kek.Rule{Match: ctxMap{"plan": "P-gold"}, Choice: anyOf("g:1")},
	)
	must(t, r.Require("org"))
	wantChoice(t, r, ctxMap{"org": "A01"}, "any-of a:1")
	wantChoice(t, r, ctxMap{"user": "u"}, "any-of d:0")
	wantRefused(t, r, ctxMap{"org": "B02"})
	wantRefused(t, r, ctxMap{"org": "B02", "user": "U-1"})
	// A rule that doesn't speak of the required key doesn't satisfy it.
	wantRefused(t, r, ctxMap{"org": "B02", "plan": "P-gold"})
	wantChoice(t, r, ctxMap{"plan": "P-gold"}, "any-of g:1")

	// While it was required, a customer had no choice, so none is Previous; but
	// the default was theirs before.
	must(t, r.Set(ctxMap{"org": "C03"}, anyOf("c:1")))
	wantChoice(t, r, ctxMap{"org": "C03"}, "any-of c:1 | any-of d:0")
	must(t, r.SetDefault(anyOf("d:1")))
	must(t, r.Set(ctxMap{"org": "D04"}, anyOf("d:4")))
	wantChoice(t, r, ctxMap{"org": "D04"}, "any-of d:4 | any-of d:0")

	// Removing a required customer's rule ends in a refusal, not at the default.
	must(t, r.Remove(ctxMap{"org": "A01"}))
	wantRefused(t, r, ctxMap{"org": "A01"})

	fresh := newRules(t, anyOf("d:0"))
	must(t, fresh.Require("org", "org", "region"))
	must(t, fresh.Require("org"))
	must(t, fresh.Require())
	must(t, fresh.Set(ctxMap{"org": "A01"}, anyOf("a:1")))
	wantRefused(t, fresh, ctxMap{"org": "A01", "region": "R-eu"})
	for _, key := range []string{"", "a b", "vault:scope", strings.Repeat("k", 129)} {
		wantErr(t, fresh.Require(key), keyctx.ErrInvalidContext)
	}
}

func TestRuleReplacedKeepsPreviousUntilDropped(t *testing.T) {
	a := ctxMap{"org": "A01"}
	r := newRules(t, anyOf("d:0"), kek.Rule{Match: a, Choice: anyOf("a:1")})
	wantChoice(t, r, a, "any-of a:1")
	must(t, r.Set(a, allOf("a:1", "a:2")))
	wantChoice(t, r, a, "all-of a:1 a:2 | any-of a:1")
	must(t, r.Set(a, anyOf("a:3")))
	wantChoice(t, r, a, "any-of a:3 | all-of a:1 a:2 | any-of a:1")
	must(t, r.Set(a, anyOf("a:1"))) // back again: what is current is not Previous
	wantChoice(t, r, a, "any-of a:1 | any-of a:3 | all-of a:1 a:2")
	wantChoice(t, r, ctxMap{"org": "B02"}, "any-of d:0")

	must(t, r.DropPrevious(a))
	wantChoice(t, r, a, "any-of a:1")
	wantChoice(t, r, ctxMap{"org": "A01", "user": "u"}, "any-of a:1")
	must(t, r.Set(a, anyOf("a:4"))) // the past begins anew
	wantChoice(t, r, a, "any-of a:4 | any-of a:1")
}

func TestRuleAddedKeepsDefaultAsPrevious(t *testing.T) {
	a, au := ctxMap{"org": "A01"}, ctxMap{"org": "A01", "user": "u"}
	r := newRules(t, anyOf("d:0"))
	must(t, r.Set(a, anyOf("a:1")))
	wantChoice(t, r, a, "any-of a:1 | any-of d:0")
	must(t, r.Set(au, anyOf("u:1")))
	wantChoice(t, r, au, "any-of u:1 | any-of a:1 | any-of d:0")
	wantChoice(t, r, a, "any-of a:1 | any-of d:0")
	wantChoice(t, r, ctxMap{"org": "B02"}, "any-of d:0")

	must(t, r.SetDefault(anyOf("d:1"))) // never A01's: it has had a rule since
	wantChoice(t, r, a, "any-of a:1 | any-of d:0")
	wantChoice(t, r, ctxMap{"org": "B02"}, "any-of d:1 | any-of d:0")

	must(t, r.DropPrevious(au)) // only what contains both pairs
	wantChoice(t, r, au, "any-of u:1")
	wantChoice(t, r, a, "any-of a:1 | any-of d:0")
	must(t, r.DropPrevious(a))
	wantChoice(t, r, a, "any-of a:1")
	wantChoice(t, r, ctxMap{"org": "B02"}, "any-of d:1 | any-of d:0")
	r.DropAllPrevious()
	wantChoice(t, r, ctxMap{"org": "B02"}, "any-of d:1")
}

func TestRemovingACustomersRuleToTheDefaultTakesAnExplicitCall(t *testing.T) {
	a, au := ctxMap{"org": "A01"}, ctxMap{"org": "A01", "user": "u"}
	r := newRules(t, anyOf("d:0"), kek.Rule{Match: a, Choice: anyOf("a:1")}, kek.Rule{Match: au, Choice: anyOf("u:1")})
	wantErr(t, r.Remove(a), kek.ErrFallsToDefault)
	wantChoice(t, r, a, "any-of a:1")

	must(t, r.Remove(au)) // its contexts still have A01's rule
	wantChoice(t, r, au, "any-of a:1 | any-of u:1")
	wantErr(t, r.Remove(au), kek.ErrNoRule)

	must(t, r.RemoveToDefault(a))
	wantChoice(t, r, a, "any-of d:0 | any-of a:1")
	wantChoice(t, r, au, "any-of d:0 | any-of a:1 | any-of u:1")
	wantErr(t, r.RemoveToDefault(a), kek.ErrNoRule)
	wantErr(t, r.Remove(ctxMap{"org": "Z"}), kek.ErrNoRule)

	must(t, r.DropPrevious(a))
	wantChoice(t, r, au, "any-of d:0")
	wantErr(t, r.Remove(a), kek.ErrNoRule)

	// A past rule is no rule to fall to.
	must(t, r.Set(au, anyOf("u:2")))
	wantErr(t, r.Remove(au), kek.ErrFallsToDefault)
}

func TestRulesSetAgainReplacesTheWrapper(t *testing.T) {
	a := ctxMap{"org": "A01"}
	r := newRules(t, kek.Choice{}, kek.Rule{Match: a, Choice: anyOf("a:1", "a:2")})
	must(t, r.Set(a, kek.Choice{KEKs: []kek.Wrapper{fake{uri: "a:2", extra: []string{"new"}}, named("a:1")}, Quorum: kek.AnyOf}))
	c, err := r.Choose(t.Context(), a)
	must(t, err)
	if show(c) != "any-of a:2 a:1" || c.KEKs[0].(fake).extra == nil {
		t.Errorf("got %s", show(c))
	}
}

func TestRulesRefuseBadInput(t *testing.T) {
	a := ctxMap{"org": "A01"}
	good := anyOf("a:1")
	r := newRules(t, anyOf("d:0"))
	var typedNil *pointer
	for name, c := range map[string]kek.Choice{
		"zero":         {},
		"nil pointer":  {KEKs: []kek.Wrapper{typedNil}},
		"all-of one":   allOf("a:1"),
		"URI twice":    anyOf("a:1", "a:1"),
		"own URI":      anyOf("vault-key:00"),
		"nine":         anyOf(uris(9)...),
		"with parent":  {Parent: ctxMap{"org": "A01"}},
		"empty parent": {KEKs: good.KEKs, Parent: ctxMap{}},
		"with history": with(anyOf("a:1"), anyOf("a:2")),
	} {
		t.Run(name, func(t *testing.T) {
			wantErr(t, r.Set(a, c), kek.ErrPolicy)
			_, err := kek.NewRules(good, kek.Rule{Match: a, Choice: c})
			wantErr(t, err, kek.ErrPolicy)
			if name != "zero" {
				wantErr(t, r.SetDefault(c), kek.ErrPolicy)
				_, err := kek.NewRules(c)
				wantErr(t, err, kek.ErrPolicy)
			}
		})
	}
	for name, match := range map[string]ctxMap{
		"nil": nil, "empty": {}, "reserved": {"vault:scope": "global"}, "namespace": {"org": "A01", "vault:namespace": "n"},
		"empty value": {"org": ""}, "bad key": {"o g": "x"},
	} {
		t.Run("match "+name, func(t *testing.T) {
			_, err := kek.NewRules(good, kek.Rule{Match: match, Choice: good})
			wantErr(t, err, keyctx.ErrInvalidContext)
			wantErr(t, r.Set(match, good), keyctx.ErrInvalidContext)
			wantErr(t, r.Remove(match), keyctx.ErrInvalidContext)
			wantErr(t, r.RemoveToDefault(match), keyctx.ErrInvalidContext)
			wantErr(t, r.DropPrevious(match), keyctx.ErrInvalidContext)
		})
	}
	_, err := kek.NewRules(good, kek.Rule{Match: a, Choice: good}, kek.Rule{Match: ctxMap{"org": "A01"}, Choice: good})
	wantErr(t, err, kek.ErrPolicy)
	_, err = r.Choose(t.Context(), nil)
	wantErr(t, err, keyctx.ErrInvalidContext)
	// Nothing of all that changed anything.
	wantChoice(t, r, a, "any-of d:0")
	if all := slices.Collect(r.All()); len(all) != 0 {
		t.Errorf("rules out of refused calls: %v", all)
	}
}

func TestRulesKeepNothingOfTheCallers(t *testing.T) {
	match, c := ctxMap{"org": "A01"}, anyOf("a:1", "a:2")
	r := newRules(t, kek.Choice{}, kek.Rule{Match: match, Choice: c})
	must(t, r.Set(ctxMap{"org": "A01", "user": "u"}, anyOf("u:1")))
	match["org"], c.KEKs[0] = "B02", named("evil:1")
	got, err := r.Choose(t.Context(), ctxMap{"org": "A01", "user": "u"})
	must(t, err)
	got.KEKs[0], got.Previous[0].KEKs[0] = named("evil:2"), named("evil:3")
	for rule := range r.All() {
		rule.Match["org"] = "C03"
		rule.Choice.KEKs[0] = named("evil:4")
	}
	wantChoice(t, r, ctxMap{"org": "A01", "user": "u"}, "any-of u:1 | any-of a:1 a:2")
	wantChoice(t, r, ctxMap{"org": "A01"}, "any-of a:1 a:2")
}

func TestRulesShow(t *testing.T) {
	r := newRules(t, anyOf("d:0"),
		kek.Rule{Match: ctxMap{"org": "B02"}, Choice: anyOf("b:1")},
		kek.Rule{Match: ctxMap{"org": "A01"}, Choice: anyOf("a:1")},
		kek.Rule{Match: ctxMap{"org": "A01", "user": "u"}, Choice: anyOf("u:1")},
	)
	must(t, r.Set(ctxMap{"org": "A01"}, anyOf("a:2")))
	must(t, r.RemoveToDefault(ctxMap{"org": "B02"}))
	var got []string
	for rule := range r.All() {
		got = append(got, fmt.Sprint(map[string]string(rule.Match), " ", show(rule.Choice)))
		must(t, r.Set(ctxMap{"loop": rule.Match["org"]}, anyOf("l:1"))) // the loop holds no lock
	}
	want := []string{"map[org:A01] any-of a:2 | any-of a:1", "map[org:A01 user:u] any-of u:1"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for range r.All() {
		break
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, r); strings.Contains(s, "A01") || s == "" {
			t.Errorf("%s prints a match: %s", verb, s)
		}
	}
	if c, ok := r.Default(); !ok || show(c) != "any-of d:0" {
		t.Errorf("Default: %s, %v", show(c), ok)
	}
}

func TestRulesHundredThousand(t *testing.T) {
	const n = 100_000
	rules := make([]kek.Rule, n)
	for i := range rules {
		rules[i] = kek.Rule{Match: ctxMap{"org": fmt.Sprint(i)}, Choice: anyOf(fmt.Sprintf("k:%d", i%1000))}
	}
	r := newRules(t, anyOf("d:0"), rules...)
	for i := 0; i < n; i += 997 {
		kc := ctxMap{"org": fmt.Sprint(i), "user": "u"}
		wantChoice(t, r, kc, fmt.Sprintf("any-of k:%d", i%1000))
		must(t, r.Set(ctxMap{"org": fmt.Sprint(i)}, anyOf("k:new")))
		must(t, r.DropPrevious(ctxMap{"org": fmt.Sprint(i)})) // costs no pass over the others
		wantChoice(t, r, kc, "any-of k:new")
	}
}

func BenchmarkRulesChoose(b *testing.B) {
	rules := make([]kek.Rule, 100_000)
	for i := range rules {
		rules[i] = kek.Rule{Match: ctxMap{"org": fmt.Sprint(i)}, Choice: anyOf("k:1")}
	}
	r := newRules(b, anyOf("d:0"), rules...)
	kc := ctxMap{"org": "4711", "user": "u"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Choose(b.Context(), kc); err != nil {
			b.Fatal(err)
		}
	}
}
