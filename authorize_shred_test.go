package vault_test

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
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
