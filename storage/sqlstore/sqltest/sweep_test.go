package sqltest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

// removals makes something happen instead of the n-th removal of an object.
func removals(n int64, instead func(ctx context.Context) error) func(context.Context, string) error {
	var seen atomic.Int64
	return func(ctx context.Context, query string) error {
		if strings.HasPrefix(query, "DELETE FROM") && strings.Contains(query, "vault_objects") && seen.Add(1) == n {
			return instead(ctx)
		}
		return nil
	}
}

// TestSweepCutOff ends ctx in the second transaction of a sweep: what the first
// one removed is counted, and each is an event.
func TestSweepCutOff(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s, m := e.meddled(t, removals(70, func(ctx context.Context) error {
			cancel()
			return ctx.Err()
		}))
		var events atomic.Int64
		v, err := vault.New(vault.Config{KEK: memkek.New("test"), Store: s, OnEvent: func(_ context.Context, ev vault.Event) error {
			if ev.Name == vault.DataDeleted && ev.Err == nil {
				events.Add(1)
			}
			return nil
		}})
		noError(t, err)
		defer func() { _ = v.Close() }()
		const total = 120
		for i := range total {
			put(t, s, object(t, tenant(1), fmt.Sprint(i), expires(base)), storage.PutGuard{})
		}
		n, err := v.Sweep(ctx)
		wantErr(t, err, context.Canceled)
		var left int
		noError(t, m.pool.QueryRow("SELECT count(*) FROM vault_objects").Scan(&left))
		if n == 0 || n != total-left || events.Load() != int64(n) {
			t.Errorf("%d of %d are left, %d were counted, %d were told of", left, total, n, events.Load())
		}
	})
}

// lost is how a driver says that the transaction was chosen to end a deadlock.
type lost struct{ state, text string }

func (l lost) Error() string    { return l.text }
func (l lost) SQLState() string { return l.state }

func lostTo(d sqlstore.Dialect) error {
	switch d {
	case sqlstore.PostgreSQL:
		return lost{"40P01", "deadlock detected"}
	case sqlstore.MySQL:
		return errors.New("Error 1213 (40001): Deadlock found when trying to get lock")
	}
	return errors.New("database is locked")
}

// TestSweepLosesItsTransaction has the application's transaction lost, in
// MySQL without a trace, in the middle of a sweep: it is told, and of no object
// that it is removed.
func TestSweepLosesItsTransaction(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, m := e.meddled(t, removals(70, func(context.Context) error { return lostTo(e.dialect) }))
		for i := range 120 {
			put(t, s, object(t, tenant(1), fmt.Sprint(i), expires(base)), storage.PutGuard{})
		}
		tx := begin(t, m.pool)
		recs, err := s.DeleteExpired(s.WithTx(t.Context(), tx), "", base.Add(time.Hour), 0)
		wantErr(t, err, sqlstore.ErrRetry)
		if len(recs) > 0 {
			t.Errorf("%d objects are said to be removed", len(recs))
		}
		noError(t, tx.Rollback())
		recs, err = s.DeleteExpired(t.Context(), "", base.Add(time.Hour), 0)
		if len(recs) != 100 || err != nil {
			t.Errorf("again: %d, %v", len(recs), err)
		}
	})
}

// TestSweepDamagedRows wants objects that can't be read to stay, more than one
// transaction has, and to keep no others from being removed.
func TestSweepDamagedRows(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		for i := range 60 { // those that a sweep meets first
			put(t, s, object(t, tenant(1), fmt.Sprint(i), expires(base)), storage.PutGuard{})
		}
		_, err := db.Exec("UPDATE vault_versions SET labels = " + literal(e.dialect, []byte{1, 0, 9, 0}))
		noError(t, err)
		put(t, s, object(t, tenant(2), "of a damaged context", expires(base)), storage.PutGuard{})
		h := hashOf(t, tenant(2))
		_, err = db.Exec("UPDATE vault_contexts SET canonical = " + literal(e.dialect, []byte("junk")) + " WHERE context_hash = " + literal(e.dialect, h[:]))
		noError(t, err)
		for i := range 70 {
			put(t, s, object(t, tenant(3), fmt.Sprint(i), expires(base.Add(time.Minute))), storage.PutGuard{})
		}
		now := base.Add(time.Hour)
		tx := begin(t, db)
		recs, err := s.DeleteExpired(s.WithTx(t.Context(), tx), "", now, 20)
		wantErr(t, err, storage.ErrCorrupt)
		if len(recs) != 20 {
			t.Errorf("in the application's transaction %d were removed", len(recs))
		}
		noError(t, tx.Rollback())
		for _, want := range []int{55, 15, 0} {
			recs, err := s.DeleteExpired(t.Context(), "", now, 55)
			wantErr(t, err, storage.ErrCorrupt)
			if len(recs) != want {
				t.Errorf("%d were removed, want %d", len(recs), want)
			}
		}
		var left int
		noError(t, db.QueryRow("SELECT count(*) FROM vault_objects").Scan(&left))
		if left != 61 {
			t.Errorf("%d are left, want the 61 that are damaged", left)
		}
	})
}
