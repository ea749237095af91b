package vault_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// inventory returns what Keys shows.
func inventory(t testing.TB, v *vault.Vault, f vault.KeyFilter) (keys []vault.KeyInfo) {
	t.Helper()
	for k, err := range v.Keys(t.Context(), f) {
		ok(t, err)
		keys = append(keys, k)
	}
	return keys
}

// states returns version and state of the keys that match selects, in order.
func states(t testing.TB, v *vault.Vault, match vault.KeyContext) (all []string) {
	t.Helper()
	for _, k := range inventory(t, v, vault.KeyFilter{Match: match}) {
		all = append(all, fmt.Sprintf("%d %v", k.Version, k.State))
	}
	return all
}

func wantStates(t testing.TB, v *vault.Vault, match vault.KeyContext, want ...string) {
	t.Helper()
	if got := states(t, v, match); !slices.Equal(got, want) {
		t.Fatalf("the keys are %q, want %q", got, want)
	}
}

func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		start := time.Now().UTC()
		must(v.Put(t.Context(), orgA, "a", []byte("x")))(t)
		must(v.Put(t.Context(), orgA, "a", []byte("y")))(t)
		must(v.Put(t.Context(), userA, "a", []byte("x")))(t)
		must(v.Put(t.Context(), orgB, "b", []byte("x")))(t)
		time.Sleep(time.Hour)
		ok(t, v.Rotate(t.Context(), orgA))
		must(v.Put(t.Context(), orgA, "c", []byte("x")))(t)

		all := inventory(t, v.Vault, vault.KeyFilter{All: true})
		if len(all) != 4 {
			t.Fatalf("%d keys", len(all))
		}
		wantStates(t, v.Vault, orgB, "1 active")
		keys := slices.DeleteFunc(inventory(t, v.Vault, vault.KeyFilter{Match: orgA, Objects: true}), func(k vault.KeyInfo) bool {
			return len(k.Context) > 1
		})
		if len(keys) != 2 {
			t.Fatalf("%d keys", len(keys))
		}
		first, second := keys[0], keys[1]
		switch {
		case first.Version != 1 || first.State != vault.StateDecryptOnly || first.Active || first.Objects != 2:
			t.Errorf("the first key is %+v", first)
		case !first.CreatedAt.Equal(start) || !first.SupersededAt.Equal(start.Add(time.Hour)):
			t.Errorf("made %v, superseded %v", first.CreatedAt, first.SupersededAt)
		case second.Version != 2 || second.State != vault.StateActive || !second.Active || second.Objects != 1 || !second.SupersededAt.IsZero():
			t.Errorf("the second key is %+v", second)
		case !slices.Equal(second.KEKs, []string{v.KEK.URI()}) || second.Purpose != vault.PurposeData || second.Context["organization_id"] != "org_01":
			t.Errorf("the second key is %+v", second)
		}
		for f, want := range map[*vault.KeyFilter]int{
			{All: true, State: vault.StateDecryptOnly}:                            1,
			{All: true, State: vault.StateActive}:                                 3,
			{All: true, Purpose: vault.PurposeIndex}:                              0,
			{All: true, Purpose: vault.PurposeData}:                               4,
			{All: true, MaxKeyAge: 30 * time.Minute}:                              2, // userA's and orgB's
			{All: true, MaxKeyAge: 2 * time.Hour}:                                 0,
			{All: true, MaxUnusedAge: time.Minute}:                                0, // it is used
			{All: true, MaxKeyAge: 30 * time.Minute, MaxUnusedAge: time.Hour}:     2,
			{Match: vault.KeyContext{"user_id": "u_1"}, State: vault.StateActive}: 1,
		} {
			if got := inventory(t, v.Vault, *f); len(got) != want {
				t.Errorf("%+v shows %d keys, want %d", *f, len(got), want)
			}
		}
		ok(t, v.Delete(t.Context(), orgA, "a"))
		time.Sleep(time.Hour)
		if got := inventory(t, v.Vault, vault.KeyFilter{All: true, MaxUnusedAge: time.Minute}); len(got) != 1 || got[0].ID != first.ID {
			t.Errorf("unused keys: %+v", got)
		}
	})
}

// A rotation that was interrupted before the old record said so: the versions decide.
func TestKeysStateIsWhatTakesEffect(t *testing.T) {
	v := vaulttest.New(t)
	ok(t, v.Prepare(t.Context(), orgA))
	ok(t, v.Rotate(t.Context(), orgA))
	old := inventory(t, v.Vault, vault.KeyFilter{All: true})[0]
	ok(t, v.Store.EditKey(old.ID, func(r *storage.KeyRecord) { r.State = storage.StateActive }))
	wantStates(t, v.Vault, orgA, "1 decrypt-only", "2 active")
	if got := inventory(t, v.Vault, vault.KeyFilter{All: true, State: vault.StateActive}); len(got) != 1 || got[0].Version != 2 {
		t.Errorf("active keys: %+v", got)
	}
}

// Pages end where they like: each key is shown once, its successor known.
func TestKeysOverPages(t *testing.T) {
	v := vaulttest.New(t)
	kcs := make([]vault.KeyContext, 150)
	for i := range kcs {
		kcs[i] = org(i)
	}
	ok(t, v.Prepare(t.Context(), kcs...))
	for _, kc := range kcs {
		ok(t, v.Rotate(t.Context(), kc))
		ok(t, v.Rotate(t.Context(), kc))
	}
	seen, active := map[vault.KeyID]bool{}, 0
	for _, k := range inventory(t, v.Vault, vault.KeyFilter{All: true}) {
		if seen[k.ID] {
			t.Fatalf("key %s is shown twice", k.ID.Short())
		}
		seen[k.ID] = true
		if k.Active != (k.Version == 3) {
			t.Fatalf("version %d: active %v", k.Version, k.Active)
		}
		if k.Active {
			active++
		}
	}
	if len(seen) != 450 || active != 150 {
		t.Errorf("%d keys, %d active", len(seen), active)
	}
	// The loop's body may change keys.
	for k, err := range v.Keys(t.Context(), vault.KeyFilter{All: true, State: vault.StateActive}) {
		ok(t, err)
		ok(t, v.Rotate(t.Context(), k.Context))
	}
}

func TestKeysStayInTheirNamespace(t *testing.T) {
	v := vaulttest.New(t)
	other := vaulttest.New(t, func(c *vault.Config) { c.KEK, c.Store, c.Namespace = memkek.New("o"), v.Store, "billing" })
	ok(t, v.Prepare(t.Context(), orgA))
	ok(t, other.Prepare(t.Context(), orgA, orgB))
	if a, b := len(inventory(t, v.Vault, vault.KeyFilter{All: true})), inventory(t, other.Vault, vault.KeyFilter{All: true}); a != 1 || len(b) != 2 {
		t.Errorf("%d and %d keys", a, len(b))
	} else if _, has := b[0].Context["vault:namespace"]; has {
		t.Error("the namespace is shown")
	}
}

func TestKeyFilter(t *testing.T) {
	v := vaulttest.New(t)
	for name, f := range map[string]vault.KeyFilter{
		"nothing": {}, "both": {All: true, Match: orgA}, "purpose": {All: true, Purpose: 9},
		"state": {All: true, State: 9}, "age": {All: true, MaxKeyAge: -1}, "empty match": {Match: vault.KeyContext{}},
	} {
		if err := firstErrOf(v.Keys(t.Context(), f)); !errors.Is(err, vault.ErrInvalidOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantErr(t, firstErrOf(v.Keys(t.Context(), vault.KeyFilter{Match: vault.KeyContext{"": "x"}})), vault.ErrInvalidContext)
	none := vaulttest.New(t, func(c *vault.Config) { c.Store = nil })
	wantErr(t, firstErrOf(none.Keys(t.Context(), vault.KeyFilter{All: true})), vault.ErrNoStore)
}
