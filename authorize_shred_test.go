package vault_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/access"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// digestOf is the digest of a receipt, as docs/SPEC.md says; anybody can compute it.
func digestOf(r vault.ShredReceipt, match vault.ContextHash) string {
	b := append([]byte("vault/v1/shred"), r.ID[:]...)
	b = append(b, match[:]...)
	for _, s := range []string{r.Namespace, r.Actor, r.Reason} {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(r.RequestedAt.UnixMicro()))
	b = binary.BigEndian.AppendUint64(b, uint64(r.ShreddedAt.UnixMicro()))
	for _, k := range r.KeyList {
		b = append(append(b, k.ContextHash[:]...), byte(k.Purpose))
		b = append(binary.BigEndian.AppendUint32(b, k.Version), k.KeyID[:]...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(len(r.KeyList)))
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Who may verify shreddings of one tenant learns nothing of another's keys from a
// receipt that he wrote himself: not whether they are there, nor their state.
func TestVerifyShredTellsNothingOfOthersKeys(t *testing.T) {
	open := vaulttest.New(t)
	must(open.Put(t.Context(), orgB, "x", nil))(t)
	theirs := keysOf(t, open, orgB)[0]
	v := peerOf(t, open, func(c *vault.Config) {
		c.Authorizer = must(access.NewRules(access.Rule{
			Name: "a", Effect: access.Allow, Anyone: true, Operations: []vault.Operation{vault.OpVerifyShred}, Context: orgA,
		}))(t)
	})
	ask := func(id vault.KeyID) string {
		r := vault.ShredReceipt{
			Format: 1, ID: storage.NewID(time.Now()), Match: orgA, RequestedAt: time.Now(), ShreddedAt: time.Now(), Keys: 1,
			KeyList: []vault.ShreddedKey{{KeyID: id, ContextHash: theirs.ContextHash, Purpose: theirs.Purpose, Version: theirs.Version}},
		}
		r.Digest = digestOf(r, hashIn(t, orgA, ""))
		err := v.VerifyShred(t.Context(), r)
		wantErr(t, err, vault.ErrReceipt)
		return strings.ReplaceAll(err.Error(), id.Short(), "*")
	}
	not := ask(vault.KeyID{9})
	if strings.Contains(not, "digest") {
		t.Fatalf("the receipt is refused before its keys are looked at: %s", not)
	}
	if active := ask(theirs.KeyID); active != not {
		t.Errorf("an active key is told from none:\n%s\n%s", active, not)
	}
	must(open.Shred(t.Context(), orgB, vault.ShredOptions{}))(t)
	if shredded := ask(theirs.KeyID); shredded != not {
		t.Errorf("a shredded key is told from none:\n%s\n%s", shredded, not)
	}
}

// The reason that is decided about is the one that is written down.
func TestShredIsDecidedAboutItsReason(t *testing.T) {
	g := new(gate)
	v := vaulttest.New(t, withGate(g))
	must(v.Put(t.Context(), orgA, "x", nil))(t)
	ctx := vault.WithReason(t.Context(), "INC-7")
	for _, tc := range []struct{ option, want string }{{" ", " "}, {"a\nb", "a\ufffdb"}, {"", "INC-7"}} {
		g.take()
		g.set(everything)
		wantErr(t, second(v.Shred(ctx, orgA, vault.ShredOptions{Reason: tc.option})), vault.ErrAccessDenied)
		g.set(nil)
		r := must(v.Shred(ctx, orgA, vault.ShredOptions{Reason: tc.option}))(t)
		if r.Reason != tc.want {
			t.Errorf("the receipt says %q, want %q", r.Reason, tc.want)
		}
		for _, asked := range g.take() {
			if asked.Reason != tc.want {
				t.Errorf("asked with the reason %q, want %q", asked.Reason, tc.want)
			}
		}
		must(v.Put(t.Context(), orgA, "x", nil))(t)
		events := v.Events(vault.KeyShredded)
		for _, e := range events[len(events)-2:] { // of the denial, and of the key
			if e.Reason != tc.want {
				t.Errorf("an event says %q, want %q", e.Reason, tc.want)
			}
		}
	}
}

// Who asked for a shredding that is carried out later is the store's word: events name
// who carries it out, and the shredding.
func TestShreddingsActorIsNotTheStoresWord(t *testing.T) {
	v := vaulttest.New(t)
	must(v.Put(t.Context(), orgA, "x", nil))(t)
	r := must(v.Shred(vault.WithActor(t.Context(), "mallory"), orgA, vault.ShredOptions{After: time.Hour}))(t)
	for _, rec := range must(v.Store.ListSystem(t.Context(), "shred/", "", 10))(t) { // what somebody with the database does
		var m map[string]any
		ok(t, json.Unmarshal(rec.Value, &m))
		m["actor"], m["due_at"] = "alice", m["requested_at"]
		rec.Value = must(json.Marshal(m))(t)
		must(v.Store.PutSystem(t.Context(), rec))(t)
	}
	done := must(v.RunShreds(vault.WithReason(vault.WithActor(t.Context(), "cron"), "nightly")))(t)
	if len(done) != 1 || done[0].ID != r.ID {
		t.Fatalf("%+v", done)
	}
	begun, shredded := v.Events(vault.KeyDisabled), v.Events(vault.KeyShredded)
	if len(begun) != 1 || begun[0].Actor != "mallory" || begun[0].ObjectID != r.ID {
		t.Errorf("at the beginning %+v", begun)
	}
	if len(shredded) != 1 || shredded[0].Actor != "cron" || shredded[0].Reason != "nightly" || shredded[0].ObjectID != r.ID {
		t.Errorf("at the end %+v", shredded)
	}
}
