package sqltest

import (
	"fmt"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/sqlstore"
)

// TestVaultInATransaction puts a secret of a new tenant inside the
// application's transaction, which is rolled back: the secret is gone, and what
// was sealed under the new key and kept elsewhere still opens.
func TestVaultInATransaction(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		kms := memkek.New("test")
		v, err := vault.New(vault.Config{KEK: kms, Store: s})
		noError(t, err)
		defer func() { _ = v.Close() }()
		org := vault.KeyContext{"organization_id": "org_01"}
		tx := begin(t, db)
		ctx := s.WithTx(t.Context(), tx)
		_, err = v.Put(ctx, org, "api-key", []byte("secret"))
		if e.dialect == sqlstore.SQLite { // its only writer is the transaction
			wantErr(t, err, sqlstore.ErrKeyInTx)
			noError(t, tx.Rollback())
			noError(t, v.Prepare(t.Context(), org))
			tx = begin(t, db)
			ctx = s.WithTx(t.Context(), tx)
			_, err = v.Put(ctx, org, "api-key", []byte("secret"))
		}
		noError(t, err)
		kept, err := v.Encrypt(ctx, org, []byte("elsewhere"), nil)
		noError(t, err)
		got, err := v.Get(ctx, org, "api-key")
		noError(t, err)
		if string(got.Value) != "secret" {
			t.Errorf("got %q", got.Value)
		}
		noError(t, tx.Rollback())
		_, err = v.Get(t.Context(), org, "api-key")
		wantErr(t, err, vault.ErrNotFound)

		other, err := vault.New(vault.Config{KEK: kms, Store: s}) // with nothing in its cache
		noError(t, err)
		defer func() { _ = other.Close() }()
		plain, err := other.Decrypt(t.Context(), org, kept, nil)
		if err != nil || string(plain) != "elsewhere" {
			t.Errorf("got %q, %v", plain, err)
		}
	})
}

func Example() {
	db := exampleDatabase() // sql.Open("sqlite", …)
	defer func() { _ = db.Close() }()
	store, err := sqlstore.New(db, sqlstore.SQLite)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := store.Migrate(exampleContext); err != nil {
		fmt.Println(err)
		return
	}
	v, err := vault.New(vault.Config{KEK: memkek.New("example"), Store: store})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = v.Close() }()

	org := vault.KeyContext{"organization_id": "org_01"}
	if err := v.Prepare(exampleContext, org); err != nil { // the key, before BEGIN
		fmt.Println(err)
		return
	}
	tx, err := db.BeginTx(exampleContext, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.Exec("CREATE TABLE users (name TEXT)"); err != nil { // the application's own work
		fmt.Println(err)
		return
	}
	if _, err := v.Put(store.WithTx(exampleContext, tx), org, "api-key", []byte("secret")); err != nil {
		fmt.Println(err)
		return
	}
	if err := tx.Commit(); err != nil {
		fmt.Println(err)
		return
	}
	secret, err := v.Get(exampleContext, org, "api-key")
	fmt.Println(string(secret.Value), err)
	// Output: secret <nil>
}
