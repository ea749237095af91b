package vault_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// orgs puts users under their organisations.
func orgs(t testing.TB, inner kek.Policy) *kek.Hierarchy {
	t.Helper()
	return must(kek.Under(inner, "organization_id"))(t)
}

func userOf(org vault.KeyContext, n int) vault.KeyContext {
	return vault.KeyContext{"organization_id": org["organization_id"], "user_id": fmt.Sprint("u_", n)}
}

// family is the configuration of a vault whose users are under their organisations.
func family(t testing.TB, k *memkek.KEK, s *memstore.Store) vault.Config {
	return vault.Config{Policy: orgs(t, kek.Fixed(k)), Store: s, NoBackground: true}
}

// setParents changes the state of all wrapping keys of a context.
func setParents(t testing.TB, s *memstore.Store, kc vault.KeyContext, state storage.State) {
	t.Helper()
	page, err := s.ListKeys(t.Context(), storage.KeyQuery{
		Contexts: storage.ContextFilter{Hash: hashIn(t, kc, "")}, Purpose: keyctx.PurposeWrapping,
	})
	ok(t, err)
	if len(page.Keys) == 0 {
		t.Fatal("the context has no wrapping key")
	}
	for _, rec := range page.Keys {
		rec.State = state
		if state == storage.StateShredded {
			rec.Quorum, rec.Wrappings = 0, nil
		}
		ok(t, s.UpdateKey(t.Context(), rec))
	}
}

// Everything works under a parent as it does without: messages, data keys, objects;
// cold and warm; in a namespace.
func TestHierarchy(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, s setup, c vault.Config) {
		if s.self {
			return // see below
		}
		k := memkek.New("test")
		c.KEK, c.Policy, c.NoBackground = nil, orgs(t, kek.Fixed(k)), true
		v, ctx := open(t, c), t.Context()
		sealed := must(v.Encrypt(ctx, userA, []byte("secret"), nil))(t)
		dk := must(v.CreateDataKey(ctx, userA))(t)
		must(v.Put(ctx, userA, "name", []byte("value")))(t)
		orgs := must(v.Encrypt(ctx, orgA, []byte("the organisation's"), nil))(t)
		if k.Wraps() != 2 || k.Unwraps() != 2 {
			t.Fatalf("%d wraps, %d unwraps, want 2: of the parent, and of the organisation's data", k.Wraps(), k.Unwraps())
		}
		for _, v := range []*vault.Vault{v, open(t, c)} {
			if got := must(v.Decrypt(ctx, userA, sealed, nil))(t); string(got) != "secret" {
				t.Fatalf("%q", got)
			}
			if got := must(v.DecryptDataKey(ctx, userA, dk.Sealed))(t); !slices.Equal(got, dk.Key) {
				t.Fatal("another data key")
			}
			if got := must(v.Get(ctx, userA, "name"))(t); string(got.Value) != "value" {
				t.Fatalf("%q", got.Value)
			}
			_, err := v.Decrypt(ctx, orgA, sealed, nil)
			wantClass(t, err, "ErrWrongContext")
			_, err = v.Decrypt(ctx, userA, orgs, nil)
			wantClass(t, err, "ErrWrongContext")
			_, err = v.Decrypt(ctx, userOf(orgA, 2), sealed, nil)
			wantClass(t, err, "ErrWrongContext")
		}
		ok(t, v.Check(ctx))
		ok(t, v.VerifyKEK(ctx, userA))
		ok(t, v.Prepare(ctx, userOf(orgA, 3), userOf(orgB, 3)))
	})
}

// An organisation that is shredded takes all its users with it at once, and nobody
// else: in vaults that have them cached within ActiveKeyTTL.
func TestShreddedOrganisationTakesItsUsers(t *testing.T) {
	for state, want := range map[storage.State]string{
		storage.StateDisabled: "ErrKeyDisabled",
		storage.StateShredded: "ErrKeyShredded",
	} {
		t.Run(state.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, s := memkek.New("test"), memstore.New()
				v := open(t, family(t, k, s))
				const users = 50
				var mine, theirs [][]byte
				for n := range users {
					mine = append(mine, must(v.Encrypt(t.Context(), userOf(orgA, n), []byte("x"), nil))(t))
					theirs = append(theirs, must(v.Encrypt(t.Context(), userOf(orgB, n), []byte("x"), nil))(t))
				}
				must(v.Put(t.Context(), userA, "name", []byte("value")))(t)
				setParents(t, s, orgA, state)
				time.Sleep(time.Minute)
				cold := open(t, family(t, k, s))
				for _, v := range []*vault.Vault{v, cold} {
					for n := range users {
						_, err := v.Decrypt(t.Context(), userOf(orgA, n), mine[n], nil)
						wantClass(t, err, want)
						must(v.Decrypt(t.Context(), userOf(orgB, n), theirs[n], nil))(t)
					}
					_, err := v.Get(t.Context(), userA, "name")
					wantClass(t, err, want)
				}
				k.SetFault(memkek.Unavailable) // not even the KMS could bring them back
				time.Sleep(20 * time.Minute)
				_, err := v.Decrypt(t.Context(), userOf(orgA, 1), mine[1], nil)
				wantClass(t, err, want)
			})
		})
	}
}

func TestHierarchyNeedsAStore(t *testing.T) {
	v := open(t, vault.Config{Policy: orgs(t, kek.Fixed(memkek.New("test")))})
	_, err := v.Encrypt(t.Context(), userA, []byte("x"), nil)
	wantClass(t, err, "ErrNoStore")
	must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
}

// A vault that makes self-contained envelopes refuses contexts under a parent, and
// reads what another has made of them.
func TestHierarchyHasNoSelfContainedEnvelopes(t *testing.T) {
	k, s := memkek.New("test"), memstore.New()
	c := family(t, k, s)
	sealed := must(open(t, c).Encrypt(t.Context(), userA, []byte("x"), nil))(t)
	c.SelfContained = true
	v := open(t, c)
	for _, kc := range []vault.KeyContext{userA, userOf(orgA, 2)} {
		_, err := v.Encrypt(t.Context(), kc, []byte("x"), nil)
		wantClass(t, err, "ErrNoSelfContained")
		_, err = v.CreateDataKey(t.Context(), kc)
		wantClass(t, err, "ErrNoSelfContained")
		_, err = v.Put(t.Context(), kc, "name", []byte("x"))
		wantClass(t, err, "ErrNoSelfContained")
	}
	must(v.Decrypt(t.Context(), userA, sealed, nil))(t)
	must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
}

// Rotate makes new versions of both keys of an organisation, or of the one it has;
// Rewrap brings the users under the new one.
func TestRotateAnOrganisation(t *testing.T) {
	k, s := memkek.New("test"), memstore.New()
	v := open(t, family(t, k, s))
	ctx := t.Context()
	wantClass(t, v.Rotate(ctx, orgA), "ErrKeyNotFound")
	sealed := must(v.Encrypt(ctx, userA, []byte("x"), nil))(t)
	ok(t, v.Rotate(ctx, orgA)) // which has a wrapping key alone
	must(v.Encrypt(ctx, orgA, []byte("x"), nil))(t)
	ok(t, v.Rotate(ctx, orgA)) // and now both
	wantVersions(t, s, orgA, keyctx.PurposeWrapping, 3)
	wantVersions(t, s, orgA, keyctx.PurposeData, 2)
	ok(t, v.Rotate(ctx, userA))
	wantVersions(t, s, userA, keyctx.PurposeData, 2)

	report := must(v.Rewrap(ctx, vault.RewrapOptions{Match: orgA}))(t)
	if report.Seen != 7 || report.Moved != 1 || report.Current != 6 {
		t.Fatalf("%+v", report) // the user's first version moves
	}
	setFirstParents(t, s)
	for _, v := range []*vault.Vault{v, open(t, family(t, k, s))} {
		must(v.Decrypt(ctx, userA, sealed, nil))(t)
	}
}

// setFirstParents shreds all versions of orgA's wrapping key but the newest.
func setFirstParents(t testing.TB, s *memstore.Store) {
	t.Helper()
	page, err := s.ListKeys(t.Context(), storage.KeyQuery{Contexts: storage.ContextFilter{Hash: hashIn(t, orgA, "")}, Purpose: keyctx.PurposeWrapping})
	ok(t, err)
	for _, rec := range page.Keys[:len(page.Keys)-1] {
		if n := must(storage.CountChildren(t.Context(), s, "", rec.KeyID, 0))(t); n != 0 {
			t.Fatalf("version %d has %d children", rec.Version, n)
		}
		rec.State, rec.Quorum, rec.Wrappings = storage.StateShredded, 0, nil
		ok(t, s.UpdateKey(t.Context(), rec))
	}
}

func wantVersions(t testing.TB, s *memstore.Store, kc vault.KeyContext, p keyctx.Purpose, want uint32) {
	t.Helper()
	rec, err := s.LatestKey(t.Context(), hashIn(t, kc, ""), p)
	if err != nil || rec.Version != want {
		t.Fatalf("the newest %v key has version %d, %v, want %d", p, rec.Version, err, want)
	}
}

// An error of rotating the wrapping key is not hidden by the data key's success.
func TestRotateOfHalfAnOrganisation(t *testing.T) {
	k, s := memkek.New("test"), memstore.New()
	v := open(t, family(t, k, s))
	must(v.Encrypt(t.Context(), userA, []byte("x"), nil))(t)
	must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	setParents(t, s, orgA, storage.StateDisabled)
	wantClass(t, v.Rotate(t.Context(), orgA), "ErrKeyDisabled")
}

// Events say of the parent's key what they say of any.
func TestHierarchyEvents(t *testing.T) {
	var mu sync.Mutex
	created := map[vault.ContextHash]int{}
	c := family(t, memkek.New("test"), memstore.New())
	c.OnEvent = func(_ ctxType, e vault.Event) error {
		mu.Lock()
		defer mu.Unlock()
		if e.Name == vault.KeyCreated {
			created[e.ContextHash]++
		}
		return nil
	}
	v := open(t, c)
	for n := range 3 {
		must(v.Encrypt(t.Context(), userOf(orgA, n), []byte("x"), nil))(t)
	}
	if len(created) != 4 || created[hashIn(t, orgA, "")] != 1 {
		t.Fatalf("%d contexts have got keys, the organisation %d", len(created), created[hashIn(t, orgA, "")])
	}
}
