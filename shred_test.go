package vault_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/vaulttest"
)

// wantDestroyed fails if the store has any wrapped copy of a key that match selects.
func wantDestroyed(t testing.TB, s storage.Store, match vault.KeyContext) {
	t.Helper()
	page := must(s.ListKeys(t.Context(), storage.KeyQuery{Contexts: storage.ContextFilter{Match: match}, Limit: 1000}))(t)
	if len(page.Keys) == 0 {
		t.Fatal("there are no tombstones")
	}
	for _, rec := range page.Keys {
		if rec.State != storage.StateShredded || len(rec.Wrappings)+len(rec.Previous) > 0 {
			t.Fatalf("version %d is %v, with %d wrappings and %d previous ones", rec.Version, rec.State, len(rec.Wrappings), len(rec.Previous))
		}
	}
}

func TestShred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		peer := peerOf(t, v)
		ctx := vault.WithActor(t.Context(), "ops@example.com")
		first := must(v.Encrypt(ctx, orgA, []byte("first"), nil))(t)
		ok(t, v.Rotate(ctx, orgA))
		second1 := must(v.Encrypt(ctx, orgA, []byte("second"), nil))(t)
		ofUser := must(v.Encrypt(ctx, userA, []byte("user's"), nil))(t)
		other := must(v.Encrypt(ctx, orgB, []byte("other's"), nil))(t)
		must(v.Put(ctx, orgA, "o", []byte("x")))(t)
		must(peer.Decrypt(ctx, orgA, first, nil))(t)

		r := must(v.Shred(ctx, orgA, vault.ShredOptions{Reason: "contract 17 ended"}))(t)
		if r.Keys != 3 || len(r.KeyList) != 3 || r.Actor != "ops@example.com" || r.Reason != "contract 17 ended" || r.Pending() {
			t.Fatalf("receipt %+v", r)
		}
		ok(t, v.VerifyShred(ctx, r))
		wantDestroyed(t, v.Store, orgA)
		// At once in this process, within ActiveKeyTTL in others.
		wantClass(t, second(v.Decrypt(ctx, orgA, first, nil)), "ErrKeyShredded")
		wantClass(t, second(v.Decrypt(ctx, orgA, second1, nil)), "ErrKeyShredded")
		wantClass(t, second(v.Decrypt(ctx, userA, ofUser, nil)), "ErrKeyShredded")
		wantClass(t, second(v.Get(ctx, orgA, "o")), "ErrKeyShredded")
		must(v.Decrypt(ctx, orgB, other, nil))(t)
		time.Sleep(time.Minute + time.Second)
		wantClass(t, second(peer.Decrypt(ctx, orgA, first, nil)), "ErrKeyShredded")

		// Used again: a new key, of the next version; the old data stays dead.
		again := must(v.Encrypt(ctx, orgA, []byte("anew"), nil))(t)
		must(peer.Decrypt(ctx, orgA, again, nil))(t)
		wantClass(t, second(v.Decrypt(ctx, orgA, second1, nil)), "ErrKeyShredded")
		keys := inventory(t, v.Vault, vault.KeyFilter{Match: orgA, State: vault.StateActive})
		if len(keys) != 1 || keys[0].Version != 3 {
			t.Errorf("active keys: %+v", keys)
		}
		ok(t, v.VerifyShred(ctx, r))
		if events := v.Events(vault.KeyShredded); len(events) != 3 || events[0].Actor != "ops@example.com" || events[0].Reason != "contract 17 ended" || events[0].KeyID.IsZero() {
			t.Errorf("events %+v", events)
		}
		if left := must(v.PendingShreds(ctx))(t); len(left) > 0 {
			t.Errorf("left pending: %+v", left)
		}
	})
}

// Every copy: of all purposes, and wrappings that a record still has from before.
func TestShredDestroysEveryCopy(t *testing.T) {
	v := vaulttest.New(t)
	ok(t, v.Prepare(t.Context(), orgA))
	rec := must(v.Store.LatestKey(t.Context(), hashIn(t, orgA, ""), keyctx.PurposeData))(t)
	for i, p := range []vault.Purpose{vault.PurposeIndex, vault.PurposeWrapping, vault.PurposeAuthentication} {
		next := rec.Clone()
		next.KeyID, next.Purpose = vault.KeyID{byte(i + 1)}, p
		next.Previous = []storage.PreviousWrapping{{Quorum: rec.Quorum, Wrappings: rec.Wrappings, Until: time.Now()}}
		ok(t, v.Store.InsertKey(t.Context(), next))
	}
	// A tombstone that is none: it still has what it was wrapped as before.
	half := rec.Clone()
	half.KeyID, half.Purpose, half.Version = vault.KeyID{9}, vault.PurposeWrapping, 2
	half.Previous = []storage.PreviousWrapping{{Quorum: rec.Quorum, Wrappings: rec.Wrappings, Until: time.Now()}}
	half.State, half.Wrappings = storage.StateShredded, nil
	ok(t, v.Store.InsertKey(t.Context(), half))
	r := must(v.Shred(t.Context(), orgA, vault.ShredOptions{}))(t)
	if r.Keys != 5 {
		t.Errorf("receipt %+v", r)
	}
	wantDestroyed(t, v.Store, orgA)
	ok(t, v.VerifyShred(t.Context(), r))
}

// An envelope that carries its own key is refused where the store is at hand.
func TestShredReachesSelfContained(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.SelfContained = true })
	sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	must(v.Shred(t.Context(), orgA, vault.ShredOptions{}))(t)
	wantClass(t, second(v.Decrypt(t.Context(), orgA, sealed, nil)), "ErrKeyShredded")
	wantClass(t, second(peerOf(t, v).Decrypt(t.Context(), orgA, sealed, nil)), "ErrKeyShredded")
	// Where there is none, the KEK alone opens it: THREATMODEL.md says so.
	alone := vaulttest.New(t, func(c *vault.Config) { c.KEK, c.Store = v.KEK.Peer(), nil })
	must(alone.Decrypt(t.Context(), orgA, sealed, nil))(t)
}

func TestShredWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		peer := peerOf(t, v, func(c *vault.Config) { c.NoBackground = true })
		sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
		r := must(v.Shred(t.Context(), orgA, vault.ShredOptions{After: 30 * 24 * time.Hour, Reason: "left"}))(t)
		if !r.Pending() || r.ID.IsZero() || r.DueAt.Sub(r.RequestedAt) != 30*24*time.Hour {
			t.Fatalf("receipt %+v", r)
		}
		wantErr(t, v.VerifyShred(t.Context(), r), vault.ErrReceipt)
		wantClass(t, second(v.Decrypt(t.Context(), orgA, sealed, nil)), "ErrKeyDisabled")
		wantClass(t, second(v.Shred(t.Context(), orgA, vault.ShredOptions{After: time.Hour})), "ErrExists")
		pending := must(peer.PendingShreds(t.Context()))(t)
		if len(pending) != 1 || pending[0].ID != r.ID || pending[0].Reason != "left" || pending[0].Begun {
			t.Fatalf("pending: %+v", pending)
		}
		n, err := v.Enable(t.Context(), orgA)
		wantErr(t, err, vault.ErrShredPending)
		if n != 0 {
			t.Error("a key was enabled")
		}
		must(peer.RunShreds(t.Context()))(t)
		wantStates(t, v.Vault, orgA, "1 disabled")
		// A narrower context is used for the first time meanwhile.
		must(peer.Encrypt(t.Context(), userA, nil, nil))(t)
		time.Sleep(30*24*time.Hour - time.Minute)
		wantStates(t, v.Vault, vault.KeyContext{"user_id": "u_1"}, "1 active")
		time.Sleep(15 * time.Minute) // the background worker has come by
		synctest.Wait()
		wantDestroyed(t, v.Store, orgA)
		var receipts []vault.ShredReceipt
		for r, err := range v.ShredReceipts(t.Context()) {
			ok(t, err)
			receipts = append(receipts, r)
		}
		if len(receipts) != 1 || receipts[0].ID != r.ID || receipts[0].Keys != 2 {
			t.Fatalf("receipts %+v", receipts)
		}
		ok(t, v.VerifyShred(t.Context(), receipts[0]))
		wantErr(t, v.CancelShred(t.Context(), r.ID), vault.ErrNotFound)
		if v.Stats().ShredErrors != 0 {
			t.Error("the background failed")
		}
	})
}

// A waiting period is cut short.
func TestShredNowAfterAll(t *testing.T) {
	v := vaulttest.New(t)
	ok(t, v.Prepare(t.Context(), orgA))
	waiting := must(v.Shred(vault.WithActor(t.Context(), "first"), orgA, vault.ShredOptions{After: time.Hour}))(t)
	var progress []int64
	r := must(v.Shred(vault.WithActor(t.Context(), "second"), orgA, vault.ShredOptions{Progress: func(n int64) { progress = append(progress, n) }}))(t)
	if len(progress) != 1 || progress[0] != 1 {
		t.Errorf("progress %v", progress)
	}
	if r.ID != waiting.ID || r.Actor != "second" || r.Keys != 1 {
		t.Errorf("receipt %+v", r)
	}
	ok(t, v.VerifyShred(t.Context(), r))
	wantErr(t, v.CancelShred(t.Context(), r.ID), vault.ErrNotFound)
}

func TestCancelShredEnablesOnlyItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		kcs := []vault.KeyContext{orgA, userA, {"organization_id": "org_01", "user_id": "u_2"}}
		ok(t, v.Prepare(t.Context(), kcs...))
		ok(t, v.Rotate(t.Context(), orgA))
		sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
		wantCount(t, 1)(v.Disable(t.Context(), userA))
		time.Sleep(time.Second)
		r := must(v.Shred(t.Context(), orgA, vault.ShredOptions{After: time.Hour}))(t)
		time.Sleep(time.Second)
		ofUser2 := must(v.Shred(t.Context(), kcs[2], vault.ShredOptions{After: 10 * time.Hour}))(t)
		wantErr(t, v.CancelShred(t.Context(), vault.ID{1}), vault.ErrNotFound)
		enabled, disabled := len(v.Events(vault.KeyEnabled)), len(v.Events(vault.KeyDisabled))
		ok(t, v.CancelShred(t.Context(), r.ID))
		wantErr(t, v.CancelShred(t.Context(), r.ID), vault.ErrNotFound)
		// What the other shredding takes over stays disabled, and its event says so.
		if e, d := v.Events(vault.KeyEnabled)[enabled:], v.Events(vault.KeyDisabled)[disabled:]; len(e) != 2 || len(d) != 1 || d[0].ContextHash != hashIn(t, kcs[2], "") {
			t.Errorf("the cancellation enabled %v and disabled %v", e, d)
		}

		must(v.Decrypt(t.Context(), orgA, sealed, nil))(t)
		wantStates(t, v.Vault, userA, "1 disabled")  // by someone else, before
		wantStates(t, v.Vault, kcs[2], "1 disabled") // wanted by the other shredding
		if keys := inventory(t, v.Vault, vault.KeyFilter{Match: orgA, State: vault.StateDecryptOnly}); len(keys) != 1 {
			t.Errorf("the superseded key is %+v", keys)
		}
		ok(t, v.CancelShred(t.Context(), ofUser2.ID))
		wantStates(t, v.Vault, kcs[2], "1 active")
		wantStates(t, v.Vault, userA, "1 disabled")
		wantCount(t, 1)(v.Enable(t.Context(), userA))
		time.Sleep(24 * time.Hour) // nothing is left that would be carried out
		must(v.Decrypt(t.Context(), orgA, sealed, nil))(t)
		if n := len(must(v.Store.ListSystem(t.Context(), "shred/", "", 10))(t)); n != 0 {
			t.Errorf("%d system records are left", n)
		}
	})
}

// What was cancelled half-way is finished, and not shredded, by whoever comes by.
func TestInterruptedCancelIsFinished(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.NoBackground = true })
	sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	r := must(v.Shred(t.Context(), orgA, vault.ShredOptions{After: time.Nanosecond}))(t)
	failStoreOps(v, "UpdateKey")
	wantErr(t, v.CancelShred(t.Context(), r.ID), errStore)
	v.Store.SetFault(nil)
	wantErr(t, second(v.Shred(t.Context(), orgA, vault.ShredOptions{})), vault.ErrVersionConflict)
	if done := must(v.RunShreds(t.Context()))(t); len(done) != 0 {
		t.Errorf("done: %+v", done)
	}
	must(v.Decrypt(t.Context(), orgA, sealed, nil))(t)
}

var errStore = errors.New("the store fails")

func failStoreOps(v *vaulttest.Vault, ops ...string) {
	v.Store.SetFault(func(op string) error {
		for _, o := range ops {
			if o == op {
				return errStore
			}
		}
		return nil
	})
}

// Cancelled by another process while the first is still disabling keys.
func TestCancelRacesHold(t *testing.T) {
	v := vaulttest.New(t)
	peer := peerOf(t, v)
	ok(t, v.Prepare(t.Context(), orgA))
	v.Store.SetFault(func(op string) error {
		if op == "UpdateKey" {
			v.Store.SetFault(nil)
			pending := must(peer.PendingShreds(context.Background()))(t)
			ok(t, peer.CancelShred(context.Background(), pending[0].ID))
		}
		return nil
	})
	wantErr(t, second(v.Shred(t.Context(), orgA, vault.ShredOptions{After: time.Hour})), vault.ErrVersionConflict)
	wantStates(t, v.Vault, orgA, "1 active")
}

// Many keys: pages, a receipt that doesn't list them, and two operators at once.
func TestTwoOperatorsShredManyKeys(t *testing.T) {
	v := vaulttest.New(t)
	kcs := make([]vault.KeyContext, 700)
	for i := range kcs {
		kcs[i] = vault.KeyContext{"organization_id": "org_01", "user_id": fmt.Sprint(i)}
	}
	ok(t, v.Prepare(t.Context(), append(kcs, orgB)...))
	var wg sync.WaitGroup
	receipts, errs := make([]vault.ShredReceipt, 4), make([]error, 4)
	for i := range receipts {
		p := peerOf(t, v)
		wg.Go(func() { receipts[i], errs[i] = p.Shred(t.Context(), orgA, vault.ShredOptions{Reason: "r"}) })
	}
	wg.Wait()
	ok(t, errors.Join(errs...))
	wantDestroyed(t, v.Store, orgA)
	total := int64(0)
	for i, r := range receipts {
		ok(t, v.VerifyShred(t.Context(), r))
		first := true
		for _, other := range receipts[:i] {
			first = first && other.ID != r.ID
		}
		if first {
			total += r.Keys
		}
	}
	if total != 700 {
		t.Errorf("the receipts have %d keys", total)
	}
	r := receipts[0]
	if r.Keys > 100 && len(r.KeyList) > 0 {
		t.Errorf("a receipt of %d keys lists %d", r.Keys, len(r.KeyList))
	}
	n := int64(0)
	for _, err := range v.ShreddedKeys(t.Context(), r) {
		ok(t, err)
		n++
	}
	if n != r.Keys {
		t.Errorf("%d keys listed, want %d", n, r.Keys)
	}
	wantStates(t, v.Vault, orgB, "1 active")
	for after := ""; ; {
		recs := must(v.Store.ListSystem(t.Context(), "shred/", after, 1000))(t)
		for _, rec := range recs {
			if len(rec.Value) > storage.MaxSystemValueLen {
				t.Errorf("%s has %d bytes", rec.Name, len(rec.Value))
			}
		}
		if len(recs) < 1000 {
			break
		}
		after = recs[len(recs)-1].Name
	}
}

// A key that another process makes while the shredding runs, after its contexts were
// listed, is destroyed too.
func TestShredTakesKeysMadeMeanwhile(t *testing.T) {
	v := vaulttest.New(t)
	ok(t, v.Prepare(t.Context(), orgA))
	var sealed []byte
	shredder := vaulttest.New(t, func(c *vault.Config) {
		c.KEK, c.Store = v.KEK.Peer(), &afterList{Store: v.Store, then: func() {
			sealed = must(v.Encrypt(context.Background(), userA, []byte("x"), nil))(t)
		}}
	})
	r := must(shredder.Shred(t.Context(), orgA, vault.ShredOptions{}))(t)
	if r.Keys != 2 {
		t.Errorf("receipt %+v", r)
	}
	wantClass(t, second(shredder.Decrypt(t.Context(), userA, sealed, nil)), "ErrKeyShredded")
	ok(t, v.VerifyShred(t.Context(), r))
}

// afterList does something once, after many contexts were listed.
type afterList struct {
	storage.Store
	then func()
}

func (s *afterList) ListKeys(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
	page, err := s.Store.ListKeys(ctx, q)
	if then := s.then; then != nil && len(q.Contexts.Match) > 0 {
		s.then = nil
		then()
	}
	return page, err
}

// A load that began before the shredding doesn't bring the key into the cache.
func TestLoadThatShreddingOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vaulttest.New(t)
		peer := peerOf(t, v)
		sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
		peer.KEK.SetLatency(time.Second)
		began := make(chan error)
		go func() { began <- second(peer.Decrypt(t.Context(), orgA, sealed, nil)) }()
		synctest.Wait() // in the KMS
		must(peer.Shred(t.Context(), orgA, vault.ShredOptions{}))(t)
		wantClass(t, second(peer.Decrypt(t.Context(), orgA, sealed, nil)), "ErrKeyShredded")
		if err := <-began; err != nil && !errors.Is(err, vault.ErrKeyShredded) {
			t.Error(err)
		}
		wantClass(t, second(peer.Decrypt(t.Context(), orgA, sealed, nil)), "ErrKeyShredded")
		if n := peer.Stats().CachedKeys; n != 0 {
			t.Errorf("%d keys are cached", n)
		}
	})
}

// A receipt is proof against changes of itself and of the store.
func TestVerifyShred(t *testing.T) {
	v := vaulttest.New(t)
	ok(t, v.Prepare(t.Context(), orgA, userA, orgB))
	rec := must(v.Store.LatestKey(t.Context(), hashIn(t, orgA, ""), keyctx.PurposeData))(t)
	r := must(v.Shred(vault.WithActor(t.Context(), "op"), orgA, vault.ShredOptions{Reason: "why"}))(t)
	var again vault.ShredReceipt
	ok(t, json.Unmarshal(must(json.Marshal(r))(t), &again))
	ok(t, v.VerifyShred(t.Context(), again))
	for name, change := range map[string]func(*vault.ShredReceipt){
		"format":     func(r *vault.ShredReceipt) { r.Format = 2 },
		"id":         func(r *vault.ShredReceipt) { r.ID[15] ^= 1 },
		"namespace":  func(r *vault.ShredReceipt) { r.Namespace = "x" },
		"match":      func(r *vault.ShredReceipt) { r.Match = orgB },
		"no match":   func(r *vault.ShredReceipt) { r.Match = nil },
		"actor":      func(r *vault.ShredReceipt) { r.Actor = "another" },
		"reason":     func(r *vault.ShredReceipt) { r.Reason = "" },
		"moved":      func(r *vault.ShredReceipt) { r.Actor, r.Reason = r.Actor+"w", r.Reason[1:] },
		"requested":  func(r *vault.ShredReceipt) { r.RequestedAt = r.RequestedAt.Add(time.Second) },
		"shredded":   func(r *vault.ShredReceipt) { r.ShreddedAt = r.ShreddedAt.Add(time.Second) },
		"count":      func(r *vault.ShredReceipt) { r.Keys-- },
		"list":       func(r *vault.ShredReceipt) { r.KeyList = r.KeyList[:1]; r.Keys = 1 },
		"key":        func(r *vault.ShredReceipt) { r.KeyList[0].Version++ },
		"no digest":  func(r *vault.ShredReceipt) { r.Digest = "" },
		"zero times": func(r *vault.ShredReceipt) { r.ShreddedAt = time.Time{} },
	} {
		var changed vault.ShredReceipt
		ok(t, json.Unmarshal(must(json.Marshal(r))(t), &changed))
		change(&changed)
		if err := v.VerifyShred(t.Context(), changed); !errors.Is(err, vault.ErrReceipt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, edit := range map[string]func(*storage.KeyRecord){
		"active again": func(k *storage.KeyRecord) { k.State = storage.StateActive },
		"wrappings":    func(k *storage.KeyRecord) { k.Wrappings, k.Quorum = rec.Wrappings, rec.Quorum },
		"previous": func(k *storage.KeyRecord) {
			k.Previous = []storage.PreviousWrapping{{Quorum: rec.Quorum, Wrappings: rec.Wrappings}}
		},
		"version": func(k *storage.KeyRecord) { k.Version = 7 },
	} {
		was := must(v.Store.GetKey(t.Context(), rec.KeyID))(t)
		ok(t, v.Store.EditKey(rec.KeyID, edit))
		if err := v.VerifyShred(t.Context(), r); !errors.Is(err, vault.ErrReceipt) {
			t.Errorf("%s: %v", name, err)
		}
		ok(t, v.Store.EditKey(rec.KeyID, func(k *storage.KeyRecord) { *k = was }))
	}
	ok(t, v.VerifyShred(t.Context(), r))
	now := must(v.Store.GetKey(t.Context(), rec.KeyID))(t)
	ok(t, v.Store.DeleteKey(t.Context(), rec.KeyID, now.Revision))
	wantErr(t, v.VerifyShred(t.Context(), r), vault.ErrReceipt)
}

// The digest, put together by hand.
func TestShredDigestAsSpecified(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.Namespace = "billing" })
	ok(t, v.Prepare(t.Context(), orgA, userA))
	r := must(v.Shred(vault.WithActor(t.Context(), "op"), orgA, vault.ShredOptions{Reason: "why"}))(t)
	u16 := func(s string) string { return fmt.Sprintf("%c%c%s", 0, len(s), s) }
	be := func(n uint64, size int) string { return string(binary.BigEndian.AppendUint64(nil, n)[8-size:]) }
	hash := hashIn(t, orgA, "billing")
	text := "vault/v1/shred" + string(r.ID[:]) + string(hash[:]) + u16("billing") + u16("op") + u16("why") +
		be(uint64(r.RequestedAt.UnixMicro()), 8) + be(uint64(r.ShreddedAt.UnixMicro()), 8)
	for _, k := range r.KeyList {
		text += string(k.ContextHash[:]) + be(uint64(k.Purpose), 1) + be(uint64(k.Version), 4) + string(k.KeyID[:])
	}
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(text+be(2, 8)))); r.Digest != want || len(r.KeyList) != 2 {
		t.Errorf("digest %s, want %s", r.Digest, want)
	}
}

// A store that gives another customer's record, or a note that names one, is not
// believed.
func TestShredBelievesNothing(t *testing.T) {
	v := vaulttest.New(t)
	ok(t, v.Prepare(t.Context(), orgA, orgB))
	rec := must(v.Store.LatestKey(t.Context(), hashIn(t, orgB, ""), keyctx.PurposeData))(t)
	lying := vaulttest.New(t, func(c *vault.Config) { c.KEK, c.Store = v.KEK.Peer(), alsoLists{v.Store, rec} })
	_, err := lying.Shred(t.Context(), orgA, vault.ShredOptions{})
	wantErr(t, err, vault.ErrStoreCorrupt)
	wantStates(t, v.Vault, orgB, "1 active")
	wantDestroyed(t, v.Store, orgA) // all the same
	n, err := lying.Disable(t.Context(), orgA)
	wantErr(t, err, vault.ErrStoreCorrupt)
	if n != 0 {
		t.Errorf("%d keys were disabled", n)
	}
	wantStates(t, v.Vault, orgB, "1 active")

	pending := must(v.Store.ListSystem(t.Context(), "shred/", "", 10))(t)
	var note storage.SystemRecord
	for _, rec := range pending {
		if strings.Contains(rec.Name, "/pending/") {
			note = rec
		}
	}
	note.Value = []byte(strings.ReplaceAll(string(note.Value), "org_01", "org_02"))
	must(v.Store.PutSystem(t.Context(), note))(t)
	wantErr(t, second(v.RunShreds(t.Context())), vault.ErrStoreCorrupt)
	wantStates(t, v.Vault, orgB, "1 active")
}

// alsoLists lists a record that wasn't asked for.
type alsoLists struct {
	storage.Store
	rec storage.KeyRecord
}

func (s alsoLists) ListKeys(ctx context.Context, q storage.KeyQuery) (storage.KeyPage, error) {
	page, err := s.Store.ListKeys(ctx, q)
	if q.Contexts.Hash == (vault.ContextHash{}) {
		page.Keys = append(page.Keys, s.rec)
	}
	return page, err
}

// A key that can't be destroyed now keeps no other from it, and the next call ends it.
func TestShredGoesOnAfterFailures(t *testing.T) {
	v := vaulttest.New(t)
	ok(t, v.Prepare(t.Context(), orgA, userA, vault.KeyContext{"organization_id": "org_01", "user_id": "u_2"}))
	first := true
	var mu sync.Mutex
	v.Store.SetFault(func(op string) error {
		mu.Lock()
		defer mu.Unlock()
		if op == "UpdateKey" && first {
			first = false
			return errStore
		}
		return nil
	})
	_, err := v.Shred(t.Context(), orgA, vault.ShredOptions{})
	wantErr(t, err, errStore)
	if left := inventory(t, v.Vault, vault.KeyFilter{Match: orgA, State: vault.StateActive}); len(left) != 1 {
		t.Errorf("%d keys are left", len(left))
	}
	done := must(v.RunShreds(t.Context()))(t)
	if len(done) != 1 || done[0].Keys != 3 {
		t.Fatalf("done: %+v", done)
	}
	wantDestroyed(t, v.Store, orgA)
	ok(t, v.VerifyShred(t.Context(), done[0]))
}

func TestShredOptions(t *testing.T) {
	v := vaulttest.New(t)
	for _, after := range []time.Duration{-1, 11 * 365 * 24 * time.Hour} {
		wantErr(t, second(v.Shred(t.Context(), orgA, vault.ShredOptions{After: after})), vault.ErrInvalidOption)
	}
	// Nothing to shred is a receipt of nothing.
	r := must(v.Shred(t.Context(), orgA, vault.ShredOptions{Reason: strings.Repeat("<\n", 1000)}))(t)
	if r.Keys != 0 || len(r.Reason) > 256 || strings.Contains(r.Reason, "\n") {
		t.Errorf("receipt %+v", r)
	}
	ok(t, v.VerifyShred(t.Context(), r))
	// A context at its limits fits the store's records.
	big := vault.KeyContext{}
	for i := range 10 {
		big[fmt.Sprintf("%d%s", i, strings.Repeat("k", 127))] = strings.Repeat(`"`, 1024)
	}
	ok(t, v.Prepare(t.Context(), big))
	r = must(v.Shred(t.Context(), big, vault.ShredOptions{After: time.Hour}))(t)
	ok(t, v.CancelShred(t.Context(), r.ID))
	ok(t, v.VerifyShred(t.Context(), must(v.Shred(t.Context(), big, vault.ShredOptions{}))(t)))
}
