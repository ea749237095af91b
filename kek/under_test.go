package kek_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// told is a policy that gives everything one choice, and remembers what it was asked.
type told struct {
	choice kek.Choice
	err    error
	asked  []ctxMap
}

func (p *told) Choose(_ context.Context, kc ctxMap) (kek.Choice, error) {
	p.asked = append(p.asked, kc.Clone())
	return p.choice, p.err
}

func underOrg(t *testing.T, inner kek.Policy, keys ...string) *kek.Hierarchy {
	t.Helper()
	h, err := kek.Under(inner, keys...)
	must(t, err)
	return h
}

func TestUnderProjects(t *testing.T) {
	for name, c := range map[string]struct {
		keys   []string
		kc     ctxMap
		parent ctxMap // nil: the policy below
	}{
		"a user":                  {[]string{"org"}, ctxMap{"org": "a", "user": "u"}, ctxMap{"org": "a"}},
		"more pairs":              {[]string{"org"}, ctxMap{"org": "a", "user": "u", "region": "eu"}, ctxMap{"org": "a"}},
		"two keys":                {[]string{"team", "org"}, ctxMap{"org": "a", "team": "t", "user": "u"}, ctxMap{"org": "a", "team": "t"}},
		"the parent":              {[]string{"org"}, ctxMap{"org": "a"}, nil},
		"the parent of two keys":  {[]string{"org", "team"}, ctxMap{"org": "a", "team": "t"}, nil},
		"one key missing":         {[]string{"org", "team"}, ctxMap{"org": "a", "user": "u", "x": "y"}, nil},
		"without the key":         {[]string{"org"}, ctxMap{"user": "u", "region": "eu"}, nil},
		"the key in another case": {[]string{"org"}, ctxMap{"Org": "a", "user": "u"}, nil},
		"an index":                {[]string{"org"}, ctxMap{"org": "a", "user": "u", "vault:index": "2"}, ctxMap{"org": "a"}},
		"an index of the parent":  {[]string{"org"}, ctxMap{"org": "a", "vault:index": "2"}, nil},
		"across tenants":          {[]string{"org"}, ctxMap{"org": "a", "user": "u", "vault:scope": "global"}, nil},
		"the vault's own":         {[]string{"org"}, ctxMap{"vault:system": "check"}, nil},
		"the vault's own of many": {[]string{"org"}, ctxMap{"org": "a", "user": "u", "vault:system": "audit"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			below := &told{choice: anyOf("x:1")}
			h := underOrg(t, below, c.keys...)
			was := c.kc.Clone()
			got, err := h.Choose(t.Context(), c.kc)
			must(t, err)
			if !maps.Equal(got.Parent, c.parent) || (c.parent == nil) != (len(got.KEKs) == 1) {
				t.Fatalf("parent %v, %d KEKs", got.Parent, len(got.KEKs))
			}
			if !maps.Equal(c.kc, was) {
				t.Fatal("the context was changed")
			}
			if (c.parent == nil) != (len(below.asked) == 1) {
				t.Fatalf("the policy below was asked %d times", len(below.asked))
			}
			_, err = got.Normalize(c.kc)
			must(t, err)
		})
	}
}

func TestUnderRefuses(t *testing.T) {
	good := kek.Fixed(named("x:1"))
	many := strings.Split("a b c d e f g h i j", " ")
	for name, c := range map[string]struct {
		inner kek.Policy
		keys  []string
		want  error
	}{
		"no policy":      {nil, []string{"org"}, kek.ErrPolicy},
		"a nil pointer":  {(*kek.Rules)(nil), []string{"org"}, kek.ErrPolicy},
		"a nil function": {kek.PolicyFunc(nil), []string{"org"}, kek.ErrPolicy},
		"no key":         {good, nil, kek.ErrPolicy},
		"a key twice":    {good, []string{"org", "org"}, kek.ErrPolicy},
		"ten keys":       {good, many, kek.ErrPolicy},
		"an empty key":   {good, []string{""}, keyctx.ErrInvalidContext},
		"reserved":       {good, []string{"vault:index"}, keyctx.ErrInvalidContext},
		"a space":        {good, []string{"org id"}, keyctx.ErrInvalidContext},
	} {
		_, err := kek.Under(c.inner, c.keys...)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	underOrg(t, good, many[:9]...)
}

func TestUnderKeepsItsKeys(t *testing.T) {
	keys := []string{"org"}
	h := underOrg(t, kek.Fixed(named("x:1")), keys...)
	keys[0] = "user"
	got, err := h.Choose(t.Context(), ctxMap{"org": "a", "user": "u"})
	must(t, err)
	if got.Parent["org"] != "a" {
		t.Fatalf("parent %v", got.Parent)
	}
}

// Levels stand on one another, and what each adds as Previous adds up.
func TestUnderUnder(t *testing.T) {
	low := underOrg(t, kek.Fixed(named("x:1")), "org")
	high := underOrg(t, low, "org", "team")
	user := ctxMap{"org": "a", "team": "t", "user": "u"}
	for name, c := range map[string]struct {
		p    kek.Policy
		kc   ctxMap
		want string
	}{
		"user":            {high, user, "team"},
		"user of no team": {high, ctxMap{"org": "a", "user": "u"}, "org"},
		"team":            {high, ctxMap{"org": "a", "team": "t"}, "org"},
		"org":             {high, ctxMap{"org": "a"}, "x:1"},
		"moving in":       {high.MovingIn(), user, "team | org"},
		"moving out":      {high.MovingOut(), user, "org | team"},
		"both moving in":  {underOrg(t, low.MovingIn(), "org", "team").MovingIn(), user, "team | org | x:1"},
		"out, then in":    {underOrg(t, low.MovingOut(), "org", "team").MovingIn(), user, "team | x:1 | org"},
	} {
		got, err := c.p.Choose(t.Context(), c.kc)
		must(t, err)
		if s := showUnder(got); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
		_, err = got.Normalize(c.kc)
		must(t, err)
	}
}

func showUnder(c kek.Choice) string {
	s := ""
	switch {
	case c.Parent["team"] != "":
		s = "team"
	case c.Parent["org"] != "":
		s = "org"
	default:
		s = c.KEKs[0].URI()
	}
	for _, p := range c.Previous {
		s += " | " + showUnder(p)
	}
	return s
}

// While contexts are moving the policy below is asked for the child too, and what it
// says of an error is the error.
func TestUnderMoving(t *testing.T) {
	below := &told{choice: with(anyOf("x:1"), anyOf("x:0"))}
	h := underOrg(t, below, "org")
	user, org := ctxMap{"org": "a", "user": "u"}, ctxMap{"org": "a"}
	for name, c := range map[string]struct {
		p    kek.Policy
		kc   ctxMap
		want string
	}{
		"in":              {h.MovingIn(), user, "org | x:1 | x:0"},
		"out":             {h.MovingOut(), user, "x:1 | x:0 | org"},
		"in, the parent":  {h.MovingIn(), org, "x:1 | x:0"},
		"out, the parent": {h.MovingOut(), org, "x:1 | x:0"},
	} {
		got, err := c.p.Choose(t.Context(), c.kc)
		must(t, err)
		if s := showUnder(got); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
	if len(below.choice.Previous) != 1 {
		t.Fatal("the choice below was changed")
	}
	below.err = errCalled
	for _, p := range []kek.Policy{h.MovingIn(), h.MovingOut()} {
		for _, kc := range []ctxMap{user, org} {
			_, err := p.Choose(t.Context(), kc)
			wantErr(t, err, errCalled)
		}
	}
}

// Rules say whose KEK wraps the parents, as for any context.
func TestUnderRules(t *testing.T) {
	rules, err := kek.NewRules(anyOf("default:1"), kek.Rule{Match: ctxMap{"org": "a"}, Choice: anyOf("a:1")})
	must(t, err)
	must(t, rules.Require("org"))
	h := underOrg(t, rules, "org")
	for name, c := range map[string]struct {
		kc   ctxMap
		want string
	}{
		"user of a":       {ctxMap{"org": "a", "user": "u"}, "org"},
		"a":               {ctxMap{"org": "a"}, "a:1"},
		"nobody's":        {ctxMap{"user": "u"}, "default:1"},
		"the vault's own": {ctxMap{"vault:system": "check"}, "default:1"},
	} {
		got, err := h.Choose(t.Context(), c.kc)
		must(t, err)
		if s := showUnder(got); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
	_, err = h.Choose(t.Context(), ctxMap{"org": "nobody has made a rule for"})
	wantErr(t, err, kek.ErrPolicy)
}
