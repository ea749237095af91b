package vault

import (
	"context"
	"fmt"
	"iter"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/embedvault/vault/keyring"
)

// Scope is a vault bound to one key context: the same calls without it. It
// encodes and hashes the context once, and is the fastest way to use one
// context again and again. It is safe for concurrent use, costs little, and
// needs no closing.
type Scope struct {
	v   *Vault
	c   keyring.Context
	err error // of an invalid context
}

// Scope returns the vault bound to kc, which is copied. If kc is invalid, every
// call on the scope fails with ErrInvalidContext; see [Scope.Err].
func (v *Vault) Scope(kc KeyContext) *Scope {
	c, err := v.context(kc)
	c.Pairs = kc.Clone()
	c.Hint = new(keyring.Hint)
	return &Scope{v: v, c: c, err: err}
}

// Err returns what is wrong with the scope's key context, or nil.
func (s *Scope) Err() error { return s.err }

// KeyContext returns a copy of the scope's key context.
func (s *Scope) KeyContext() KeyContext { return s.c.Pairs.Clone() }

// Encrypt is [Vault.Encrypt].
func (s *Scope) Encrypt(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	return s.AppendEncrypt(ctx, nil, plaintext, aad)
}

// Decrypt is [Vault.Decrypt].
func (s *Scope) Decrypt(ctx context.Context, data, aad []byte) ([]byte, error) {
	return s.AppendDecrypt(ctx, nil, data, aad)
}

// AppendEncrypt is [Vault.AppendEncrypt].
func (s *Scope) AppendEncrypt(ctx context.Context, dst, plaintext, aad []byte) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.v.encrypt(ctx, s.c, dst, plaintext, aad)
}

// AppendDecrypt is [Vault.AppendDecrypt].
func (s *Scope) AppendDecrypt(ctx context.Context, dst, data, aad []byte) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.v.decrypt(ctx, s.c, dst, data, aad)
}

// EncryptString is [Vault.EncryptString].
func (s *Scope) EncryptString(ctx context.Context, plaintext string, aad []byte) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	return s.v.encryptString(ctx, s.c, plaintext, aad)
}

// DecryptString is [Vault.DecryptString].
func (s *Scope) DecryptString(ctx context.Context, text string, aad []byte) (string, error) {
	if s.err != nil {
		return "", s.err
	}
	return s.v.decryptString(ctx, s.c, text, aad)
}

// CreateDataKey is [Vault.CreateDataKey].
func (s *Scope) CreateDataKey(ctx context.Context) (DataKey, error) {
	if s.err != nil {
		return DataKey{}, s.err
	}
	return s.v.createDataKey(ctx, s.c)
}

// DecryptDataKey is [Vault.DecryptDataKey].
func (s *Scope) DecryptDataKey(ctx context.Context, sealed []byte) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.v.decryptDataKey(ctx, s.c, sealed)
}

// RekeyDataKey is [Vault.RekeyDataKey] from the scope's context.
func (s *Scope) RekeyDataKey(ctx context.Context, sealed []byte, to KeyContext) ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	target, err := s.v.context(to)
	if err != nil {
		return nil, err
	}
	return s.v.rekeyDataKey(ctx, s.c, sealed, target)
}

// Put is [Vault.Put].
func (s *Scope) Put(ctx context.Context, name string, value []byte, opts ...PutOption) (Metadata, error) {
	if s.err != nil {
		return Metadata{}, s.err
	}
	return s.v.put(ctx, s.c, name, value, opts)
}

// Get is [Vault.Get].
func (s *Scope) Get(ctx context.Context, name string, opts ...GetOption) (Object, error) {
	if s.err != nil {
		return Object{}, s.err
	}
	return s.v.get(ctx, s.c, name, opts)
}

// GetMany is [Vault.GetMany].
func (s *Scope) GetMany(ctx context.Context, names ...string) (map[string]Object, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.v.getMany(ctx, s.c, names)
}

// GetByID is [Vault.GetByID].
func (s *Scope) GetByID(ctx context.Context, id ID, opts ...GetOption) (Object, error) {
	if s.err != nil {
		return Object{}, s.err
	}
	return s.v.getByID(ctx, s.c, id, opts)
}

// Describe is [Vault.Describe].
func (s *Scope) Describe(ctx context.Context, name string, opts ...GetOption) (Metadata, error) {
	if s.err != nil {
		return Metadata{}, s.err
	}
	return s.v.describe(ctx, s.c, name, opts)
}

// Delete is [Vault.Delete].
func (s *Scope) Delete(ctx context.Context, name string, opts ...DeleteOption) error {
	if s.err != nil {
		return s.err
	}
	return s.v.delete(ctx, s.c, name, opts)
}

// List is [Vault.List].
func (s *Scope) List(ctx context.Context, opts ListOptions) iter.Seq2[Metadata, error] {
	return s.v.list(ctx, s.c, opts, s.err)
}

// ListPage is [Vault.ListPage].
func (s *Scope) ListPage(ctx context.Context, opts ListOptions) (Page, error) {
	if s.err != nil {
		return Page{}, s.err
	}
	return s.v.listPage(ctx, s.c, opts)
}

// Versions is [Vault.Versions].
func (s *Scope) Versions(ctx context.Context, name string) iter.Seq2[Metadata, error] {
	return s.v.versions(ctx, s.c, name, s.err)
}

// Prepare is [Vault.Prepare] of the scope's context.
func (s *Scope) Prepare(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	return s.v.prepare(ctx, s.c)
}

// Rotate is [Vault.Rotate].
func (s *Scope) Rotate(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	return s.v.rotate(ctx, s.c)
}

// VerifyKEK is [Vault.VerifyKEK].
func (s *Scope) VerifyKEK(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	return s.v.verifyKEK(ctx, s.c)
}

// AEAD returns the scope as Tink's interface, for code written against it.
// That interface has no context: ctx is used for every call.
func (s *Scope) AEAD(ctx context.Context) tink.AEAD { return aead{ctx, s} }

// AEADWithContext returns the scope as Tink's interface with a context.
func (s *Scope) AEADWithContext() tink.AEADWithContext { return aeadWithContext{s} }

type aead struct {
	ctx context.Context
	s   *Scope
}

func (a aead) Encrypt(plaintext, associatedData []byte) ([]byte, error) {
	return a.s.Encrypt(a.ctx, plaintext, associatedData)
}

func (a aead) Decrypt(ciphertext, associatedData []byte) ([]byte, error) {
	return a.s.Decrypt(a.ctx, ciphertext, associatedData)
}

type aeadWithContext struct{ s *Scope }

func (a aeadWithContext) EncryptWithContext(ctx context.Context, plaintext, associatedData []byte) ([]byte, error) {
	return a.s.Encrypt(ctx, plaintext, associatedData)
}

func (a aeadWithContext) DecryptWithContext(ctx context.Context, ciphertext, associatedData []byte) ([]byte, error) {
	return a.s.Decrypt(ctx, ciphertext, associatedData)
}

// Format prints the hash of the scope's context, and none of its pairs.
func (s *Scope) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "vault.Scope(%s)", s.c.Hash.Short())
}
