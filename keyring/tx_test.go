package keyring_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// lockedStore is a store whose transactions hold a lock, as SQLite's do: keys
// can't be written in one, and others wait for its end.
type lockedStore struct {
	*memstore.Store
	busy chan struct{} // if not nil, reads outside transactions wait for its end
	lock chan struct{} // holds one; a channel, as a bubble sees through no mutex
}

type inTx struct{}

var errKeyInTx = errors.New("a key can't be made in a transaction")

func (s *lockedStore) InTx(ctx context.Context) bool { return ctx.Value(inTx{}) != nil }

func (s *lockedStore) InsertKey(ctx context.Context, rec storage.KeyRecord) error {
	if s.InTx(ctx) {
		return errKeyInTx
	}
	<-s.lock
	defer func() { s.lock <- struct{}{} }()
	return s.Store.InsertKey(ctx, rec)
}

func (s *lockedStore) LatestKey(ctx context.Context, hash keyctx.Hash, p keyctx.Purpose) (storage.KeyRecord, error) {
	if s.busy != nil && !s.InTx(ctx) {
		select {
		case <-s.busy:
		case <-ctx.Done():
			return storage.KeyRecord{}, ctx.Err()
		}
	}
	return s.Store.LatestKey(ctx, hash, p)
}

func newLockedWorld(t *testing.T) (*world, *lockedStore, context.Context) {
	s := &lockedStore{Store: memstore.New(), lock: make(chan struct{}, 1)}
	s.lock <- struct{}{}
	w := newWorldOn(t, memkek.New("test"), s.Store, func(c *keyring.Config) { c.Store = s })
	return w, s, context.WithValue(t.Context(), inTx{}, true)
}

func TestTransactionFailsItsOwnCallersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, tx := newLockedWorld(t)
		w.kek.SetLatency(time.Second)
		var inside error
		var wg sync.WaitGroup
		wg.Go(func() { inside = tryActiveCtx(tx, w, tenant(1)) })
		synctest.Wait()
		wantErr(t, tryActive(w, tenant(1)), nil)
		wg.Wait()
		wantErr(t, inside, errKeyInTx)
		wantErr(t, tryActiveCtx(tx, w, tenant(1)), nil) // it is made by now
	})
}

func TestTransactionWaitsForNoOneWhoWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, tx := newLockedWorld(t)
		<-s.lock // BEGIN
		var outside error
		var wg sync.WaitGroup
		wg.Go(func() { outside = tryActive(w, tenant(1)) })
		synctest.Wait()
		start := time.Now()
		wantErr(t, tryActiveCtx(tx, w, tenant(1)), errKeyInTx)
		if took := time.Since(start); took > time.Second {
			t.Errorf("a transaction waited %v for who waits for it", took)
		}
		s.lock <- struct{}{} // ROLLBACK
		wg.Wait()
		wantErr(t, outside, nil)
	})
}

// All connections are the callers' own transactions': a renewal can't have one.
func TestTransactionDoesNotWaitForItsOwnConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, s, tx := newLockedWorld(t)
		wantErr(t, tryActive(w, tenant(1)), nil)
		time.Sleep(2 * time.Minute) // past ActiveKeyTTL
		s.busy = make(chan struct{})
		start := time.Now()
		for range 4 {
			wantErr(t, tryActiveCtx(tx, w, tenant(1)), nil)
		}
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("4 calls with a key at hand took %v", took)
		}
		close(s.busy)
	})
}

// A key that is at hand and is being renewed: a caller in a transaction waits for
// the renewal that is under way.
func TestTransactionJoinsARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, tx := newLockedWorld(t)
		wantErr(t, tryActive(w, tenant(1)), nil)
		time.Sleep(16 * time.Minute) // past TTL
		w.kek.SetLatency(time.Second)
		calls := w.kek.Unwraps()
		var wg sync.WaitGroup
		wg.Go(func() { wantErr(t, tryActive(w, tenant(1)), nil) })
		synctest.Wait()
		wantErr(t, tryActiveCtx(tx, w, tenant(1)), nil)
		wg.Wait()
		if n := w.kek.Unwraps() - calls; n != 1 {
			t.Errorf("%d calls of the KMS, want 1", n)
		}
	})
}
