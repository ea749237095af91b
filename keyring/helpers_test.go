package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

const data = keyctx.PurposeData

// world is a keyring with the drivers below it.
type world struct {
	*keyring.Keyring
	kek   *memkek.KEK
	store *memstore.Store
}

// newWorld makes a keyring on memory drivers.
func newWorld(t testing.TB, change ...func(*keyring.Config)) *world {
	t.Helper()
	return newWorldOn(t, memkek.New("test"), memstore.New(), change...)
}

// newWorldOn makes a keyring on these drivers, as another process would.
func newWorldOn(t testing.TB, k *memkek.KEK, s *memstore.Store, change ...func(*keyring.Config)) *world {
	t.Helper()
	cfg := keyring.Config{
		Policy: kek.Fixed(k), Store: s,
		Size: 1000, TTL: 15 * time.Minute, ActiveKeyTTL: time.Minute, StaleIfUnavailable: time.Hour,
		CallTimeout: 5 * time.Second, LoadTimeout: 15 * time.Second, KEKConcurrency: 32,
	}
	for _, f := range change {
		f(&cfg)
	}
	r, err := keyring.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return &world{r, k, s}
}

// peer is another process on the same KEK and the same store.
func (w *world) peer(t testing.TB, change ...func(*keyring.Config)) *world {
	return newWorldOn(t, w.kek.Peer(), w.store, change...)
}

func tenant(n int) keyring.Context {
	return contextOf(keyctx.KeyContext{"organization_id": fmt.Sprintf("org_%02d", n)})
}

func contextOf(kc keyctx.KeyContext) keyring.Context {
	hash, err := kc.Hash()
	if err != nil {
		panic(err)
	}
	return keyring.Context{Hash: hash, Pairs: kc}
}

// active uses the active key once and returns its ID.
func active(t testing.TB, w *world, c keyring.Context) keyctx.KeyID {
	t.Helper()
	k, err := w.Active(context.Background(), c, data)
	if err != nil {
		t.Fatalf("Active: %v", err)
	}
	defer k.Release()
	return k.ID()
}

// tryActive returns what using the active key says.
func tryActive(w *world, c keyring.Context) error { return tryActiveCtx(context.Background(), w, c) }

func tryActiveCtx(ctx context.Context, w *world, c keyring.Context) error {
	k, err := w.Active(ctx, c, data)
	if err != nil {
		return err
	}
	defer k.Release()
	return useKey(k)
}

func tryByID(w *world, c keyring.Context, id keyctx.KeyID) error {
	k, err := w.ByID(context.Background(), c, data, id)
	if err != nil {
		return err
	}
	defer k.Release()
	if k.ID() != id {
		return errors.New("another key came back")
	}
	return useKey(k)
}

// useKey seals and opens with a key.
func useKey(k *keyring.Key) error {
	kind := envelope.KindMessage
	if k.Block() != nil {
		kind = envelope.KindMessageSelf
	}
	sealed, err := k.Seal(nil, kind, k.Block(), []byte("x"), nil)
	if err != nil {
		return err
	}
	e, err := envelope.Parse(sealed)
	if err != nil {
		return err
	}
	_, err = k.Open(nil, e, nil)
	return err
}

// wantErr fails unless err matches want (nil: no error) and none of not.
func wantErr(t testing.TB, err, want error, not ...error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want one that matches %v", err, want)
	}
	for _, n := range not {
		if errors.Is(err, n) {
			t.Fatalf("error %v matches %v too", err, n)
		}
	}
}

// wantCalls fails unless the KEK was asked to wrap and unwrap so often.
func wantCalls(t testing.TB, k *memkek.KEK, wraps, unwraps int) {
	t.Helper()
	if k.Wraps() != wraps || k.Unwraps() != unwraps {
		t.Fatalf("the KEK got %d wraps and %d unwraps, want %d and %d", k.Wraps(), k.Unwraps(), wraps, unwraps)
	}
}

// change updates the newest record of a context.
func (w *world) change(t testing.TB, c keyring.Context, f func(*storage.KeyRecord)) storage.KeyRecord {
	t.Helper()
	rec, err := w.store.LatestKey(context.Background(), c.Hash, data)
	if err != nil {
		t.Fatal(err)
	}
	f(&rec)
	if err := w.store.UpdateKey(context.Background(), rec); err != nil {
		t.Fatal(err)
	}
	return rec
}

// failStore makes the named operations of the store fail.
func failStore(s *memstore.Store, err error, ops ...string) {
	s.SetFault(func(op string) error {
		for _, o := range ops {
			if o == op {
				return err
			}
		}
		return nil
	})
}

// stored returns how many keys the store has.
func (w *world) stored(t testing.TB) int {
	t.Helper()
	n, q := 0, storage.KeyQuery{Contexts: storage.ContextFilter{All: true}, Limit: 1000}
	for {
		page, err := w.store.ListKeys(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.Keys)
		if q.Cursor = page.Next; q.Cursor == "" {
			return n
		}
	}
}
