package sqltest

import (
	"fmt"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
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

// TestVaultForgedCursor lists within one tenant, from a place in another one's,
// which has a vault with a namespace of its own.
func TestVaultForgedCursor(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		kms := memkek.New("test")
		v, err := vault.New(vault.Config{KEK: kms, Store: s})
		noError(t, err)
		defer func() { _ = v.Close() }()
		other, err := vault.New(vault.Config{KEK: kms, Store: s, Namespace: "other-app"})
		noError(t, err)
		defer func() { _ = other.Close() }()
		mine := vault.KeyContext{"organization_id": "org_mine"}
		theirs := vault.KeyContext{"organization_id": "org_theirs"}
		for _, org := range []vault.KeyContext{mine, theirs} {
			_, err = other.Put(t.Context(), org, "secret-name", []byte("x"))
			noError(t, err)
		}
		_, err = v.Put(t.Context(), mine, "mine", []byte("x"))
		noError(t, err)
		for _, victim := range []vault.KeyContext{mine.WithNamespace("other-app"), theirs.WithNamespace("other-app")} {
			h := hashOf(t, victim) // of public pairs: anybody computes it
			q := storage.ObjectQuery{Contexts: storage.ContextFilter{Match: mine}}
			page, err := v.ListPage(t.Context(), mine, vault.ListOptions{Within: true, Cursor: q.NextCursor("sql", append(h[:], 0))})
			noError(t, err)
			for _, o := range page.Objects {
				if o.Name != "mine" {
					t.Errorf("%q of %v is in the list", o.Name, o.Context)
				}
			}
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
