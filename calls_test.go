package vault_test

import (
	"iter"
	"testing"

	"github.com/embedvault/vault"
)

// firstErr is the error that an iteration ends with, or nil.
func firstErr(seq iter.Seq2[vault.Metadata, error]) error { return firstErrOf(seq) }

func firstErrOf[T any](seq iter.Seq2[T, error]) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

// samples are inputs that some context made, for calls that need one.
type samples struct {
	message, dataKey []byte
	text             string
	id               vault.ID
}

func sampleOf(t testing.TB, v *vault.Vault, kc vault.KeyContext) samples {
	t.Helper()
	ctx := t.Context()
	s := samples{
		message: must(v.Encrypt(ctx, kc, []byte("x"), nil))(t),
		text:    must(v.EncryptString(ctx, kc, "x", nil))(t),
		dataKey: must(v.CreateDataKey(ctx, kc))(t).Sealed,
	}
	if meta, err := v.Put(ctx, kc, "sample", []byte("x")); err == nil {
		s.id = meta.ID
	}
	return s
}

// callsWith is one call of every method that takes a key context, by name.
// Without samples the calls' other inputs are plausible and no more.
func callsWith(t testing.TB, v *vault.Vault, kc vault.KeyContext, given ...samples) map[string]func() error {
	ctx := t.Context()
	s := samples{message: []byte("m"), text: "vlt1.", dataKey: []byte("k"), id: vault.ID{1}}
	if len(given) > 0 {
		s = given[0]
	}
	return map[string]func() error{
		"Encrypt":        func() error { _, err := v.Encrypt(ctx, kc, []byte("p"), nil); return err },
		"Decrypt":        func() error { _, err := v.Decrypt(ctx, kc, s.message, nil); return err },
		"AppendEncrypt":  func() error { _, err := v.AppendEncrypt(ctx, kc, nil, []byte("p"), nil); return err },
		"AppendDecrypt":  func() error { _, err := v.AppendDecrypt(ctx, kc, nil, s.message, nil); return err },
		"EncryptString":  func() error { _, err := v.EncryptString(ctx, kc, "p", nil); return err },
		"DecryptString":  func() error { _, err := v.DecryptString(ctx, kc, s.text, nil); return err },
		"CreateDataKey":  func() error { _, err := v.CreateDataKey(ctx, kc); return err },
		"DecryptDataKey": func() error { _, err := v.DecryptDataKey(ctx, kc, s.dataKey); return err },
		"RekeyDataKey":   func() error { _, err := v.RekeyDataKey(ctx, kc, s.dataKey, kc); return err },
		"Put":            func() error { _, err := v.Put(ctx, kc, "sample", nil); return err },
		"Get":            func() error { _, err := v.Get(ctx, kc, "sample"); return err },
		"GetMany":        func() error { _, err := v.GetMany(ctx, kc, "sample"); return err },
		"GetByID":        func() error { _, err := v.GetByID(ctx, kc, s.id); return err },
		"Describe":       func() error { _, err := v.Describe(ctx, kc, "sample"); return err },
		"Delete":         func() error { return v.Delete(ctx, kc, "sample") },
		"List":           func() error { return firstErr(v.List(ctx, kc, vault.ListOptions{})) },
		"ListPage":       func() error { _, err := v.ListPage(ctx, kc, vault.ListOptions{}); return err },
		"Versions":       func() error { return firstErr(v.Versions(ctx, kc, "sample")) },
		"Prepare":        func() error { return v.Prepare(ctx, kc) },
		"Rotate":         func() error { return v.Rotate(ctx, kc) },
		"VerifyKEK":      func() error { return v.VerifyKEK(ctx, kc) },

		"SealField":       func() error { return second(v.SealField(ctx, kc, vault.At("t", "c", 1), "p")) },
		"OpenField":       func() error { return v.OpenField(ctx, kc, vault.At("t", "c", 1), s.message, new(string)) },
		"BlindIndex":      func() error { return second(v.BlindIndex(ctx, kc, emailIndex, "a@b.c")) },
		"BlindIndexQuery": func() error { return second(v.BlindIndexQuery(ctx, kc, emailIndex, "a@b.c")) },
		"PrepareIndex":    func() error { return v.PrepareIndex(ctx, kc, emailIndex) },
	}
}

// scopeCalls is one call of every method of a scope that does something.
func scopeCalls(t testing.TB, v *vault.Vault, sc *vault.Scope, given ...samples) map[string]func() error {
	ctx := t.Context()
	s := samples{message: []byte("m"), text: "vlt1.", dataKey: []byte("k"), id: vault.ID{1}}
	if len(given) > 0 {
		s = given[0]
	}
	return map[string]func() error{
		"Encrypt":        func() error { _, err := sc.Encrypt(ctx, []byte("p"), nil); return err },
		"Decrypt":        func() error { _, err := sc.Decrypt(ctx, s.message, nil); return err },
		"AppendEncrypt":  func() error { _, err := sc.AppendEncrypt(ctx, nil, []byte("p"), nil); return err },
		"AppendDecrypt":  func() error { _, err := sc.AppendDecrypt(ctx, nil, s.message, nil); return err },
		"EncryptString":  func() error { _, err := sc.EncryptString(ctx, "p", nil); return err },
		"DecryptString":  func() error { _, err := sc.DecryptString(ctx, s.text, nil); return err },
		"CreateDataKey":  func() error { _, err := sc.CreateDataKey(ctx); return err },
		"DecryptDataKey": func() error { _, err := sc.DecryptDataKey(ctx, s.dataKey); return err },
		"RekeyDataKey":   func() error { _, err := sc.RekeyDataKey(ctx, s.dataKey, orgB); return err },
		"Put":            func() error { _, err := sc.Put(ctx, "sample", nil); return err },
		"Get":            func() error { _, err := sc.Get(ctx, "sample"); return err },
		"GetMany":        func() error { _, err := sc.GetMany(ctx, "sample"); return err },
		"GetByID":        func() error { _, err := sc.GetByID(ctx, s.id); return err },
		"Describe":       func() error { _, err := sc.Describe(ctx, "sample"); return err },
		"Delete":         func() error { return sc.Delete(ctx, "sample") },
		"List":           func() error { return firstErr(sc.List(ctx, vault.ListOptions{})) },
		"ListPage":       func() error { _, err := sc.ListPage(ctx, vault.ListOptions{}); return err },
		"Versions":       func() error { return firstErr(sc.Versions(ctx, "sample")) },
		"Prepare":        func() error { return sc.Prepare(ctx) },
		"Rotate":         func() error { return sc.Rotate(ctx) },
		"VerifyKEK":      func() error { return sc.VerifyKEK(ctx) },
		"SealField":      func() error { return second(sc.SealField(ctx, vault.At("t", "c", 1), "p")) },
		"OpenField":      func() error { return sc.OpenField(ctx, vault.At("t", "c", 1), s.message, new(string)) },
		"AEAD.Encrypt":   func() error { _, err := sc.AEAD(ctx).Encrypt([]byte("p"), nil); return err },
		"AEAD.Decrypt":   func() error { _, err := sc.AEAD(ctx).Decrypt(s.message, nil); return err },
		"AEADWithContext.Encrypt": func() error {
			_, err := sc.AEADWithContext().EncryptWithContext(ctx, []byte("p"), nil)
			return err
		},
		"AEADWithContext.Decrypt": func() error {
			_, err := sc.AEADWithContext().DecryptWithContext(ctx, s.message, nil)
			return err
		},
	}
}

// otherCalls is one call of every other method that can fail.
func otherCalls(t testing.TB, v *vault.Vault) map[string]func() error {
	ctx := t.Context()
	return map[string]func() error{
		"Lookup": func() error { _, err := v.Lookup(ctx, vault.ID{1}); return err },
		"Sweep":  func() error { _, err := v.Sweep(ctx); return err },
		"Rewrap": func() error { _, err := v.Rewrap(ctx, vault.RewrapOptions{All: true}); return err },
		"Check":  func() error { return v.Check(ctx) },

		"Keys":          func() error { return firstErrOf(v.Keys(ctx, vault.KeyFilter{All: true})) },
		"Disable":       func() error { return second(v.Disable(ctx, orgB)) },
		"Enable":        func() error { return second(v.Enable(ctx, orgB)) },
		"Shred":         func() error { return second(v.Shred(ctx, orgB, vault.ShredOptions{})) },
		"CancelShred":   func() error { return v.CancelShred(ctx, vault.ID{1}) },
		"PendingShreds": func() error { return second(v.PendingShreds(ctx)) },
		"RunShreds":     func() error { return second(v.RunShreds(ctx)) },
		"ShredReceipts": func() error { return firstErrOf(v.ShredReceipts(ctx)) },
		"ShreddedKeys": func() error {
			return firstErrOf(v.ShreddedKeys(ctx, vault.ShredReceipt{ID: vault.ID{1}, Keys: 1}))
		},
		"VerifyShred": func() error { return v.VerifyShred(ctx, vault.ShredReceipt{}) },
		"ReencryptObjects": func() error {
			return second(v.ReencryptObjects(ctx, vault.ReencryptOptions{All: true}))
		},
		"NeedsReencrypt": func() error { return second(v.NeedsReencrypt(ctx, orgA, []byte("m"))) },
		"Reencrypt":      func() error { return second(v.Reencrypt(ctx, orgA, []byte("m"), nil)) },
		"RetireKeys": func() error {
			return second(v.RetireKeys(ctx, vault.RetireOptions{Match: orgB, ElsewhereReencrypted: true}))
		},
		"Prepare": func() error { return v.Prepare(ctx) },
	}
}
