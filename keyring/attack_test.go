package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// byTenant is a policy that gives org_01 and org_02 their own KEKs.
type byTenant map[string]kek.Choice

func (p byTenant) Choose(_ context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
	if c, ok := p[kc["organization_id"]]; ok {
		return c, nil
	}
	return kek.Choice{}, kek.ErrPolicy
}

func one(k kek.Wrapper) kek.Choice { return kek.Choice{KEKs: []kek.Wrapper{k}, Quorum: kek.AnyOf} }

func withPolicy(p kek.Policy) func(*keyring.Config) {
	return func(c *keyring.Config) { c.Policy = p }
}

// forge wraps a key of the attacker's choosing for a context, under a KEK that
// the attacker holds.
func forge(t *testing.T, k kek.Wrapper, c keyring.Context, version uint32) storage.KeyRecord {
	t.Helper()
	secret := bytes.Repeat([]byte{0x42}, 32)
	key, err := envelope.NewKey(secret, c.Hash, data, version)
	if err != nil {
		t.Fatal(err)
	}
	b := kek.Binding{KeyID: key.ID(), ContextHash: c.Hash, Purpose: data, Version: version, Context: c.Pairs}
	blob, err := k.Wrap(t.Context(), secret, b)
	if err != nil {
		t.Fatal(err)
	}
	return storage.KeyRecord{
		KeyID: key.ID(), Context: c.Pairs, ContextHash: c.Hash, Purpose: data, Version: version,
		State: storage.StateActive, Quorum: keyctx.AnyOf,
		Wrappings: []keyctx.Wrapping{{URI: k.URI(), Wrapped: blob}},
		CreatedAt: time.Now(), StateChangedAt: time.Now(),
	}
}

// Tenant B, who holds its own KEK, wraps a key of its choosing for tenant A's
// context and plants it, as A's newest key and as an envelope.
func TestForgedKeyIsRefused(t *testing.T) {
	kekA, kekB := memkek.New("a"), memkek.New("b")
	policy := byTenant{"org_01": one(kekA), "org_02": one(kekB)}
	w := newWorldOn(t, kekA, memstore.New(), withPolicy(policy))
	active(t, w, tenant(1))
	forged := forge(t, kekB, tenant(1), 2)
	if err := w.store.InsertKey(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	victim := w.peer(t, withPolicy(policy))
	kekA.ResetCounts()
	kekB.ResetCounts()
	wantErr(t, tryActive(victim, tenant(1)), kek.ErrPolicy)
	wantErr(t, tryByID(victim, tenant(1), forged.KeyID), kek.ErrPolicy)
	block, err := envelope.Block{Purpose: data, Version: 2, Quorum: keyctx.AnyOf, Wrappings: forged.Wrappings}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = victim.FromBlock(t.Context(), tenant(1), forged.KeyID, block)
	wantErr(t, err, kek.ErrPolicy)
	if kekA.Calls() != 0 || kekB.Calls() != 0 {
		t.Fatal("a KEK was called before the policy had agreed")
	}
}

// A's row holds what A's KEK wrapped for B: another tenant's key under the same
// KEK.
func TestRowCopiedOverAnother(t *testing.T) {
	w := newWorld(t)
	active(t, w, tenant(1))
	idB := active(t, w, tenant(2))
	recA, _ := w.store.LatestKey(t.Context(), tenant(1).Hash, data)
	w.change(t, tenant(2), func(r *storage.KeyRecord) { r.Wrappings = recA.Wrappings })
	cold := w.peer(t)
	wantErr(t, tryActive(cold, tenant(2)), kek.ErrCorrupt)
	wantErr(t, tryByID(cold, tenant(2), idB), kek.ErrCorrupt)
}

// The same where the KMS checks no binding at all: the key ID does.
func TestRowCopiedOverAnotherWithAKMSThatChecksNothing(t *testing.T) {
	k := &unbound{URIText: "plain:x"}
	s := memstore.New()
	w := newWorldOn(t, memkek.New("unused"), s, withPolicy(kek.Fixed(k)))
	active(t, w, tenant(1))
	idB := active(t, w, tenant(2))
	recA, _ := s.LatestKey(t.Context(), tenant(1).Hash, data)
	w.change(t, tenant(2), func(r *storage.KeyRecord) { r.Wrappings = recA.Wrappings })
	cold := newWorldOn(t, memkek.New("unused"), s, withPolicy(kek.Fixed(k)))
	wantErr(t, tryByID(cold, tenant(2), idB), kek.ErrCorrupt)
	wantErr(t, tryActive(cold, tenant(2)), kek.ErrCorrupt)
}

// unbound is the worst KMS there can be: it neither encrypts nor binds.
type unbound struct{ URIText string }

func (u *unbound) URI() string { return u.URIText }
func (u *unbound) Wrap(_ context.Context, key []byte, _ kek.Binding) ([]byte, error) {
	return bytes.Clone(key), nil
}
func (u *unbound) Unwrap(_ context.Context, b []byte, _ kek.Binding) ([]byte, error) {
	return bytes.Clone(b), nil
}

func TestForeignURIAndLoweredQuorumCauseNoCall(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("b")
	all := kek.Choice{KEKs: []kek.Wrapper{a, b}, Quorum: kek.AllOf}
	w := newWorldOn(t, a, memstore.New(), withPolicy(byTenant{"org_01": all}))
	id := active(t, w, tenant(1))
	for name, change := range map[string]func(*storage.KeyRecord){
		"foreign URI": func(r *storage.KeyRecord) { r.Wrappings[0].URI = "http://169.254.169.254/latest" },
		"lowered quorum": func(r *storage.KeyRecord) {
			r.Quorum, r.Wrappings = keyctx.AnyOf, r.Wrappings[:1]
		},
		"lowered quorum, all shares": func(r *storage.KeyRecord) { r.Quorum = keyctx.AnyOf },
		"one share":                  func(r *storage.KeyRecord) { r.Wrappings = r.Wrappings[:1] },
		"the same share twice":       func(r *storage.KeyRecord) { r.Wrappings[1] = r.Wrappings[0] },
		"no wrapping":                func(r *storage.KeyRecord) { r.Wrappings = nil },
	} {
		t.Run(name, func(t *testing.T) {
			good, _ := w.store.GetKey(t.Context(), id)
			w.change(t, tenant(1), change)
			defer w.change(t, tenant(1), func(r *storage.KeyRecord) {
				r.Quorum, r.Wrappings = good.Quorum, good.Wrappings
			})
			cold := w.peer(t, withPolicy(byTenant{"org_01": all}))
			a.ResetCounts()
			b.ResetCounts()
			wantErr(t, tryByID(cold, tenant(1), id), kek.ErrPolicy)
			wantErr(t, tryActive(cold, tenant(1)), kek.ErrPolicy)
			if a.Calls()+b.Calls() != 0 {
				t.Fatal("a KEK was called")
			}
		})
	}
	if err := tryByID(w.peer(t, withPolicy(byTenant{"org_01": all})), tenant(1), id); err != nil {
		t.Fatal(err)
	}
}

// all-of with the same blob under both names: the shares cancel out.
func TestAllOfWithTheSameBlobTwice(t *testing.T) {
	a := &unbound{URIText: "plain:a"}
	b := &unbound{URIText: "plain:b"}
	all := kek.Choice{KEKs: []kek.Wrapper{a, b}, Quorum: kek.AllOf}
	w := newWorldOn(t, memkek.New("unused"), memstore.New(), withPolicy(byTenant{"org_01": all}))
	id := active(t, w, tenant(1))
	w.change(t, tenant(1), func(r *storage.KeyRecord) { r.Wrappings[1].Wrapped = r.Wrappings[0].Wrapped })
	cold := newWorldOn(t, memkek.New("unused"), w.store, withPolicy(byTenant{"org_01": all}))
	wantErr(t, tryByID(cold, tenant(1), id), kek.ErrCorrupt)
}

func TestAllOfNeedsBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memkek.New("a"), memkek.New("b")
		policy := byTenant{"org_01": {KEKs: []kek.Wrapper{a, b}, Quorum: kek.AllOf}}
		s := memstore.New()
		w := newWorldOn(t, a, s, withPolicy(policy))
		id := active(t, w, tenant(1))
		rec, _ := s.GetKey(t.Context(), id)
		if len(rec.Wrappings) != 2 || rec.Quorum != keyctx.AllOf {
			t.Fatalf("stored %v", rec.Quorum)
		}
		for _, k := range []*memkek.KEK{a, b} {
			k.SetFault(memkek.Denied)
			wantErr(t, tryByID(newWorldOn(t, a, s, withPolicy(policy)), tenant(1), id), kek.ErrDenied)
			wantErr(t, tryActive(w, tenant(1)), nil)
			k.SetFault(memkek.None)
		}
		a.SetFault(memkek.Unavailable)
		wantErr(t, tryByID(newWorldOn(t, a, s, withPolicy(policy)), tenant(1), id), kek.ErrUnavailable, kek.ErrDenied)
		b.SetFault(memkek.Denied)
		wantErr(t, tryByID(newWorldOn(t, a, s, withPolicy(policy)), tenant(1), id), kek.ErrDenied, kek.ErrUnavailable)
	})
}

func TestAnyOfSurvivesAllButOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memkek.New("a"), memkek.New("b")
		policy := byTenant{
			"org_01": {KEKs: []kek.Wrapper{a, b}, Quorum: kek.AnyOf},
			"org_02": {KEKs: []kek.Wrapper{a, b}, Quorum: kek.AnyOf},
		}
		s := memstore.New()
		fresh := func() *world { return newWorldOn(t, a, s, withPolicy(policy)) }
		id := active(t, fresh(), tenant(1))
		for _, fault := range []memkek.Fault{memkek.Denied, memkek.Unavailable, memkek.Corrupt, memkek.Garbage} {
			for _, k := range []*memkek.KEK{a, b} {
				k.SetFault(fault)
				if err := tryByID(fresh(), tenant(1), id); err != nil {
					t.Fatalf("%v: %v", fault, err)
				}
				k.SetFault(memkek.None)
			}
		}
		a.SetFault(memkek.Denied)
		b.SetFault(memkek.Unavailable)
		wantErr(t, tryByID(fresh(), tenant(1), id), kek.ErrUnavailable, kek.ErrDenied)
		b.SetFault(memkek.Denied)
		wantErr(t, tryByID(fresh(), tenant(1), id), kek.ErrDenied, kek.ErrUnavailable)

		// A key is made while one is down, under the other alone.
		b.SetFault(memkek.None)
		made := active(t, fresh(), tenant(2))
		rec, _ := s.GetKey(t.Context(), made)
		if len(rec.Wrappings) != 1 || rec.Wrappings[0].URI != b.URI() {
			t.Fatalf("wrapped under %d KEKs", len(rec.Wrappings))
		}
		if err := tryByID(fresh(), tenant(2), made); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPreviousChoiceUnwrapsAndNeverWraps(t *testing.T) {
	old, next := memkek.New("old"), memkek.New("next")
	s := memstore.New()
	w := newWorldOn(t, old, s, withPolicy(byTenant{"org_01": one(old)}))
	id := active(t, w, tenant(1))
	choice := one(next)
	choice.Previous = []kek.Choice{one(old)}
	moved := newWorldOn(t, old, s, withPolicy(byTenant{"org_01": choice, "org_02": choice}))
	if err := tryByID(moved, tenant(1), id); err != nil {
		t.Fatal(err)
	}
	old.ResetCounts()
	active(t, moved, tenant(2))
	if old.Calls() != 0 {
		t.Fatal("a previous KEK was used for a new key")
	}
	dropped := newWorldOn(t, old, s, withPolicy(byTenant{"org_01": one(next)}))
	wantErr(t, tryByID(dropped, tenant(1), id), kek.ErrPolicy)
}

// A changed policy takes effect within one TTL.
func TestPolicyIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		k := memkek.New("k")
		choice, fail := one(k), error(nil)
		w := newWorldOn(t, k, memstore.New(), withPolicy(kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) {
			mu.Lock()
			defer mu.Unlock()
			return choice, fail
		})))
		id := active(t, w, tenant(1))
		mu.Lock()
		choice = one(memkek.New("another"))
		mu.Unlock()
		wantErr(t, useFor(w, tenant(1), id, 16*time.Minute), kek.ErrPolicy)
		mu.Lock()
		choice, fail = one(k), errors.New("the application's table can't be read")
		mu.Unlock()
		wantErr(t, tryActive(w, tenant(1)), fail)
	})
}

func TestPolicyMistakes(t *testing.T) {
	k := memkek.New("k")
	for name, choice := range map[string]kek.Choice{
		"none":          {},
		"nil":           {KEKs: []kek.Wrapper{nil}, Quorum: kek.AnyOf},
		"twice":         {KEKs: []kek.Wrapper{k, k}, Quorum: kek.AnyOf},
		"all of one":    {KEKs: []kek.Wrapper{k}, Quorum: kek.AllOf},
		"which quorum":  {KEKs: []kek.Wrapper{k, memkek.New("l")}},
		"no URI":        {KEKs: []kek.Wrapper{memkek.New("")}, Quorum: kek.AnyOf},
		"a key's URI":   {KEKs: []kek.Wrapper{&unbound{URIText: "vault-key:00"}}, Quorum: kek.AnyOf},
		"bad parent":    {Parent: keyctx.KeyContext{"organization_id": "org_02"}},
		"parent is all": {Parent: keyctx.KeyContext{"organization_id": "org_01"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorldOn(t, k, memstore.New(), withPolicy(byTenant{"org_01": choice}))
			wantErr(t, tryActive(w, tenant(1)), kek.ErrPolicy)
		})
	}
}

func TestWrongContextWarmAndCold(t *testing.T) {
	w := newWorld(t)
	id := active(t, w, tenant(1))
	active(t, w, tenant(2))
	for _, w := range []*world{w, w.peer(t)} {
		w.kek.ResetCounts()
		for range 2 {
			wantErr(t, tryByID(w, tenant(2), id), keyring.ErrWrongContext)
		}
		if w.kek.Calls() != 0 {
			t.Fatal("the KEK was called for another tenant's key")
		}
	}
}

func TestKeysServeTheirPurposeOnly(t *testing.T) {
	w := newWorld(t)
	id := active(t, w, tenant(1))
	for _, w := range []*world{w, w.peer(t)} {
		_, err := w.ByID(t.Context(), tenant(1), keyctx.PurposeIndex, id)
		wantErr(t, err, keyring.ErrWrongContext)
	}
	k, err := w.Active(t.Context(), tenant(1), keyctx.PurposeIndex)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Release()
	if k.ID() == id {
		t.Fatal("one key for two purposes")
	}
	if _, err := k.Seal(nil, envelope.KindMessage, nil, []byte("x"), nil); err == nil {
		t.Fatal("an index key seals data")
	}
}

// A driver or a policy that panics fails its call and nothing else.
func TestPanicsAreErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOn(t, memkek.New("k"), memstore.New(), withPolicy(kek.PolicyFunc(
			func(context.Context, keyctx.KeyContext) (kek.Choice, error) { panic("secret in a panic") })))
		wantErr(t, tryActive(w, tenant(1)), kek.ErrUnavailable)
		a, b := memkek.New("a"), memkek.New("b")
		b.SetFault(memkek.Panic)
		all := newWorldOn(t, a, memstore.New(), withPolicy(byTenant{"org_01": {KEKs: []kek.Wrapper{a, b}, Quorum: kek.AllOf}}))
		wantErr(t, tryActive(all, tenant(1)), kek.ErrUnavailable)
	})
}
