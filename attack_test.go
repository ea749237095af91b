package vault_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaulttest"
)

// The attacker of these tests writes to the database, and holds no KEK but, in
// some, its own.

// row returns the record of an object's version, the current one for the zero
// ID.
func row(t testing.TB, s *memstore.Store, object, version vault.ID) storage.ObjectRecord {
	t.Helper()
	return must(s.GetObject(t.Context(), storage.ObjectRef{ID: object, Version: version}))(t)
}

func edit(t testing.TB, s *memstore.Store, m vault.Metadata, f func(*storage.ObjectRecord)) {
	t.Helper()
	if err := s.EditObject(m.ID, m.VersionID, f); err != nil {
		t.Fatal(err)
	}
}

// tamperWorld is a vault with objects of two tenants, and what is in its store.
type tamperWorld struct {
	*vaulttest.Vault
	x1, x2, y, bx vault.Metadata // two versions of x and y of A; x of B
}

func newTamperWorld(t *testing.T) *tamperWorld {
	w := &tamperWorld{Vault: vaulttest.New(t)}
	ctx := t.Context()
	w.x1 = must(w.Put(ctx, orgA, "x", []byte("x1")))(t)
	w.x2 = must(w.Put(ctx, orgA, "x", []byte("x2"), vault.ExpiresAt(far)))(t)
	w.y = must(w.Put(ctx, orgA, "y", []byte("y"), vault.ExpiresAt(far)))(t)
	w.bx = must(w.Put(ctx, orgB, "x", []byte("b"), vault.ExpiresAt(far)))(t)
	return w
}

// reads are all ways to read x of A. None may give anything but x2.
func (w *tamperWorld) reads(t *testing.T, v *vault.Vault) map[string]func() (vault.Object, error) {
	ctx := t.Context()
	return map[string]func() (vault.Object, error){
		"Get":       func() (vault.Object, error) { return v.Get(ctx, orgA, "x") },
		"Scope.Get": func() (vault.Object, error) { return v.Scope(orgA).Get(ctx, "x") },
		"AtVersion": func() (vault.Object, error) {
			return v.Get(ctx, orgA, "x", vault.AtVersion(w.x2.VersionID))
		},
		"GetByID": func() (vault.Object, error) { return v.GetByID(ctx, orgA, w.x2.ID) },
		"GetByID AtVersion": func() (vault.Object, error) {
			return v.GetByID(ctx, orgA, w.x2.ID, vault.AtVersion(w.x2.VersionID))
		},
		"GetMany": func() (vault.Object, error) {
			many, err := v.GetMany(ctx, orgA, "x")
			if obj, ok := many["x"]; ok || err != nil {
				return obj, err
			}
			return vault.Object{}, vault.ErrNotFound
		},
	}
}

// Each thing that proves an object's value is changed in its row: none of the
// ways to read it gives a value then.
func TestTamperedRowIsRefused(t *testing.T) {
	for name, change := range map[string]func(w *tamperWorld, r *storage.ObjectRecord) (want string){
		"envelope of another version": func(w *tamperWorld, r *storage.ObjectRecord) string {
			r.Envelope = row(t, w.Store, w.x1.ID, w.x1.VersionID).Envelope
			return "ErrDecrypt"
		},
		"envelope of another name": func(w *tamperWorld, r *storage.ObjectRecord) string {
			r.Envelope = row(t, w.Store, w.y.ID, vault.ID{}).Envelope
			return "ErrDecrypt"
		},
		"envelope of another tenant": func(w *tamperWorld, r *storage.ObjectRecord) string {
			r.Envelope = row(t, w.Store, w.bx.ID, vault.ID{}).Envelope
			return "ErrWrongContext"
		},
		"row of another tenant": func(w *tamperWorld, r *storage.ObjectRecord) string {
			*r = row(t, w.Store, w.bx.ID, vault.ID{})
			return "ErrWrongContext"
		},
		"contents of another tenant": func(w *tamperWorld, r *storage.ObjectRecord) string {
			other := row(t, w.Store, w.bx.ID, vault.ID{})
			r.Envelope, r.VersionID, r.KeyID = other.Envelope, other.VersionID, other.KeyID
			return "ErrWrongContext"
		},
		"expiry later": func(_ *tamperWorld, r *storage.ObjectRecord) string {
			r.ExpiresAt += 1
			return "ErrDecrypt"
		},
		"expiry taken away": func(_ *tamperWorld, r *storage.ObjectRecord) string {
			r.ExpiresAt = 0
			return "ErrDecrypt"
		},
		"expiry negative": func(_ *tamperWorld, r *storage.ObjectRecord) string {
			r.ExpiresAt = -r.ExpiresAt
			return "ErrNotFound" // which an attacker could have had by deleting it
		},
		"context hash": func(_ *tamperWorld, r *storage.ObjectRecord) string {
			r.ContextHash[0] ^= 1
			return "ErrWrongContext"
		},
		"bit of the key ID in the envelope": func(_ *tamperWorld, r *storage.ObjectRecord) string {
			r.Envelope[2] ^= 1
			return "ErrKeyNotFound"
		},
		"no envelope": func(_ *tamperWorld, r *storage.ObjectRecord) string { r.Envelope = nil; return "ErrMalformed" },
		"envelope cut": func(_ *tamperWorld, r *storage.ObjectRecord) string {
			r.Envelope = r.Envelope[:40]
			return "ErrMalformed"
		},
		"envelope cut by one": func(_ *tamperWorld, r *storage.ObjectRecord) string {
			r.Envelope = r.Envelope[:len(r.Envelope)-1]
			return "ErrDecrypt"
		},
		"last bit": func(_ *tamperWorld, r *storage.ObjectRecord) string {
			r.Envelope[len(r.Envelope)-1] ^= 1
			return "ErrDecrypt"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTamperWorld(t)
			var changed storage.ObjectRecord
			r := row(t, w.Store, w.x2.ID, w.x2.VersionID)
			want := change(w, &r)
			edit(t, w.Store, w.x2, func(stored *storage.ObjectRecord) { *stored = r; changed = r })
			for temp, v := range map[string]*vault.Vault{"warm": w.Vault.Vault, "cold": peerOf(t, w.Vault).Vault} {
				for how, read := range w.reads(t, v) {
					obj, err := read()
					if err == nil || obj.Value != nil {
						t.Fatalf("%s, %s: it reads %q", how, temp, obj.Value)
					}
					got := fmt.Sprint(classes(err))
					// By ID another context's object is not found; a row that isn't
					// what was looked up isn't either, where the store sees it.
					if got != "["+want+"]" && got != "[ErrNotFound]" {
						t.Errorf("%s, %s: %v has the classes %v, want %s", how, temp, err, got, want)
					}
				}
			}
			if len(changed.Name) == 0 {
				t.Fatal("nothing was changed")
			}
		})
	}
}

// What a row says of itself counts for nothing where the caller said it, and is
// not believed where GCM doesn't prove it.
func TestRowsWordCountsForNothing(t *testing.T) {
	w := newTamperWorld(t)
	edit(t, w.Store, w.x2, func(r *storage.ObjectRecord) {
		r.Name = "lie"
		r.Context = vault.KeyContext{"organization_id": "lie"}
		r.KeyID[0] ^= 1
		r.Size = 1 << 40
	})
	for how, read := range w.reads(t, peerOf(t, w.Vault).Vault) {
		obj, err := read()
		if err != nil {
			// By ID the name is the row's, and then GCM refuses it; GetMany is given
			// a row that it didn't ask for.
			if got := fmt.Sprint(classes(err)); got != "[ErrDecrypt]" && got != "[ErrNotFound]" {
				t.Errorf("%s: %v", how, err)
			}
			continue
		}
		if string(obj.Value) != "x2" || obj.Name != "x" || obj.Context["organization_id"] != "org_01" || obj.KeyID != w.x2.KeyID || obj.Size != 2 {
			t.Errorf("%s: %+v", how, obj.Metadata)
		}
	}
}

// With a row that was moved to another version ID, neither ID gives a value.
func TestVersionIDIsAuthenticated(t *testing.T) {
	w := newTamperWorld(t)
	forged := storage.NewID(time.Now())
	edit(t, w.Store, w.x2, func(r *storage.ObjectRecord) { r.VersionID = forged })
	for _, v := range []*vault.Vault{w.Vault.Vault, peerOf(t, w.Vault).Vault} {
		_, err := v.Get(t.Context(), orgA, "x")
		wantClass(t, err, "ErrDecrypt")
		_, err = v.Get(t.Context(), orgA, "x", vault.AtVersion(forged))
		wantClass(t, err, "ErrDecrypt")
		_, err = v.Get(t.Context(), orgA, "x", vault.AtVersion(w.x2.VersionID))
		wantClass(t, err, "ErrNotFound")
	}
	// Nor can an old version be passed off as the one asked for.
	w = newTamperWorld(t)
	old := row(t, w.Store, w.x1.ID, w.x1.VersionID)
	edit(t, w.Store, w.x2, func(r *storage.ObjectRecord) { r.Envelope, r.ExpiresAt = old.Envelope, old.ExpiresAt })
	_, err := w.Get(t.Context(), orgA, "x", vault.AtVersion(w.x2.VersionID))
	wantClass(t, err, "ErrDecrypt")
}

// A row that was renamed, or copied to another name, gives nothing under that
// name.
func TestNameIsAuthenticated(t *testing.T) {
	w := newTamperWorld(t)
	r := row(t, w.Store, w.x2.ID, w.x2.VersionID)
	r.ID, r.Name, r.Number = storage.NewID(time.Now()), "z", 1
	if err := w.Store.ImportVersion(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for _, v := range []*vault.Vault{w.Vault.Vault, peerOf(t, w.Vault).Vault} {
		_, err := v.Get(t.Context(), orgA, "z")
		wantClass(t, err, "ErrDecrypt")
		_, err = v.GetByID(t.Context(), orgA, r.ID)
		wantClass(t, err, "ErrDecrypt")
		_, err = v.GetMany(t.Context(), orgA, "z")
		wantClass(t, err, "ErrDecrypt")
	}
}

// repointed is a store in which an ID leads to another object.
type repointed struct {
	*memstore.Store
	from, to vault.ID
}

func (s repointed) GetObject(ctx ctxType, ref storage.ObjectRef) (storage.ObjectRecord, error) {
	if ref.ID != s.from {
		return s.Store.GetObject(ctx, ref)
	}
	ref.ID = s.to
	rec, err := s.Store.GetObject(ctx, ref)
	rec.ID = s.from
	return rec, err
}

// An ID that was repointed within its context gives the other object under its
// own name, as documented; one that was repointed to another context's object
// gives nothing.
func TestRepointedID(t *testing.T) {
	w := newTamperWorld(t)
	to := func(id vault.ID) *vault.Vault {
		return open(t, vault.Config{KEK: w.KEK, Store: repointed{w.Store, w.x2.ID, id}})
	}
	obj, err := to(w.y.ID).GetByID(t.Context(), orgA, w.x2.ID)
	if err != nil || obj.Name != "y" || string(obj.Value) != "y" {
		t.Fatalf("%q: %q, %v", obj.Name, obj.Value, err)
	}
	_, err = to(w.y.ID).GetByID(t.Context(), orgA, w.x2.ID, vault.AtVersion(w.x2.VersionID))
	wantClass(t, err, "ErrNotFound")
	_, err = to(w.bx.ID).GetByID(t.Context(), orgA, w.x2.ID)
	wantClass(t, err, "ErrNotFound")
	_, err = to(w.x2.ID).GetByID(t.Context(), orgB, w.x2.ID)
	wantClass(t, err, "ErrNotFound")

	// Relabelled as A's it fails to open.
	edit(t, w.Store, w.bx, func(r *storage.ObjectRecord) { r.ContextHash, r.Context = hashIn(t, orgA, ""), orgA })
	_, err = to(w.bx.ID).GetByID(t.Context(), orgA, w.x2.ID)
	wantClass(t, err, "ErrWrongContext")
}

// The whole key row of A is copied over B's, and A's message is handed to B.
func TestKeyRowCopiedOverAnothers(t *testing.T) {
	for name, policy := range map[string]func(a, b kek.Wrapper) kek.Policy{
		"one KEK":  func(a, _ kek.Wrapper) kek.Policy { return kek.Fixed(a) },
		"own KEKs": func(a, b kek.Wrapper) kek.Policy { return byTenant{"org_01": one(a), "org_02": one(b)} },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := memkek.New("a"), memkek.New("b")
			p := policy(a, b)
			v := vaulttest.New(t, withPolicy(p))
			ctx := t.Context()
			sealed := must(v.Encrypt(ctx, orgA, []byte("A's secret"), nil))(t)
			must(v.Encrypt(ctx, orgB, []byte("B's"), nil))(t)
			recA := must(v.Store.LatestKey(ctx, hashIn(t, orgA, ""), keyctx.PurposeData))(t)
			recB := must(v.Store.LatestKey(ctx, hashIn(t, orgB, ""), keyctx.PurposeData))(t)

			// B's row, under B's key ID, holds A's wrapped key; A's envelope says it.
			if err := v.Store.EditKey(recB.KeyID, func(r *storage.KeyRecord) { r.Wrappings, r.Quorum = recA.Wrappings, recA.Quorum }); err != nil {
				t.Fatal(err)
			}
			relabelled := slices.Clone(sealed)
			copy(relabelled[2:], recB.KeyID[:])
			for _, env := range [][]byte{sealed, relabelled} {
				got, err := open(t, vault.Config{Policy: p, Store: v.Store}).Decrypt(ctx, orgB, env, nil)
				if got != nil || err == nil {
					t.Fatalf("B reads %q", got)
				}
			}
			// A's row is relabelled as B's.
			if err := v.Store.EditKey(recA.KeyID, func(r *storage.KeyRecord) { r.Context, r.ContextHash = orgB, recB.ContextHash }); err != nil {
				t.Fatal(err)
			}
			_, err := open(t, vault.Config{Policy: p, Store: v.Store}).Decrypt(ctx, orgB, sealed, nil)
			if got := fmt.Sprint(classes(err)); got != "[ErrKEKCorrupt]" && got != "[ErrPolicy]" {
				t.Fatalf("%v", err)
			}
		})
	}
}

// forge wraps a key of the attacker's choosing for a context, under a KEK that
// the attacker holds. It returns the key too.
func forge(t *testing.T, k kek.Wrapper, kc vault.KeyContext, version uint32) (storage.KeyRecord, *envelope.Key) {
	t.Helper()
	secret := bytes.Repeat([]byte{0x42}, 32)
	hash := hashIn(t, kc, "")
	key := must(envelope.NewKey(secret, hash, keyctx.PurposeData, version))(t)
	b := kek.Binding{KeyID: key.ID(), ContextHash: hash, Purpose: keyctx.PurposeData, Version: version, Context: kc}
	blob := must(k.Wrap(t.Context(), secret, b))(t)
	return storage.KeyRecord{
		KeyID: key.ID(), Context: kc, ContextHash: hash, Purpose: keyctx.PurposeData, Version: version,
		State: storage.StateActive, Quorum: keyctx.AnyOf,
		Wrappings: []keyctx.Wrapping{{URI: k.URI(), Wrapped: blob}},
		CreatedAt: time.Now(), StateChangedAt: time.Now(),
	}, key
}

// Tenant B, who holds its own KEK, wraps a key of its choosing for tenant A's
// context and plants it: as A's newest key row, and in envelopes. It is refused
// before any KEK is called, and A never seals under it.
func TestTenantsKEKReachesNoOtherTenant(t *testing.T) {
	for _, stored := range []bool{true, false} {
		t.Run(fmt.Sprintf("stored %v", stored), func(t *testing.T) {
			a, b := memkek.New("a"), memkek.New("b")
			p := byTenant{"org_01": one(a), "org_02": one(b)}
			ctx := t.Context()
			c := vault.Config{Policy: p}
			store := memstore.New()
			if stored {
				c.Store = store
			}
			v := open(t, c)
			honest := must(v.Encrypt(ctx, orgA, []byte("A's"), nil))(t)
			rec, key := forge(t, b, orgA, 2)
			block := must(envelope.Block{Purpose: rec.Purpose, Version: rec.Version, Quorum: rec.Quorum, Wrappings: rec.Wrappings}.Append(nil))(t)
			self := must(key.Seal(nil, envelope.KindMessageSelf, block, []byte("planted"), nil))(t)
			selfKey := must(key.Seal(nil, envelope.KindDataKeySelf, block, bytes.Repeat([]byte{1}, 32), nil))(t)
			ref := must(key.Seal(nil, envelope.KindMessage, nil, []byte("planted"), nil))(t)
			if err := store.InsertKey(ctx, rec); err != nil {
				t.Fatal(err)
			}
			a.ResetCounts()
			b.ResetCounts()
			cold := open(t, c)
			for _, v := range []*vault.Vault{v, cold} {
				_, err := v.Decrypt(ctx, orgA, self, nil)
				wantClass(t, err, "ErrPolicy")
				_, err = v.DecryptDataKey(ctx, orgA, selfKey)
				wantClass(t, err, "ErrPolicy")
				if stored {
					_, err = v.Decrypt(ctx, orgA, ref, nil)
					wantClass(t, err, "ErrPolicy")
				}
			}
			if stored {
				// The cold one finds the planted row as the newest.
				_, err := cold.Encrypt(ctx, orgA, []byte("x"), nil)
				wantClass(t, err, "ErrPolicy")
				_, err = cold.Put(ctx, orgA, "x", []byte("x"))
				wantClass(t, err, "ErrPolicy")
			}
			if a.Calls()+b.Calls() != 0 {
				t.Fatalf("%d and %d calls were made", a.Calls(), b.Calls())
			}
			if got, err := cold.Decrypt(ctx, orgA, honest, nil); err != nil || string(got) != "A's" {
				t.Fatalf("A's own data: %v", err)
			}
		})
	}
}

// An all-of envelope or row whose quorum was lowered, or whose KEK is a foreign
// address, causes no call.
func TestLoweredQuorumAndForeignURI(t *testing.T) {
	a, b := memkek.New("a"), memkek.New("b")
	p := byTenant{"org_01": {KEKs: []kek.Wrapper{a, b}, Quorum: kek.AllOf}}
	ctx := t.Context()
	store := memstore.New()
	stored := vault.Config{Policy: p, Store: store}
	alone := vault.Config{Policy: p}
	ref := must(open(t, stored).Encrypt(ctx, orgA, []byte("x"), nil))(t)
	self := must(open(t, alone).Encrypt(ctx, orgA, []byte("x"), nil))(t)
	parsed := must(envelope.Parse(self))(t)
	block := must(envelope.ParseBlock(parsed.Block))(t)
	rec := must(store.LatestKey(ctx, hashIn(t, orgA, ""), keyctx.PurposeData))(t)
	for name, change := range map[string]func(q *keyctx.Quorum, ws *[]keyctx.Wrapping){
		"lowered":            func(q *keyctx.Quorum, ws *[]keyctx.Wrapping) { *q = keyctx.AnyOf },
		"lowered, one share": func(q *keyctx.Quorum, ws *[]keyctx.Wrapping) { *q, *ws = keyctx.AnyOf, (*ws)[:1] },
		"foreign URI":        func(_ *keyctx.Quorum, ws *[]keyctx.Wrapping) { (*ws)[0].URI = "http://169.254.169.254/latest" },
		"a third share": func(_ *keyctx.Quorum, ws *[]keyctx.Wrapping) {
			*ws = append(*ws, keyctx.Wrapping{URI: "mem:c", Wrapped: []byte{1}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			q, ws := rec.Quorum, slices.Clone(rec.Wrappings)
			change(&q, &ws)
			if err := store.EditKey(rec.KeyID, func(r *storage.KeyRecord) { r.Quorum, r.Wrappings = q, ws }); err != nil {
				t.Fatal(err)
			}
			q, ws = block.Quorum, slices.Clone(block.Wrappings)
			change(&q, &ws)
			forged := must(envelope.Block{Purpose: 1, Version: 1, Quorum: q, Wrappings: ws}.Append(nil))(t)
			planted := binary.AppendUvarint(slices.Clone(self[:34]), uint64(len(forged)))
			planted = slices.Concat(planted, forged, self[len(self)-(24+12+1+16):])
			a.ResetCounts()
			b.ResetCounts()
			_, err := open(t, stored).Decrypt(ctx, orgA, ref, nil)
			wantClass(t, err, "ErrPolicy")
			_, err = open(t, stored).Encrypt(ctx, orgA, nil, nil)
			wantClass(t, err, "ErrPolicy")
			_, err = open(t, alone).Decrypt(ctx, orgA, planted, nil)
			wantClass(t, err, "ErrPolicy")
			if a.Calls()+b.Calls() != 0 {
				t.Fatal("a KEK was called")
			}
		})
	}
	if err := store.EditKey(rec.KeyID, func(r *storage.KeyRecord) { r.Quorum, r.Wrappings = rec.Quorum, rec.Wrappings }); err != nil {
		t.Fatal(err)
	}
	must(open(t, stored).Decrypt(ctx, orgA, ref, nil))(t)
	must(open(t, alone).Decrypt(ctx, orgA, self, nil))(t)
}

// A database that was restored without the key: what names it isn't readable,
// and nothing is made in its place by reading.
func TestRestoredDatabaseWithoutTheKey(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	s := sampleOf(t, v.Vault, orgA)
	meta := must(v.Put(ctx, orgA, "x", []byte("x")))(t)
	rec := row(t, v.Store, meta.ID, vault.ID{})

	restored := memstore.New()
	if err := restored.ImportVersion(ctx, rec); err != nil {
		t.Fatal(err)
	}
	k := v.KEK.Peer()
	w := open(t, vault.Config{KEK: k, Store: restored})
	for range 2 {
		_, err := w.Decrypt(ctx, orgA, s.message, nil)
		wantClass(t, err, "ErrKeyNotFound")
		_, err = w.DecryptString(ctx, orgA, s.text, nil)
		wantClass(t, err, "ErrKeyNotFound")
		_, err = w.DecryptDataKey(ctx, orgA, s.dataKey)
		wantClass(t, err, "ErrKeyNotFound")
		_, err = w.RekeyDataKey(ctx, orgA, s.dataKey, orgB)
		wantClass(t, err, "ErrKeyNotFound")
		_, err = w.Get(ctx, orgA, "x")
		wantClass(t, err, "ErrKeyNotFound")
		_, err = w.GetMany(ctx, orgA, "x")
		wantClass(t, err, "ErrKeyNotFound")
		wantClass(t, w.Rotate(ctx, orgA), "ErrKeyNotFound")
	}
	if k.Calls() != 0 || restored.Calls("InsertKey") != 0 {
		t.Fatalf("%d KEK calls, %d keys were made", k.Calls(), restored.Calls("InsertKey"))
	}
	// The right database brings it all back.
	if err := restored.InsertKey(ctx, must(v.Store.GetKey(ctx, rec.KeyID))(t)); err != nil {
		t.Fatal(err)
	}
	must(w.Decrypt(ctx, orgA, s.message, nil))(t)
	if got := must(w.Get(ctx, orgA, "x"))(t); string(got.Value) != "x" {
		t.Fatalf("%q", got.Value)
	}
}

// A hostile self-contained envelope with an honest key ID neither opens, nor
// fails or evicts those who hold the honest one.
func TestHostileBlockHarmsNobody(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.SelfContained = true })
	ctx := t.Context()
	sealed := must(v.Encrypt(ctx, orgA, []byte("x"), nil))(t)
	parsed := must(envelope.Parse(sealed))(t)
	hostile := slices.Clone(sealed)
	hostile[34+2+8+2+len("mem:test")+2+5] ^= 1 // in the wrapped key
	if bytes.Equal(hostile[34:len(hostile)-53], sealed[34:len(sealed)-53]) || len(parsed.Block) == 0 {
		t.Fatal("the block wasn't changed")
	}
	cold := peerOf(t, v)
	done := make(chan error, 40)
	for i := range 40 {
		go func() {
			env, want := sealed, error(nil)
			if i%2 == 0 {
				env, want = hostile, vault.ErrKEKCorrupt
			}
			_, err := cold.Decrypt(ctx, orgA, env, nil)
			if err != nil && want == nil {
				done <- err
				return
			}
			done <- nil // the hostile one opens where the key is warm already, and the block isn't read
		}()
	}
	for range 40 {
		if err := <-done; err != nil {
			t.Errorf("an honest envelope: %v", err)
		}
	}
	must(cold.Decrypt(ctx, orgA, sealed, nil))(t)
	_, err := peerOf(t, v).Decrypt(ctx, orgA, hostile, nil)
	wantClass(t, err, "ErrKEKCorrupt", "ErrWrongContext")
}

// States of keys are honoured; a key that is disabled or shredded is refused,
// and data isn't sealed under it.
func TestKeyStatesAreHonoured(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	s := sampleOf(t, v.Vault, orgA)
	self := must(peerOf(t, v, func(c *vault.Config) { c.SelfContained = true }).Encrypt(ctx, orgA, []byte("x"), nil))(t)
	rec := must(v.Store.LatestKey(ctx, hashIn(t, orgA, ""), keyctx.PurposeData))(t)
	set := func(f func(*storage.KeyRecord)) {
		if err := v.Store.EditKey(rec.KeyID, f); err != nil {
			t.Fatal(err)
		}
	}
	// In this order: after the second the context has another key.
	for _, state := range []storage.State{storage.StateDisabled, storage.StateShredded} {
		want := map[storage.State]string{storage.StateDisabled: "ErrKeyDisabled", storage.StateShredded: "ErrKeyShredded"}[state]
		set(func(r *storage.KeyRecord) { r.State = state })
		cold := peerOf(t, v)
		for name, call := range callsWith(t, cold.Vault, orgA, s) {
			switch name {
			case "Decrypt", "AppendDecrypt", "DecryptString", "DecryptDataKey", "RekeyDataKey", "Get", "GetMany", "GetByID":
				if err := call(); fmt.Sprint(classes(err)) != "["+want+"]" {
					t.Errorf("%v: %s: %v", state, name, err)
				}
			}
		}
		_, err := cold.Decrypt(ctx, orgA, self, nil)
		wantClass(t, err, want)
		if state == storage.StateDisabled {
			_, err = cold.Encrypt(ctx, orgA, nil, nil)
			wantClass(t, err, want)
			wantClass(t, cold.Rotate(ctx, orgA), want)
			continue
		}
		// After a shred the context starts afresh, under a new version.
		sealed := must(cold.Encrypt(ctx, orgA, []byte("new"), nil))(t)
		if must(vault.Inspect(sealed))(t).KeyID == rec.KeyID {
			t.Fatal("sealed under a shredded key")
		}
		if newest := must(v.Store.LatestKey(ctx, rec.ContextHash, keyctx.PurposeData))(t); newest.Version != rec.Version+1 {
			t.Fatalf("version %d", newest.Version)
		}
	}
	if c := v.KEK.Calls(); c == 0 {
		t.Fatal("the KEK was never asked")
	}
}

// A KMS that answers with garbage, or with someone else's key, costs no data: no
// key is stored that doesn't unwrap again.
func TestWrongAnswersOfTheKMS(t *testing.T) {
	ctx := t.Context()
	for name, prepare := range map[string]func(k *memkek.KEK){
		"wrap gives garbage":   func(k *memkek.KEK) { k.SetWrapFault(memkek.Garbage) },
		"unwrap gives garbage": func(k *memkek.KEK) { k.SetUnwrapFault(memkek.Garbage) },
		"31 bytes":             func(k *memkek.KEK) { k.SetUnwrapResult(make([]byte, 31)) },
		"33 bytes":             func(k *memkek.KEK) { k.SetUnwrapResult(bytes.Repeat([]byte{1}, 33)) },
		"no bytes":             func(k *memkek.KEK) { k.SetUnwrapResult([]byte{}) },
		"zero bytes":           func(k *memkek.KEK) { k.SetUnwrapResult(make([]byte, 32)) },
		"someone else's key":   func(k *memkek.KEK) { k.SetUnwrapResult(bytes.Repeat([]byte{7}, 32)) },
	} {
		t.Run(name, func(t *testing.T) {
			v := vaulttest.New(t)
			old := must(v.Encrypt(ctx, orgB, []byte("x"), nil))(t)
			cold := peerOf(t, v)
			prepare(cold.KEK)
			_, err := cold.Encrypt(ctx, orgA, nil, nil)
			wantClass(t, err, "ErrKEKCorrupt")
			_, err = v.Store.LatestKey(ctx, hashIn(t, orgA, ""), keyctx.PurposeData)
			wantErr(t, err, storage.ErrNotFound)
			if name == "wrap gives garbage" {
				return
			}
			_, err = cold.Decrypt(ctx, orgB, old, nil)
			wantClass(t, err, "ErrKEKCorrupt")
			if _, err := cold.Encrypt(ctx, orgB, nil, nil); !errors.Is(err, vault.ErrKEKCorrupt) || v.Store.Calls("InsertKey") != 1 {
				t.Fatalf("a key was made in place of one that doesn't unwrap: %v", err)
			}
		})
	}
}

func flipLast(r *storage.ObjectRecord) { r.Envelope[len(r.Envelope)-1] ^= 1 }

func setEnvelope(s string) func(*storage.ObjectRecord) {
	return func(r *storage.ObjectRecord) { r.Envelope = []byte(s) }
}
