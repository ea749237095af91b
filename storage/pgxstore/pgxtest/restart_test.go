package pgxtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/pgxstore"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
)

// writer puts versions of an object of its own, in turn by itself and in a
// transaction of the application's, and remembers what was acknowledged.
type writer struct {
	name  string
	pool  *pgxpool.Pool
	acked []storage.ObjectRecord
	keys  []storage.KeyRecord
	put   atomic.Int64 // acknowledged puts
	down  atomic.Int64 // calls that found the database unavailable
}

func (w *writer) run(t *testing.T, s *pgxstore.Store, stop <-chan struct{}) {
	kc := tenant(int(w.name[0]))
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		rec := object(t, kc, fmt.Sprintf("%s-%d", w.name, i))
		got, err := w.object(t.Context(), s, rec, i%3 == 0)
		if w.sort(t, err) {
			w.acked = append(w.acked, got)
			w.put.Add(1)
		}
		k := key(t, kc, uint32(i+1))
		if w.sort(t, s.InsertKey(t.Context(), k)) {
			w.keys = append(w.keys, k)
		}
		// A key that was acknowledged is never denied, whatever goes on.
		if n := len(w.keys); n > 0 {
			_, err := s.GetKey(t.Context(), w.keys[n-1].KeyID)
			w.sort(t, err)
		}
	}
}

func (w *writer) object(ctx context.Context, s *pgxstore.Store, rec storage.ObjectRecord, inTx bool) (got storage.ObjectRecord, err error) {
	if !inTx {
		return s.PutObject(ctx, rec, storage.PutGuard{Now: base, IfAbsent: true})
	}
	tx, err := w.pool.Begin(ctx)
	if err != nil {
		return got, errors.Join(storage.ErrUnavailable, err) // the application's own call
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if got, err = s.PutObject(s.WithTx(ctx, tx), rec, now); err != nil {
		return got, err
	}
	if err := tx.Commit(ctx); err != nil {
		return got, errors.Join(storage.ErrUnavailable, err)
	}
	return got, nil
}

// sort reports whether a call was acknowledged; if not, the error must say that
// the database isn't there, and nothing else.
func (w *writer) sort(t *testing.T, err error) bool {
	if err == nil {
		return true
	}
	w.down.Add(1)
	unavailable(t, err)
	time.Sleep(time.Millisecond)
	return false
}

// TestRestart stops the server at once, twice, while four goroutines write, and
// starts it again: calls fail as unavailable, then go on without a new pool or
// store, and all that was acknowledged is there.
func TestRestart(t *testing.T) {
	t.Parallel()
	srv := pgserver.Start(t, pgserver.Options{Durable: true})
	dsn, err := srv.NewDatabase(t.Context())
	noError(t, err)
	pool := open(t, dsn, maxConns(6))
	s := on(t, pool)
	noError(t, s.Migrate(t.Context()))
	held := begin(t, pool)
	orphan := object(t, tenant(1000), "orphan")
	_, err = s.PutObject(s.WithTx(t.Context(), held), orphan, now)
	noError(t, err)

	writers := make([]*writer, 4)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range writers {
		writers[i] = &writer{name: string(rune('a' + i)), pool: pool}
		wg.Go(func() { writers[i].run(t, s, stop) })
	}
	end := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer end()
	eachPuts(t, writers, 20)
	for range 2 {
		noError(t, srv.Crash())
		for _, w := range writers { // all of them meet the outage
			until(t, func(before int64) bool { return w.down.Load() > before+2 }, w.down.Load())
		}
		noError(t, srv.Start())
		eachPuts(t, writers, 20)
	}
	end()

	_, err = s.GetObject(s.WithTx(t.Context(), held), ref(orphan))
	unavailable(t, err)
	_ = held.Rollback(t.Context())
	if has(t, s, orphan) {
		t.Error("what was never committed is there")
	}
	other, _ := sqlStore(t, dsn) // an independent reader
	n := 0
	for _, w := range writers {
		for _, want := range w.acked {
			got, err := other.GetObject(t.Context(), storage.ObjectRef{ID: want.ID, NoEnvelope: true})
			if err != nil || !got.Same(want) {
				t.Errorf("%s was acknowledged: %v", want.Name, err)
			}
		}
		for _, k := range w.keys {
			if _, err := other.GetKey(t.Context(), k.KeyID); err != nil {
				t.Errorf("a key was acknowledged: %v", err)
			}
		}
		n += len(w.acked) + len(w.keys)
	}
	idle(t, pool)
	t.Logf("%d writes were acknowledged", n)
}

// eachPuts waits until every writer has put n more.
func eachPuts(t *testing.T, writers []*writer, n int64) {
	t.Helper()
	for _, w := range writers {
		until(t, func(before int64) bool { return w.put.Load() >= before+n }, w.put.Load())
	}
}

func until(t *testing.T, reached func(before int64) bool, before int64) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(before); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it doesn't go on")
		}
	}
}
