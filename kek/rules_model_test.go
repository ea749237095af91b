package kek_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"pgregory.net/rapid"
)

// rulesModel is Rules as simple as can be: it keeps every state there ever was.
type rulesModel struct {
	states []rulesState // the last is the present
	floors []modelFloor
}

type rulesState struct {
	rules    map[string]kek.Rule // by the match's canonical encoding
	def      *kek.Choice
	required map[string]bool
}

type modelFloor struct {
	match ctxMap // nil: everything
	state int
}

var errModel = errors.New("refused by the model")

func canonical(kc ctxMap) string {
	b, err := kc.AppendCanonical(nil)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (m *rulesModel) now() rulesState { return m.states[len(m.states)-1] }

// next appends a copy of the present state for a change.
func (m *rulesModel) next() *rulesState {
	s := m.now()
	m.states = append(m.states, rulesState{rules: maps.Clone(s.rules), def: s.def, required: maps.Clone(s.required)})
	return &m.states[len(m.states)-1]
}

func (s rulesState) matching(kc ctxMap) (rs []kek.Rule) {
	for _, r := range s.rules {
		if kc.Contains(r.Match) {
			rs = append(rs, r)
		}
	}
	return rs
}

func (s rulesState) choose(kc ctxMap) (kek.Choice, error) {
	if kc.IsOwn() {
		if s.def == nil {
			return kek.Choice{}, errModel
		}
		return *s.def, nil
	}
	rs := s.matching(kc)
	for k := range s.required {
		_, has := kc[k]
		if has && !slices.ContainsFunc(rs, func(r kek.Rule) bool { _, ok := r.Match[k]; return ok }) {
			return kek.Choice{}, errModel
		}
	}
	if len(rs) == 0 {
		if s.def == nil {
			return kek.Choice{}, errModel
		}
		return *s.def, nil
	}
	most := 0
	for _, r := range rs {
		most = max(most, len(r.Match))
	}
	var best *kek.Choice
	for _, r := range rs {
		if len(r.Match) != most {
			continue
		}
		if best != nil && identity(*best) != identity(r.Choice) {
			return kek.Choice{}, errModel
		}
		best = &r.Choice
	}
	return *best, nil
}

// identity is equal for the same quorum and set of URIs.
func identity(c kek.Choice) string {
	c.Previous = nil
	c.KEKs = slices.Clone(c.KEKs)
	slices.SortFunc(c.KEKs, func(a, b kek.Wrapper) int { return compareStrings(a.URI(), b.URI()) })
	return show(c)
}

func compareStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// choose gives the identities of today's choice and of all earlier ones, the
// newest first.
func (m *rulesModel) choose(kc ctxMap) ([]string, error) {
	c, err := m.now().choose(kc)
	if err != nil {
		return nil, err
	}
	floor := 0
	for _, f := range m.floors {
		if f.match == nil || kc.Contains(f.match) && !kc.IsOwn() {
			floor = max(floor, f.state)
		}
	}
	ids := []string{identity(c)}
	for i := len(m.states) - 1; i >= floor; i-- {
		if p, err := m.states[i].choose(kc); err == nil && !slices.Contains(ids, identity(p)) {
			ids = append(ids, identity(p))
		}
	}
	return ids, nil
}

// modelContexts are all contexts over three keys with two values and an absent
// one, some with another pair, and one of the vault's own.
func modelContexts() (kcs []ctxMap) {
	values := []string{"", "a", "b"}
	for _, org := range values {
		for _, user := range values {
			for _, region := range values {
				kc := ctxMap{"more": "x"}
				for k, v := range map[string]string{"org": org, "user": user, "region": region} {
					if v != "" {
						kc[k] = v
					}
				}
				kcs = append(kcs, kc)
			}
		}
	}
	return append(kcs, ctxMap{"org": "a"}, ctxMap{keyctx.ReservedSystem: "x", "org": "a"})
}

func drawMatch(t *rapid.T) ctxMap {
	m := ctxMap{}
	for _, k := range []string{"org", "user", "region"} {
		if v := rapid.SampledFrom([]string{"", "a", "a", "b"}).Draw(t, k); v != "" {
			m[k] = v
		}
	}
	if len(m) == 0 {
		m["org"] = "b"
	}
	return m
}

func drawChoice(t *rapid.T) kek.Choice {
	us := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"k:1", "k:2", "k:3"}), 1, 2, rapid.ID).Draw(t, "URIs")
	if len(us) == 2 && rapid.Bool().Draw(t, "all-of") {
		return allOf(us...)
	}
	return anyOf(us...)
}

func TestRulesAgainstModel(t *testing.T) {
	contexts := modelContexts()
	rapid.Check(t, func(t *rapid.T) {
		def := drawChoice(t)
		r, err := kek.NewRules(def)
		if err != nil {
			t.Fatal(err)
		}
		m := &rulesModel{states: []rulesState{{rules: map[string]kek.Rule{}, def: &def, required: map[string]bool{}}}}
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				match, c := drawMatch(t), drawChoice(t)
				if err := r.Set(match, c); err != nil {
					t.Fatal(err)
				}
				m.next().rules[canonical(match)] = kek.Rule{Match: match, Choice: c}
			},
			"default": func(t *rapid.T) {
				c := drawChoice(t)
				next := m.next()
				if next.def = &c; rapid.IntRange(0, 3).Draw(t, "none") == 0 {
					c, next.def = kek.Choice{}, nil
				}
				if err := r.SetDefault(c); err != nil {
					t.Fatal(err)
				}
			},
			"remove": func(t *rapid.T) {
				match := drawMatch(t)
				toDefault := rapid.Bool().Draw(t, "to default")
				removeInBoth(t, r, m, match, toDefault)
			},
			"require": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "really") != 0 {
					return // rarely, since it can't be taken back
				}
				k := rapid.SampledFrom([]string{"org", "user"}).Draw(t, "key")
				if err := r.Require(k); err != nil {
					t.Fatal(err)
				}
				m.next().required[k] = true
			},
			"drop": func(t *rapid.T) {
				match := drawMatch(t)
				if err := r.DropPrevious(match); err != nil {
					t.Fatal(err)
				}
				m.floors = append(m.floors, modelFloor{match: match, state: len(m.states) - 1})
			},
			"drop all": func(t *rapid.T) {
				r.DropAllPrevious()
				m.floors = append(m.floors, modelFloor{state: len(m.states) - 1})
			},
			"through JSON": func(t *rapid.T) { r = throughJSON(t, r) },
			"": func(t *rapid.T) {
				for _, kc := range contexts {
					compareWithModel(t, r, m, kc)
				}
			},
		})
	})
}

func removeInBoth(t *rapid.T, r *kek.Rules, m *rulesModel, match ctxMap, toDefault bool) {
	_, exists := m.now().rules[canonical(match)]
	after := rulesState{rules: maps.Clone(m.now().rules), def: m.now().def, required: m.now().required}
	delete(after.rules, canonical(match))
	_, chosen := after.choose(match)
	falls := chosen == nil && len(after.matching(match)) == 0

	var want error
	switch {
	case !exists:
		want = kek.ErrNoRule
	case falls && !toDefault:
		want = kek.ErrFallsToDefault
	}
	remove := r.Remove
	if toDefault {
		remove = r.RemoveToDefault
	}
	if err := remove(match); !errors.Is(err, want) || (want == nil) != (err == nil) {
		t.Fatalf("remove %v: got %v, want %v", match, err, want)
	}
	if want == nil {
		delete(m.next().rules, canonical(match))
	}
}

func compareWithModel(t *rapid.T, r *kek.Rules, m *rulesModel, kc ctxMap) {
	want, wantErr := m.choose(kc)
	c, err := r.Choose(context.Background(), kc)
	if wantErr != nil {
		if !errors.Is(err, kek.ErrPolicy) {
			t.Fatalf("Choose(%v): got %s, %v, want it refused", kc, show(c), err)
		}
		return
	}
	if err != nil {
		t.Fatalf("Choose(%v): got %v, want %q", kc, err, want)
	}
	got := []string{identity(c)}
	for _, p := range c.Previous {
		got = append(got, identity(p))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("Choose(%v):\n got  %q\n want %q", kc, got, want)
	}
}

func openNamed(_ context.Context, uri string, _ keyctx.KeyContext) (kek.Wrapper, error) {
	return named(uri), nil
}

// throughJSON writes r and reads it again; both forms are the same.
func throughJSON(t rapid.TB, r *kek.Rules) *kek.Rules {
	t.Helper()
	first, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	read, err := kek.ParseRules(context.Background(), first, openNamed)
	if err != nil {
		t.Fatalf("%v in %s", err, first)
	}
	second, err := json.Marshal(read)
	if err != nil || string(first) != string(second) {
		t.Fatalf("written again it is different (%v):\n%s\n%s", err, first, second)
	}
	return read
}
