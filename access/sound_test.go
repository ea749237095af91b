package access_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/access"
)

// world is a small world of random rules and requests.
type world struct{ *rand.Rand }

func (w world) pick(of ...string) string { return of[w.IntN(len(of))] }

func (w world) rule(i int) access.Rule {
	r := access.Rule{Name: fmt.Sprint("r", i), Effect: access.Allow, Operations: []vault.Operation{vault.OpList, vault.OpDescribe, vault.OpShred, vault.OpGet}}
	if w.IntN(3) == 0 {
		r.Effect = access.Deny
	}
	if r.Anyone = w.IntN(2) == 0; !r.Anyone {
		r.Attributes = map[string][]string{"org": {w.pick("1", "2")}}
	}
	if r.AnyContext = w.IntN(4) == 0; !r.AnyContext {
		r.Context = map[string]string{w.pick("org", "user", "env"): w.pick("1", "2", "${actor.org}", "${actor.user}")}
		if w.IntN(2) == 0 {
			r.Context["org"] = w.pick("1", "2", "${actor.org}")
		}
	}
	if w.IntN(3) == 0 {
		r.ObjectPrefix = w.pick("a", "ab", "b")
	}
	if w.IntN(4) == 0 {
		r.Labels = map[string]string{"l": w.pick("1", "2")}
	}
	return r
}

func (w world) pairs() vault.KeyContext {
	kc := vault.KeyContext{}
	for _, k := range []string{"org", "user", "env"} {
		if w.IntN(2) == 0 {
			kc[k] = w.pick("1", "2")
		}
	}
	return kc
}

// What is allowed about many is allowed about each of them: a list within a match shows
// nothing that could not be described one by one. By random rules, and all that there
// can be in a small world.
func TestManyAreAllowedOnlyIfEachIs(t *testing.T) {
	seed := rand.Uint64()
	w, allowed := world{rand.New(rand.NewPCG(seed, 1))}, 0
	for range 4000 {
		var rules []access.Rule
		for i := range 1 + w.IntN(5) {
			rules = append(rules, w.rule(i))
		}
		r := rulesOf(t, rules...)
		attributes := map[string]string{}
		for _, k := range []string{"org", "user"} {
			if w.IntN(4) > 0 {
				attributes[k] = w.pick("1", "2")
			}
		}
		many := vault.AccessRequest{Operation: vault.OpList, Attributes: vault.NewAttributes(attributes), Match: w.pairs(), Prefix: w.pick("", "a", "ab")}
		if len(many.Match) == 0 {
			many.Match, many.All = nil, true
		}
		if !r.Explain(many).Allowed {
			continue
		}
		allowed++
		for range 50 {
			one := vault.AccessRequest{Operation: vault.OpDescribe, Attributes: many.Attributes, Context: w.pairs(), Object: many.Prefix + w.pick("", "a", "b", "bb"), Labels: map[string]string{"l": w.pick("1", "2")}}
			maps.Copy(one.Context, many.Match)
			if one.Object == "" || len(one.Context) == 0 {
				continue
			}
			if d := r.Explain(one); !d.Allowed {
				t.Fatalf("seed %d: the list %+v is allowed by %+v, and %+v is not: %+v, by the rules %+v", seed, many, r.Explain(many), one, d, rules)
			}
		}
	}
	if allowed < 100 {
		t.Errorf("seed %d: only %d lists were allowed", seed, allowed)
	}
}
