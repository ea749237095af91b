package sqltest

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

// snapshot begins a transaction that has read something, and so sees, at
// REPEATABLE READ, the database as it is now.
func snapshot(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx := begin(t, db)
	var n int
	noError(t, tx.QueryRow("SELECT count(*) FROM app").Scan(&n))
	return tx
}

func withApp(t *testing.T, e engine) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	s, db := e.store(t)
	_, err := db.Exec("CREATE TABLE app (n INT)")
	noError(t, err)
	return s, db
}

// TestTxContextOfOthers has others add a context, and an object of it, after the
// transaction's snapshot: what a locking read finds is no damage.
func TestTxContextOfOthers(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		s, db := withApp(t, e)
		tenants := 0
		for op, call := range map[string]func(context.Context, storage.ObjectRecord) error{
			"delete": func(ctx context.Context, r storage.ObjectRecord) error {
				_, err := s.DeleteObject(ctx, ref(r), storage.ID{})
				return err
			},
			"sweep": func(ctx context.Context, r storage.ObjectRecord) error {
				recs, err := s.DeleteExpired(ctx, "", base.Add(2*time.Hour), 10)
				if err == nil && len(recs) != 1 {
					t.Errorf("%d were swept", len(recs))
				}
				return err
			},
			"import": func(ctx context.Context, r storage.ObjectRecord) error { return s.ImportVersion(ctx, r) },
		} {
			tx := snapshot(t, db)
			tenants++
			r := object(t, tenant(tenants), op, expires(base.Add(time.Hour)))
			rec := put(t, s, r)
			rec.Envelope = r.Envelope
			if err := call(s.WithTx(t.Context(), tx), rec); err != nil {
				t.Errorf("%s: %v", op, err)
			}
			noError(t, tx.Commit())
			_, err := s.DeleteExpired(t.Context(), "", base.Add(2*time.Hour), 10)
			noError(t, err)
		}
	})
}

// TestTxReadsItsNewContext puts a secret of a new tenant, whose first key and
// with it its context are committed beside the transaction, and reads it in all
// ways.
func TestTxReadsItsNewContext(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		s, db := withApp(t, e)
		v, err := vault.New(vault.Config{KEK: memkek.New("test"), Store: s})
		noError(t, err)
		defer func() { _ = v.Close() }()
		org := vault.KeyContext{"organization_id": "org_new"}
		tx := snapshot(t, db)
		ctx := s.WithTx(t.Context(), tx)
		_, err = v.Put(ctx, org, "api-key", []byte("secret"))
		noError(t, err)
		got, err := v.Get(ctx, org, "api-key")
		if err != nil || string(got.Value) != "secret" {
			t.Errorf("got %q, %v", got.Value, err)
		}
		rec, err := s.GetObject(ctx, storage.ObjectRef{ContextHash: hashOf(t, org), Name: "api-key"})
		noError(t, err)
		many, err := s.GetObjects(ctx, rec.ContextHash, []string{"api-key"}, base)
		noError(t, err)
		listed, err := s.ListObjects(ctx, storage.ObjectQuery{Contexts: storage.ContextFilter{Hash: rec.ContextHash}})
		noError(t, err)
		versions, err := s.ListVersions(ctx, storage.VersionQuery{Object: rec.ID})
		noError(t, err)
		under, err := s.ListByKey(ctx, storage.ByKeyQuery{KeyID: rec.KeyID})
		noError(t, err)
		for what, n := range map[string]int{
			"get many": len(many), "list": len(listed.Objects), "versions": len(versions.Objects), "by key": len(under.Objects),
		} {
			if n != 1 {
				t.Errorf("%s: %d objects", what, n)
			}
		}
		noError(t, v.Delete(ctx, org, "api-key"))
		noError(t, tx.Commit())
	})
}
