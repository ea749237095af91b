package vault_test

import (
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

type fieldUser struct {
	ID        string
	OrgID     string
	Email     vault.Encrypted[string] `vault:"index:email_bidx,email@1;context:organization_id=OrgID;table:users"`
	EmailBidx []byte
}

func TestFieldSmoke(t *testing.T) {
	v := vaulttest.New(t)
	ctx := vault.WithKeyContext(vault.WithVault(t.Context(), v.Vault), orgA)
	e := vault.Seal("ann@example.org").At("users", "email", "u1")
	s := must(e.Sealed(ctx))(t)
	data := must(s.Value())(t).([]byte)
	var back vault.Encrypted[string]
	ok(t, back.Scan(data))
	if got := must(back.At("users", "email", "u1").Open(ctx))(t); got != "ann@example.org" {
		t.Fatal(got)
	}
	_, err := back.At("users", "email", "u2").Open(ctx)
	wantClass(t, err, "ErrWrongLocation")
	_, err = back.Open(ctx)
	wantClass(t, err, "ErrNoLocation")
	ix := vault.Index{Table: "users", Column: "email", Normaliser: "email@1"}
	_, err = v.BlindIndexQuery(ctx, orgA, ix, "A@b.c")
	wantClass(t, err, "ErrKeyNotFound")
	a := must(v.BlindIndex(ctx, orgA, ix, "A@b.c"))(t)
	b := must(v.BlindIndexQuery(ctx, orgA, ix, " a@B.C"))(t)
	if string(a) != string(b) || len(a) != 16 {
		t.Fatalf("%x %x", a, b)
	}
}
