package sqltest

import (
	"errors"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
)

// Objects that are moved in a transaction that is rolled back are where they were, and
// the key under which they are must not be gone: lifecycle calls refuse one.
func TestLifecycleInATransaction(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		v, err := vault.New(vault.Config{KEK: memkek.New("test"), Store: s, NoBackground: true, RotateAfter: -1})
		noError(t, err)
		defer func() { _ = v.Close() }()
		org := vault.KeyContext{"organization_id": "org_01"}
		_, err = v.Put(t.Context(), org, "api-key", []byte("secret"))
		noError(t, err)
		noError(t, v.Rotate(t.Context(), org))
		tx := begin(t, db)
		ctx := s.WithTx(t.Context(), tx)
		if _, err = v.ReencryptObjects(ctx, vault.ReencryptOptions{Match: org, OldVersions: true}); !errors.Is(err, vault.ErrInvalidOption) {
			t.Errorf("re-encrypt: %v", err)
		}
		if _, err = v.RetireKeys(ctx, vault.RetireOptions{Match: org, ElsewhereReencrypted: true}); !errors.Is(err, vault.ErrInvalidOption) {
			t.Errorf("retire: %v", err)
		}
		if _, err = v.Shred(ctx, org, vault.ShredOptions{}); !errors.Is(err, vault.ErrInvalidOption) {
			t.Errorf("shred: %v", err)
		}
		noError(t, tx.Rollback())
		_, err = v.Get(t.Context(), org, "api-key")
		noError(t, err)
	})
}
