package kek_test

import (
	"encoding/json"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/embedvault/vault/kek"
)

// Readers see whole states only, while writers change everything: a choice that
// was there before a change or the one after it, never a mixture or nothing.
func TestRulesConcurrently(t *testing.T) {
	a, b := ctxMap{"org": "A01"}, ctxMap{"org": "B02"}
	r := newRules(t, anyOf("d:0"), kek.Rule{Match: a, Choice: anyOf("a:1", "a:2")}, kek.Rule{Match: b, Choice: anyOf("b:1")})
	var readers, writers sync.WaitGroup
	var stop atomic.Bool
	for range 4 {
		readers.Go(func() {
			for !stop.Load() {
				c, err := r.Choose(t.Context(), ctxMap{"org": "A01", "user": "u"})
				if err != nil {
					t.Error(err)
					return
				}
				switch s := show(kek.Choice{KEKs: c.KEKs, Quorum: c.Quorum}); s {
				case "any-of a:1 a:2", "all-of a:1 a:3":
				default:
					t.Errorf("a choice that never was: %s", s)
					return
				}
				c.KEKs[0] = named("mine:1")
				_, _ = r.Default()
				_ = r.String()
				for rule := range r.All() {
					rule.Match["org"] = "mine"
				}
				if _, err := json.Marshal(r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			for i := range 500 {
				c := anyOf("a:1", "a:2")
				if i%2 == 0 {
					c = allOf("a:1", "a:3")
				}
				for _, err := range []error{
					r.Set(a, c),
					r.DropPrevious(a),
					r.Set(ctxMap{"org": "A01", "never": "x"}, c),
					r.SetDefault(anyOf("d:0")),
					r.Require("org"),
				} {
					if err != nil {
						t.Error(err)
						return
					}
				}
				_ = r.RemoveToDefault(b) // the other writer may have been first
				_ = r.Set(b, c)
				if w == 0 && i%10 == 0 {
					r.DropAllPrevious()
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
}
