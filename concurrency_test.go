package vault_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// 3,000 concurrent first uses of one context: one key record, one wrap. The
// cold reads after them: one unwrap.
func TestThreeThousandFirstUses(t *testing.T) {
	const n = 3000
	v := vaulttest.New(t)
	ctx := t.Context()
	v.KEK.SetLatency(50 * time.Millisecond)
	sealed := make([][]byte, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var err error
			if sealed[i], err = v.Encrypt(ctx, orgA, fmt.Append(nil, i), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if w, u, k := v.KEK.Wraps(), v.KEK.Unwraps(), len(keysOf(t, v, orgA)); w != 1 || u != 1 || k != 1 {
		t.Fatalf("%d wraps, %d unwraps, %d key records", w, u, k)
	}
	if calls := v.Store.Calls("InsertKey"); calls != 1 {
		t.Fatalf("%d keys were offered to the store", calls)
	}
	cold := peerOf(t, v)
	cold.KEK.SetLatency(50 * time.Millisecond)
	for i := range n {
		wg.Go(func() {
			if got, err := cold.Decrypt(ctx, orgA, sealed[i], nil); err != nil || string(got) != fmt.Sprint(i) {
				t.Errorf("%d: %q, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	if u := cold.KEK.Unwraps(); u != 1 {
		t.Fatalf("%d unwraps of one cold key", u)
	}
}

// The cold load of one tenant, whose KMS is slow, keeps no warm read of another
// waiting.
func TestSlowTenantKeepsNobodyWaiting(t *testing.T) {
	slow, quick := memkek.New("slow"), memkek.New("quick")
	v := vaulttest.New(t, withPolicy(byTenant{"org_01": one(slow), "org_02": one(quick)}))
	ctx := t.Context()
	sealed := must(v.Encrypt(ctx, orgB, []byte("x"), nil))(t)
	slow.SetFault(memkek.Hang)
	done := make(chan error)
	waiting, cancel := context.WithCancel(ctx)
	go func() { _, err := v.Encrypt(waiting, orgA, nil, nil); done <- err }()
	for slow.InFlight() == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 1000 {
		must(v.Decrypt(ctx, orgB, sealed, nil))(t)
		must(v.Encrypt(ctx, orgB, nil, nil))(t)
	}
	must(v.Encrypt(ctx, orgB, nil, nil))(t)
	select {
	case err := <-done:
		t.Fatalf("the slow one is done already: %v", err)
	default:
	}
	cancel()
	<-done
}

// Every API is used by eight goroutines at once with a cache of two keys and
// rotations in between: everything decrypts, in this process and in another,
// and nothing is sealed under a key of zeros.
func TestHammer(t *testing.T) {
	eachSetup(t, true, func(t *testing.T, s setup, c vault.Config) {
		c.Cache.Size = 2
		rounds := 150
		if s.name == "bbolt" {
			rounds = 25 // each of its writes is synced
		}
		h := &hammer{t: t, v: open(t, c), peer: open(t, c)}
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(7, uint64(g)))
				for i := range rounds {
					h.strike(rnd, g, i)
				}
			})
		}
		wg.Wait()
		cold := open(t, c)
		for _, k := range h.kept {
			if got, err := cold.Decrypt(t.Context(), k.kc, k.sealed, nil); err != nil || !bytes.Equal(got, k.plaintext) {
				t.Fatalf("%v: %v", k.kc, err)
			}
			if opensUnder(t, make([]byte, 32), k.sealed) {
				t.Fatal("sealed under a key of zeros")
			}
		}
		if st := h.v.Stats(); st.CacheEvictions == 0 || st.CachedKeys > 2 || len(h.kept) == 0 {
			t.Fatalf("%+v, %d envelopes", st, len(h.kept))
		}
	})
}

type hammer struct {
	t       *testing.T
	v, peer *vault.Vault

	mu   sync.Mutex
	kept []keptEnvelope
}

type keptEnvelope struct {
	kc                vault.KeyContext
	sealed, plaintext []byte
}

func (h *hammer) strike(rnd *rand.Rand, g, i int) {
	ctx := h.t.Context()
	kc := vault.KeyContext{"organization_id": fmt.Sprint("org_", rnd.IntN(6))}
	v, other := h.v, h.peer
	if rnd.IntN(2) == 0 {
		v, other = other, v
	}
	sc := v.Scope(kc)
	plaintext := fmt.Append(nil, g, i)
	switch rnd.IntN(8) {
	case 0:
		if err := v.Rotate(ctx, kc); err != nil && !errors.Is(err, vault.ErrKeyNotFound) {
			h.t.Errorf("Rotate: %v", err)
		}
	case 1, 2:
		sealed, err := sc.Encrypt(ctx, plaintext, nil)
		h.check("Encrypt", err)
		h.mu.Lock()
		h.kept = append(h.kept, keptEnvelope{kc, sealed, plaintext})
		k := h.kept[rnd.IntN(len(h.kept))]
		h.mu.Unlock()
		got, err := other.Decrypt(ctx, k.kc, k.sealed, nil)
		h.same("Decrypt", got, k.plaintext, err)
	case 3:
		text, err := v.EncryptString(ctx, kc, string(plaintext), plaintext)
		h.check("EncryptString", err)
		got, err := sc.DecryptString(ctx, text, plaintext)
		h.same("DecryptString", []byte(got), plaintext, err)
	case 4:
		key, err := sc.CreateDataKey(ctx)
		h.check("CreateDataKey", err)
		moved, err := v.RekeyDataKey(ctx, kc, key.Sealed, orgA)
		h.check("RekeyDataKey", err)
		got, err := other.DecryptDataKey(ctx, orgA, moved)
		h.same("DecryptDataKey", got, key.Key, err)
	case 5, 6:
		name := fmt.Sprint("n", g) // each goroutine its own
		meta, err := sc.Put(ctx, name, plaintext)
		h.check("Put", err)
		obj, err := other.Get(ctx, kc, name, vault.AtVersion(meta.VersionID))
		h.same("Get", obj.Value, plaintext, err)
		many, err := v.GetMany(ctx, kc, name, "absent")
		h.same("GetMany", many[name].Value, plaintext, err)
	default:
		for m, err := range other.List(ctx, vault.KeyContext{"organization_id": kc["organization_id"]}, vault.ListOptions{Within: true, Limit: 3}) {
			h.check("List", err)
			if _, err := v.GetByID(ctx, m.Context, m.ID); err != nil && !errors.Is(err, vault.ErrNotFound) {
				h.t.Errorf("GetByID: %v", err)
			}
		}
		_ = v.Stats()
	}
}

func (h *hammer) check(what string, err error) {
	if err != nil {
		h.t.Errorf("%s: %v", what, err)
	}
}

func (h *hammer) same(what string, got, want []byte, err error) {
	if err != nil || !bytes.Equal(got, want) {
		h.t.Errorf("%s: %q, want %q, %v", what, got, want, err)
	}
}

// opensUnder reports whether a message opens with a DEK of this context key. It
// uses the primitives alone: package envelope refuses a key of zeros.
func opensUnder(t *testing.T, key, sealed []byte) bool {
	t.Helper()
	e := must(envelope.Parse(sealed))(t)
	dek := must(hkdf.Expand(sha256.New, key, "vault/v1/dek"+string(e.Salt), 32))(t)
	gcm := must(cipher.NewGCMWithRandomNonce(must(aes.NewCipher(dek))(t)))(t)
	_, err := gcm.Open(nil, nil, e.Sealed, []byte{envelope.Version, byte(e.Kind)})
	return err == nil
}

// The look for keys of zeros finds what it looks for.
func TestOpensUnder(t *testing.T) {
	w := newOpenWorld(t)
	_, rec := w.key(t, orgA)
	sealed := must(w.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	if !opensUnder(t, rec.Wrappings[0].Wrapped, sealed) || opensUnder(t, make([]byte, 32), sealed) {
		t.Fatal("it doesn't open with its key, or does with another")
	}
}

// Objects, events and stats may be read by many while others write.
func TestWritersOfOneObject(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.KeepVersions = 5 })
	ctx := t.Context()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				must(v.Put(ctx, orgA, "x", fmt.Append(nil, g, i)))(t)
				if _, err := v.Get(ctx, orgA, "x"); err != nil {
					t.Error(err)
				}
				_ = v.Events(vault.DataRead)
			}
		})
	}
	wg.Wait()
	meta := must(v.Describe(ctx, orgA, "x"))(t)
	if meta.Number != 400 {
		t.Fatalf("version %d after 400 puts", meta.Number)
	}
	var numbers []uint64
	for m := range v.Versions(ctx, orgA, "x") {
		numbers = append(numbers, m.Number)
	}
	if !slices.Equal(numbers, []uint64{400, 399, 398, 397, 396}) {
		t.Fatal(numbers)
	}
}

// A key that is disabled or revoked while it is used stops everybody, and nobody
// makes another.
func TestRevokedWhileInUse(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) {
		c.Cache.TTL, c.Cache.ActiveKeyTTL = 20*time.Millisecond, 10*time.Millisecond
	})
	ctx := t.Context()
	must(v.Encrypt(ctx, orgA, nil, nil))(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for end := time.Now().Add(10 * time.Second); ; {
				_, err := v.Encrypt(ctx, orgA, []byte("x"), nil)
				if errors.Is(err, vault.ErrKEKDenied) {
					return
				}
				if err != nil || time.Now().After(end) {
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	v.KEK.SetFault(memkek.Denied)
	wg.Wait()
	if n := len(keysOf(t, v, orgA)); n != 1 {
		t.Fatalf("%d keys", n)
	}
	v.KEK.SetFault(memkek.None)
	must(v.Encrypt(ctx, orgA, nil, nil))(t)
	if keys := keysOf(t, v, orgA); len(keys) != 1 || keys[0].State != storage.StateActive || keys[0].Purpose != keyctx.PurposeData {
		t.Fatalf("%d keys", len(keys))
	}
	if _, err := envelope.Parse(must(v.Encrypt(ctx, orgA, nil, nil))(t)); err != nil {
		t.Fatal(err)
	}
}
