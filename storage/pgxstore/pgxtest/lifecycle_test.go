package pgxtest

import (
	"errors"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
)

// Lifecycle calls work on many records at a time, which one transaction can't, and
// destroy keys for good: they refuse a ctx with one.
func TestLifecycleInATransaction(t *testing.T) {
	pool := open(t, database(t))
	s := on(t, pool)
	noError(t, s.Migrate(t.Context()))
	v, err := vault.New(vault.Config{KEK: memkek.New("test"), Store: s, NoBackground: true, RotateAfter: -1})
	noError(t, err)
	defer func() { _ = v.Close() }()
	org := vault.KeyContext{"organization_id": "org_01"}
	_, err = v.Put(t.Context(), org, "api-key", []byte("secret"))
	noError(t, err)
	noError(t, v.Rotate(t.Context(), org))
	tx, err := pool.Begin(t.Context())
	noError(t, err)
	ctx := s.WithTx(t.Context(), tx)
	if _, err = v.ReencryptObjects(ctx, vault.ReencryptOptions{Match: org}); !errors.Is(err, vault.ErrInvalidOption) {
		t.Errorf("re-encrypt: %v", err)
	}
	if _, err = v.Rewrap(ctx, vault.RewrapOptions{All: true}); !errors.Is(err, vault.ErrInvalidOption) {
		t.Errorf("rewrap: %v", err)
	}
	noError(t, tx.Rollback(t.Context()))
	_, err = v.Get(t.Context(), org, "api-key")
	noError(t, err)
}
