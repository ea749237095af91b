package vault_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

func keysOf(t testing.TB, v *vaulttest.Vault, kc vault.KeyContext) []storage.KeyRecord {
	t.Helper()
	page := must(v.Store.ListKeys(t.Context(), storage.KeyQuery{Contexts: storage.ContextFilter{Hash: hashIn(t, kc, "")}}))(t)
	return page.Keys
}

// The store fails between the creation of a key and the write of the data:
// nothing is lost, the call can be made again, and there is one key.
func TestStoreFailsBetweenKeyAndData(t *testing.T) {
	for _, otherProcess := range []bool{false, true} {
		v := vaulttest.New(t)
		ctx := t.Context()
		var inserted atomic.Bool
		v.Store.SetFault(func(op string) error {
			if op == "InsertKey" {
				inserted.Store(true)
			}
			if op == "PutObject" && inserted.Load() {
				return vault.ErrStoreUnavailable
			}
			return nil
		})
		_, err := v.Put(ctx, orgA, "x", []byte("x"), vault.IfAbsent())
		wantClass(t, err, "ErrStoreUnavailable")
		if _, err := v.Get(ctx, orgA, "x"); !errors.Is(err, vault.ErrNotFound) {
			t.Fatalf("%v", err)
		}
		v.Store.SetFault(nil)
		w := v
		if otherProcess {
			w = peerOf(t, v)
		}
		must(w.Put(ctx, orgA, "x", []byte("x"), vault.IfAbsent()))(t)
		if got := must(peerOf(t, v).Get(ctx, orgA, "x"))(t); string(got.Value) != "x" {
			t.Fatalf("%q", got.Value)
		}
		if n := len(keysOf(t, v, orgA)); n != 1 || v.KEK.Wraps() != 1 {
			t.Fatalf("%d keys, %d wraps", n, v.KEK.Wraps())
		}
	}
}

// A key that couldn't be stored seals nothing.
func TestKeyThatWasNotStoredSealsNothing(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	v.Store.SetFault(func(op string) error {
		if op == "InsertKey" {
			return vault.ErrStoreUnavailable
		}
		return nil
	})
	for range 3 {
		_, err := v.Encrypt(ctx, orgA, []byte("x"), nil)
		wantClass(t, err, "ErrStoreUnavailable")
	}
	if n := v.Stats().CachedKeys; n != 0 {
		t.Fatalf("%d keys are cached", n)
	}
	v.Store.SetFault(nil)
	sealed := must(v.Encrypt(ctx, orgA, []byte("x"), nil))(t)
	must(peerOf(t, v).Decrypt(ctx, orgA, sealed, nil))(t)
}

// The store says that it failed, but it did write the key: a lost answer. The
// key that is there is used, and no second one is made.
func TestLostAnswerOfInsertKey(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	w := open(t, vault.Config{KEK: v.KEK, Store: &lostAnswer{Store: v.Store}})
	_, err := w.Encrypt(ctx, orgA, []byte("x"), nil)
	wantClass(t, err, "ErrStoreUnavailable")
	sealed := must(w.Encrypt(ctx, orgA, []byte("x"), nil))(t)
	must(v.Decrypt(ctx, orgA, sealed, nil))(t)
	if n := len(keysOf(t, v, orgA)); n != 1 {
		t.Fatalf("%d keys", n)
	}
}

type lostAnswer struct {
	storage.Store
	lost atomic.Bool
}

func (s *lostAnswer) InsertKey(ctx context.Context, rec storage.KeyRecord) error {
	err := s.Store.InsertKey(ctx, rec)
	if err == nil && s.lost.CompareAndSwap(false, true) {
		return fmt.Errorf("connection reset: %w", storage.ErrUnavailable)
	}
	return err
}

// A ctx that has ended before the call: nothing is asked and nothing written, and
// the error says so, whatever the call.
func TestCancelledBeforeTheCall(t *testing.T) {
	v := vaulttest.New(t)
	s := sampleOf(t, v.Vault, orgA)
	v.KEK.ResetCounts()
	v.Store.ResetCalls()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cold := peerOf(t, v)
	for _, v := range []*vaulttest.Vault{v, cold} {
		calls := callsWith(withContext{t, ctx}, v.Vault, orgA, s)
		for name, call := range scopeCalls(withContext{t, ctx}, v.Vault, v.Scope(orgA), s) {
			calls["Scope."+name] = call
		}
		for name, call := range otherCalls(withContext{t, ctx}, v.Vault) {
			calls["other "+name] = call
		}
		for name, call := range calls {
			err := call()
			if name == "other Prepare" && err == nil { // of no contexts
				continue
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if n := v.Store.Calls("InsertKey") + v.Store.Calls("PutObject") + v.Store.Calls("DeleteObject") + v.Store.Calls("UpdateKey"); n != 0 {
		t.Errorf("%d writes", n)
	}
	// Only the probes, whose KEK says itself that it is too late.
	if w := v.KEK.Wraps() + cold.KEK.Wraps(); v.KEK.Unwraps()+cold.KEK.Unwraps() != 0 || w > 6 {
		t.Errorf("%d wraps", w)
	}
	if n := len(keysOf(t, v, orgA)); n != 2 { // for data and for indexes: the samples'
		t.Errorf("%d keys", n)
	}
}

// withContext is a test with another context.
type withContext struct {
	testing.TB
	ctx context.Context
}

func (t withContext) Context() context.Context { return t.ctx }

// A ctx that ends while the KMS or the store is asked: the caller returns at
// once with the ctx's error, and the next call works.
func TestCancelledDuringTheCall(t *testing.T) {
	storeHangs := func(op string) func(v *vaulttest.Vault) func() {
		return func(v *vaulttest.Vault) func() {
			release := make(chan struct{})
			v.Store.SetFault(func(o string) error {
				if o == op {
					<-release
				}
				return nil
			})
			return func() { close(release); v.Store.SetFault(nil) }
		}
	}
	kekHangs := func(v *vaulttest.Vault) func() {
		v.KEK.SetFault(memkek.Hang)
		return func() { v.KEK.SetFault(memkek.None) }
	}
	for name, hang := range map[string]func(v *vaulttest.Vault) func(){
		"KMS": kekHangs, "LatestKey": storeHangs("LatestKey"), "InsertKey": storeHangs("InsertKey"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := vaulttest.New(t)
				release := hang(v)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				_, err := v.Encrypt(ctx, orgA, []byte("x"), nil)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
					t.Errorf("after %v: %v", time.Since(start), err)
				}
				release()
				synctest.Wait()
				sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
				must(peerOf(t, v).Decrypt(t.Context(), orgA, sealed, nil))(t)
				if n := len(keysOf(t, v, orgA)); n != 1 {
					t.Errorf("%d keys", n)
				}
			})
		})
	}
}

// The first of many waiters cancels: the others get the key, and there is one
// wrap.
func TestFirstOfManyWaitersCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		v.KEK.SetLatency(time.Second)
		first, cancel := context.WithCancel(t.Context())
		errs := make(chan error)
		go func() { _, err := v.Encrypt(first, orgA, []byte("x"), nil); errs <- err }()
		synctest.Wait()
		const others = 10
		for range others {
			go func() { _, err := v.Encrypt(t.Context(), orgA, []byte("x"), nil); errs <- err }()
		}
		synctest.Wait()
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("the one who cancelled: %v", err)
		}
		for range others {
			if err := <-errs; err != nil {
				t.Errorf("another: %v", err)
			}
		}
		if v.KEK.Wraps() != 1 || len(keysOf(t, v, orgA)) != 1 {
			t.Errorf("%d wraps", v.KEK.Wraps())
		}
	})
}

// A KMS or store that hangs for ever doesn't keep a caller without a deadline
// for ever.
func TestHangingKMSIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		sealed := must(v.Encrypt(t.Context(), orgB, []byte("x"), nil))(t)
		v.KEK.SetFault(memkek.Hang)
		cold := peerOf(t, v)
		cold.KEK.SetFault(memkek.Hang)
		start := time.Now()
		_, err := v.Encrypt(t.Context(), orgA, nil, nil)
		wantClass(t, err, "ErrKEKUnavailable")
		_, err = cold.Decrypt(t.Context(), orgB, sealed, nil)
		wantClass(t, err, "ErrKEKUnavailable")
		if took := time.Since(start); took > 40*time.Second {
			t.Errorf("two callers waited %v", took)
		}
		// Warm reads of another context go on as if nothing was.
		start = time.Now()
		must(v.Decrypt(t.Context(), orgB, sealed, nil))(t)
		if time.Since(start) != 0 {
			t.Errorf("a warm read waited %v", time.Since(start))
		}
	})
}

// Losing a race for a key makes no second one and loses no data: two processes
// begin at once.
func TestTwoProcessesBeginAtOnce(t *testing.T) {
	for range 20 {
		v := vaulttest.New(t, func(c *vault.Config) { c.NoBackground = true })
		peers := []*vaulttest.Vault{v, peerOf(t, v), peerOf(t, v)}
		sealed := make(chan []byte)
		for _, p := range peers {
			go func() {
				b, err := p.Encrypt(t.Context(), orgA, []byte("x"), nil)
				if err != nil {
					t.Error(err)
				}
				sealed <- b
			}()
		}
		for range peers {
			b := <-sealed
			for _, p := range peers {
				if _, err := p.Decrypt(t.Context(), orgA, b, nil); err != nil {
					t.Error(err)
				}
			}
		}
		if keys := keysOf(t, v, orgA); len(keys) != 1 || keys[0].Version != 1 || keys[0].Purpose != keyctx.PurposeData {
			t.Fatalf("%d keys", len(keys))
		}
	}
}

// A key that was shredded, or whose record is gone, isn't sealed under for lack
// of another: while no new key can be made, there is an error.
func TestGoneKeyIsNotSealedUnderDuringAnOutage(t *testing.T) {
	for name, gone := range map[string]func(t *testing.T, v *vaulttest.Vault, rec storage.KeyRecord){
		"shredded": func(t *testing.T, v *vaulttest.Vault, rec storage.KeyRecord) {
			if err := v.Store.EditKey(rec.KeyID, func(r *storage.KeyRecord) {
				r.State, r.Wrappings = storage.StateShredded, nil
			}); err != nil {
				t.Fatal(err)
			}
		},
		"deleted": func(t *testing.T, v *vaulttest.Vault, rec storage.KeyRecord) {
			if err := v.Store.DeleteKey(t.Context(), rec.KeyID, rec.Revision); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, fault := range []memkek.Fault{memkek.Unavailable, memkek.Hang} {
			t.Run(name+", "+fault.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v := vaulttest.New(t)
					ctx := t.Context()
					must(v.Encrypt(ctx, orgA, nil, nil))(t)
					gone(t, v, keysOf(t, v, orgA)[0])
					v.KEK.SetFault(fault)
					time.Sleep(time.Minute)
					for range 5 {
						_, err := v.Encrypt(ctx, orgA, []byte("x"), nil)
						wantClass(t, err, "ErrKEKUnavailable")
						_, err = v.Put(ctx, orgA, "x", nil)
						wantClass(t, err, "ErrKEKUnavailable")
						time.Sleep(7 * time.Second)
					}
					v.KEK.SetFault(memkek.None)
					time.Sleep(time.Minute)
					sealed := must(v.Encrypt(ctx, orgA, []byte("x"), nil))(t)
					must(peerOf(t, v).Decrypt(ctx, orgA, sealed, nil))(t)
				})
			})
		}
	}
}
