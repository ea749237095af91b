package vault_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// hookStore runs hooks before keys are written, and may be out of reach for reading.
type hookStore struct {
	storage.Store
	beforeUpdate func(storage.KeyRecord)
	beforeInsert func(storage.KeyRecord)
	down         atomic.Bool
}

func (s *hookStore) UpdateKey(ctx context.Context, r storage.KeyRecord) error {
	if f := s.beforeUpdate; f != nil {
		f(r)
	}
	return s.Store.UpdateKey(ctx, r)
}

func (s *hookStore) InsertKey(ctx context.Context, r storage.KeyRecord) error {
	if f := s.beforeInsert; f != nil {
		f(r)
	}
	return s.Store.InsertKey(ctx, r)
}

func (s *hookStore) GetKey(ctx context.Context, id keyctx.KeyID) (storage.KeyRecord, error) {
	if s.down.Load() {
		return storage.KeyRecord{}, storage.ErrUnavailable
	}
	return s.Store.GetKey(ctx, id)
}

func (s *hookStore) LatestKey(ctx context.Context, h keyctx.Hash, p keyctx.Purpose) (storage.KeyRecord, error) {
	if s.down.Load() {
		return storage.KeyRecord{}, storage.ErrUnavailable
	}
	return s.Store.LatestKey(ctx, h, p)
}

// txStore says of every ctx that it carries a transaction.
type txStore struct{ storage.Store }

func (txStore) InTx(context.Context) bool { return true }

// What destroys keys for good must not believe what a transaction shows, which may be
// rolled back.
func TestLifecycleRefusesATransaction(t *testing.T) {
	v := open(t, vault.Config{KEK: memkek.New("test"), Store: txStore{memstore.New()}, NoBackground: true})
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"Rewrap":           func() error { return second(v.Rewrap(ctx, vault.RewrapOptions{All: true})) },
		"ReencryptObjects": func() error { return second(v.ReencryptObjects(ctx, vault.ReencryptOptions{All: true})) },
		"RetireKeys":       func() error { return second(v.RetireKeys(ctx, retireAll)) },
		"Disable":          func() error { return second(v.Disable(ctx, orgA)) },
		"Enable":           func() error { return second(v.Enable(ctx, orgA)) },
		"Shred":            func() error { return second(v.Shred(ctx, orgA, vault.ShredOptions{})) },
		"CancelShred":      func() error { return v.CancelShred(ctx, storage.NewID(time.Now())) },
		"RunShreds":        func() error { return second(v.RunShreds(ctx)) },
	} {
		if err := call(); !errors.Is(err, vault.ErrInvalidOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// countHook asks f before each count of what refers to a key.
type countHook struct {
	storage.Store
	n int
	f func(n int) error
}

func (s *countHook) CountByKey(ctx context.Context, id keyctx.KeyID) (int64, error) {
	s.n++
	if err := s.f(s.n); err != nil {
		return 0, err
	}
	return s.Store.CountByKey(ctx, id)
}

// slowPut holds a write of an object until it may go on.
type slowPut struct {
	storage.Store
	gate, at chan struct{}
}

func (s *slowPut) PutObject(ctx context.Context, r storage.ObjectRecord, g storage.PutGuard) (storage.ObjectRecord, error) {
	close(s.at)
	<-s.gate
	return s.Store.PutObject(ctx, r, g)
}

// The look at what refers to a key that was just retired fails, or the caller's ctx
// ends: the key comes back.
func TestRetireCantLookAgain(t *testing.T) {
	for name, ends := range map[string]bool{"the store is unavailable": false, "ctx ends": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { retireCantLookAgain(t, ends) })
		})
	}
}

func retireCantLookAgain(t *testing.T, ctxEnds bool) {
	k, s := memkek.New("test"), memstore.New()
	cfg := vault.Config{KEK: k, Store: s, NoBackground: true, RotateAfter: -1}
	v := open(t, cfg)
	ws := &slowPut{Store: s, gate: make(chan struct{}), at: make(chan struct{})}
	cfg.Store = ws
	writer := open(t, cfg)
	ok(t, writer.Prepare(t.Context(), orgA))
	put := make(chan error)
	go func() { put <- second(writer.Put(t.Context(), orgA, "a", []byte("secret"))) }()
	<-ws.at
	ok(t, v.Rotate(t.Context(), orgA))
	time.Sleep(25 * time.Hour)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cfg.Store = &countHook{Store: s, f: func(n int) error {
		if n != 2 {
			return nil
		}
		close(ws.gate) // the write under way ends
		ok(t, <-put)
		if ctxEnds {
			cancel()
			return nil
		}
		return storage.ErrUnavailable
	}}
	report, err := open(t, cfg).RetireKeys(ctx, retireAll)
	if err == nil || report.Retired != 0 {
		t.Errorf("%+v: %v", report, err)
	}
	cfg.Store = s
	must(open(t, cfg).Get(t.Context(), orgA, "a"))(t)
}

// A key that can't be brought back is told of, whatever else there is to be told.
func TestRetireSaysWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		cfg := vault.Config{KEK: memkek.New("test"), Store: s, NoBackground: true, RotateAfter: -1}
		v := open(t, cfg)
		ok(t, v.Prepare(t.Context(), orgA))
		ok(t, v.Rotate(t.Context(), orgA))
		time.Sleep(25 * time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		hs := &failAfterFirst{Store: s, stop: cancel}
		cfg.Store = &countHook{Store: hs, f: func(n int) error {
			if n == 2 {
				return storage.ErrUnavailable
			}
			return nil
		}}
		report, err := open(t, cfg).RetireKeys(ctx, retireAll)
		if !errors.Is(err, errOfTheStore) || report.Failed != 1 || report.Retired != 0 || len(report.Refused) != 1 {
			t.Errorf("%+v: %v", report, err)
		}
	})
}

var errOfTheStore = errors.New("the store is in trouble")

// failAfterFirst updates one key and then none.
type failAfterFirst struct {
	storage.Store
	stop func()
	n    int
}

func (s *failAfterFirst) UpdateKey(ctx context.Context, r storage.KeyRecord) error {
	if s.n++; s.n > 1 {
		s.stop()
		return errOfTheStore
	}
	return s.Store.UpdateKey(ctx, r)
}

// A process that can't reach the store seals under a superseded key for as long as it
// has it.
func TestRetireWaitsForWhoCantReachTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := memkek.New("test"), memstore.New()
		a := open(t, vault.Config{KEK: k, Store: s, NoBackground: true, RotateAfter: -1})
		hs := &hookStore{Store: s}
		b := open(t, vault.Config{KEK: k.Peer(), Store: hs, NoBackground: true, RotateAfter: -1})
		must(b.Encrypt(t.Context(), orgA, nil, nil))(t)
		hs.down.Store(true)
		ok(t, a.Rotate(t.Context(), orgA))
		o := retireAll
		for _, o.OlderThan = range []time.Duration{2 * time.Minute, 20 * time.Minute, 75 * time.Minute} {
			if _, err := a.RetireKeys(t.Context(), o); !errors.Is(err, vault.ErrInvalidOption) {
				t.Errorf("%v: %v", o.OlderThan, err)
			}
		}
		o.OlderThan++
		sealed, retired := 0, int64(0)
		for range 80 {
			if _, err := b.Encrypt(t.Context(), orgA, []byte("secret"), nil); err == nil {
				if sealed++; retired > 0 {
					t.Fatalf("b seals under a key that was retired")
				}
			}
			time.Sleep(time.Minute)
			retired += must(a.RetireKeys(t.Context(), o))(t).Retired
		}
		if sealed < 10 || retired != 1 {
			t.Errorf("%d sealed while the store was out of reach, %d keys retired", sealed, retired)
		}
	})
}
