package vault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

const day = 24 * time.Hour

// retireAll is what a caller asks for who has done everything right.
var retireAll = vault.RetireOptions{Match: orgA, ElsewhereReencrypted: true}

// wantRetired compares the counts of a report; Seen is their sum.
func wantRetired(t testing.TB, got, want vault.RetireReport) {
	t.Helper()
	want.Seen = want.Retired + want.Newest + want.Young + want.Disabled + want.Gone + want.InUse + want.Failed
	got.Refused = nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("report %+v, want %+v", got, want)
	}
}

// From the rotation to the end of the old key.
func TestRetireKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t, func(c *vault.Config) { c.RotateAfter = -1 })
		sealed := must(v.Encrypt(t.Context(), orgA, []byte("kept elsewhere"), nil))(t)
		must(v.Put(t.Context(), orgA, "a", []byte("old")))(t)
		must(v.Put(t.Context(), orgA, "a", []byte("new")))(t)
		must(v.Put(t.Context(), orgB, "b", []byte("b")))(t)
		ok(t, v.Rotate(t.Context(), orgA))
		ok(t, v.Rotate(t.Context(), orgB))

		report := must(v.RetireKeys(t.Context(), retireAll))(t)
		wantRetired(t, report, vault.RetireReport{Newest: 1, Young: 1})
		time.Sleep(day + time.Minute)
		report, err := v.RetireKeys(t.Context(), retireAll)
		wantErr(t, err, vault.ErrKeyInUse)
		wantRetired(t, report, vault.RetireReport{Newest: 1, InUse: 1, Objects: 2})
		if r := report.Refused; len(r) != 1 || r[0].Objects != 2 || r[0].Version != 1 || !errors.Is(r[0].Err, vault.ErrKeyInUse) {
			t.Errorf("refused: %+v", r)
		}
		must(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{Match: orgA}))(t)
		report, err = v.RetireKeys(t.Context(), retireAll)
		wantErr(t, err, vault.ErrKeyInUse) // the old version of the object
		wantRetired(t, report, vault.RetireReport{Newest: 1, InUse: 1, Objects: 1})
		must(v.ReencryptObjects(t.Context(), vault.ReencryptOptions{Match: orgA, OldVersions: true}))(t)
		moved := must(v.Reencrypt(t.Context(), orgA, sealed, nil))(t)

		dry := retireAll
		dry.DryRun = true
		wantRetired(t, must(v.RetireKeys(t.Context(), dry))(t), vault.RetireReport{Newest: 1, Retired: 1})
		wantStates(t, v.Vault, orgA, "1 decrypt-only", "2 active")
		wantRetired(t, must(v.RetireKeys(t.Context(), retireAll))(t), vault.RetireReport{Newest: 1, Retired: 1})
		wantRetired(t, must(v.RetireKeys(t.Context(), retireAll))(t), vault.RetireReport{Newest: 1, Gone: 1})
		wantStates(t, v.Vault, orgA, "1 shredded", "2 active")
		wantStates(t, v.Vault, orgB, "1 decrypt-only", "2 active")

		wantClass(t, second(v.Decrypt(t.Context(), orgA, sealed, nil)), "ErrKeyShredded")
		for _, p := range []*vaulttest.Vault{v, peerOf(t, v)} {
			must(p.Decrypt(t.Context(), orgA, moved, nil))(t)
			for m, err := range p.Versions(t.Context(), orgA, "a") {
				ok(t, err)
				must(p.Get(t.Context(), orgA, "a", vault.AtVersion(m.VersionID)))(t)
			}
		}
		if n := len(v.Events(vault.KeyRetired)); n != 1 {
			t.Errorf("%d events", n)
		}
	})
}

func TestRetireOptions(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.Cache.ActiveKeyTTL = 2 * time.Hour })
	for name, o := range map[string]vault.RetireOptions{
		"without the caller's word": {Match: orgA},
		"too young":                 {Match: orgA, ElsewhereReencrypted: true, OlderThan: 2 * time.Hour},
		"negative":                  {Match: orgA, ElsewhereReencrypted: true, OlderThan: -1},
	} {
		if _, err := v.RetireKeys(t.Context(), o); !errors.Is(err, vault.ErrInvalidOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(v.RetireKeys(t.Context(), vault.RetireOptions{Match: orgA, ElsewhereReencrypted: true, OlderThan: 2*time.Hour + 1}))(t)
}

// A key whose age is hidden by a disabling in between counts from that; one that is
// disabled is left alone.
func TestRetireAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t, func(c *vault.Config) { c.RotateAfter = -1 })
		ok(t, v.Prepare(t.Context(), orgA))
		time.Sleep(100 * day) // old, and superseded just now
		ok(t, v.Rotate(t.Context(), orgA))
		wantRetired(t, must(v.RetireKeys(t.Context(), retireAll))(t), vault.RetireReport{Newest: 1, Young: 1})
		time.Sleep(day - time.Minute)
		wantRetired(t, must(v.RetireKeys(t.Context(), retireAll))(t), vault.RetireReport{Newest: 1, Young: 1})
		wantCount(t, 2)(v.Disable(t.Context(), orgA))
		time.Sleep(10 * day)
		wantRetired(t, must(v.RetireKeys(t.Context(), retireAll))(t), vault.RetireReport{Newest: 1, Disabled: 1})
		wantCount(t, 2)(v.Enable(t.Context(), orgA))
		wantRetired(t, must(v.RetireKeys(t.Context(), retireAll))(t), vault.RetireReport{Newest: 1, Young: 1})
		time.Sleep(day + time.Minute)
		wantRetired(t, must(v.RetireKeys(t.Context(), retireAll))(t), vault.RetireReport{Newest: 1, Retired: 1})
	})
}

// retirable is a vault with a key of orgA that may be retired.
func retirable(t *testing.T) (*vaulttest.Vault, storage.KeyRecord) {
	v := vaulttest.New(t, func(c *vault.Config) { c.RotateAfter = -1 })
	ok(t, v.Prepare(t.Context(), orgA))
	rec := must(v.Store.LatestKey(t.Context(), hashIn(t, orgA, ""), keyctx.PurposeData))(t)
	ok(t, v.Rotate(t.Context(), orgA))
	time.Sleep(2 * day)
	return v, rec
}

// A parent's key isn't retired while a child's refers to it; a child that was shredded
// does not.
func TestRetireHeedsChildren(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, rec := retirable(t)
		child := rec.Clone()
		child.KeyID, child.ParentID = vault.KeyID{1}, rec.KeyID
		child.Context, child.ContextHash = userA.Clone(), hashIn(t, userA, "")
		ok(t, v.Store.InsertKey(t.Context(), child))
		report, err := v.RetireKeys(t.Context(), retireAll)
		wantErr(t, err, vault.ErrKeyInUse)
		wantRetired(t, report, vault.RetireReport{Newest: 2, InUse: 1, Children: 1})
		must(v.Shred(t.Context(), userA, vault.ShredOptions{}))(t)
		report = must(v.RetireKeys(t.Context(), retireAll))(t)
		wantRetired(t, report, vault.RetireReport{Newest: 1, Retired: 1, Gone: 1})
	})
}

// Something refers to a key only once it was counted: the key comes back.
func TestRetireRacesAWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, rec := retirable(t)
		other := vaulttest.New(t)
		must(other.Put(t.Context(), orgA, "late", []byte("x")))(t)
		var late storage.ObjectRecord
		for _, late = range allVersions(t, other.Store) {
			late.KeyID = rec.KeyID // as a process would write it that has noticed nothing
		}
		v.Store.SetFault(func(op string) error {
			if op == "UpdateKey" {
				v.Store.SetFault(nil)
				ok(t, v.Store.ImportVersion(context.Background(), late))
			}
			return nil
		})
		report, err := v.RetireKeys(t.Context(), retireAll)
		wantErr(t, err, vault.ErrKeyInUse)
		wantRetired(t, report, vault.RetireReport{Newest: 1, InUse: 1, Objects: 1})
		now := must(v.Store.GetKey(t.Context(), rec.KeyID))(t)
		if now.State != storage.StateDecryptOnly || len(now.Wrappings) != len(rec.Wrappings) || len(rec.Wrappings) == 0 {
			t.Errorf("the key is %v with %d wrappings", now.State, len(now.Wrappings))
		}
	})
}

// An index key's versions are needed for as long as there is an index, and an audit
// key's for as long as there is a log.
func TestRetireTakesDataAndWrappingKeysOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, rec := retirable(t)
		for i, p := range []vault.Purpose{vault.PurposeIndex, vault.PurposeWrapping, vault.PurposeAuthentication} {
			for version := range uint32(2) {
				next := rec.Clone()
				next.KeyID, next.Purpose, next.Version = vault.KeyID{byte(i + 1), byte(version)}, p, version+1
				ok(t, v.Store.InsertKey(t.Context(), next))
			}
		}
		wantRetired(t, must(v.RetireKeys(t.Context(), retireAll))(t), vault.RetireReport{Newest: 2, Retired: 2})
		wantStates(t, v.Vault, orgA, "1 shredded", "2 active", "1 decrypt-only", "2 active",
			"1 shredded", "2 active", "1 decrypt-only", "2 active")
	})
}

// The store fails half-way: what is left is retired by the next call.
func TestRetireGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, _ := retirable(t)
		failStoreOps(v, "UpdateKey")
		report, err := v.RetireKeys(t.Context(), retireAll)
		wantErr(t, err, errStore)
		wantRetired(t, report, vault.RetireReport{Newest: 1, Failed: 1})
		v.Store.SetFault(nil)
		wantRetired(t, must(v.RetireKeys(t.Context(), retireAll))(t), vault.RetireReport{Newest: 1, Retired: 1})
	})
}
