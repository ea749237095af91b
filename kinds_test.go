package vault_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// The tests here hold the context key, which no one outside the vault does, so
// that what they seal is genuine but for being of another kind.

// openWorld is a vault whose KEK hides nothing.
type openWorld struct {
	*vault.Vault
	config vault.Config
	store  *memstore.Store
}

func newOpenWorld(t *testing.T) *openWorld {
	store := memstore.New()
	c := vault.Config{KEK: openKEK("open:kek"), Store: store}
	return &openWorld{open(t, c), c, store}
}

// key returns the newest context key of kc, made if there is none.
func (w *openWorld) key(t *testing.T, kc vault.KeyContext) (*envelope.Key, storage.KeyRecord) {
	t.Helper()
	if err := w.Prepare(t.Context(), kc); err != nil {
		t.Fatal(err)
	}
	rec := must(w.store.LatestKey(t.Context(), hashIn(t, kc, ""), keyctx.PurposeData))(t)
	return must(envelope.NewKey(rec.Wrappings[0].Wrapped, rec.ContextHash, rec.Purpose, rec.Version))(t), rec
}

// seal makes a genuine envelope of any kind.
func (w *openWorld) seal(t *testing.T, kc vault.KeyContext, kind envelope.Kind, plaintext, aad []byte) []byte {
	t.Helper()
	key, rec := w.key(t, kc)
	var block []byte
	if kind.SelfContained() {
		block = must(envelope.Block{Purpose: rec.Purpose, Version: rec.Version, Quorum: rec.Quorum, Wrappings: rec.Wrappings}.Append(nil))(t)
	}
	return must(key.Seal(nil, kind, block, plaintext, aad))(t)
}

// objectAAD is the associated data of an object value, by SPEC.md.
func objectAAD(version storage.ID, expiresAt int64, name string) []byte {
	b := append([]byte("vault/obj/v1"), version[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(expiresAt))
	b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
	return append(b, name...)
}

var allKinds = []envelope.Kind{
	envelope.KindMessage, envelope.KindMessageSelf, envelope.KindStream, envelope.KindStreamSelf,
	envelope.KindDataKey, envelope.KindDataKeySelf, envelope.KindObject, envelope.KindObjectSelf,
	envelope.KindField, envelope.KindFieldSelf,
}

// Each API opens its own two kinds and refuses all others, genuine as they are.
func TestEachAPITakesItsOwnKindsOnly(t *testing.T) {
	w := newOpenWorld(t)
	ctx := t.Context()
	secret := slices.Repeat([]byte{7}, 32)
	meta := must(w.Put(ctx, orgA, "name", secret))(t)
	for _, kind := range allKinds {
		t.Run(kind.String(), func(t *testing.T) {
			plain := w.seal(t, orgA, kind, secret, nil)
			asObject := w.seal(t, orgA, kind, secret, objectAAD(meta.VersionID, 0, "name"))
			if err := w.store.EditObject(meta.ID, meta.VersionID, func(r *storage.ObjectRecord) { r.Envelope = asObject }); err != nil {
				t.Fatal(err)
			}
			for name, v := range map[string]*vault.Vault{"warm": w.Vault, "cold": open(t, w.config)} {
				check := func(api string, own bool, got []byte, err error) {
					t.Helper()
					if own && (err != nil || !slices.Equal(got, secret)) {
						t.Fatalf("%s, %s: %v", api, name, err)
					}
					if !own && (got != nil || !slices.Equal(classes(err), []string{"ErrMalformed"})) {
						t.Fatalf("%s, %s: %v", api, name, err)
					}
				}
				got, err := v.Decrypt(ctx, orgA, plain, nil)
				check("Decrypt", kind.Reference() == envelope.KindMessage, got, err)
				got, err = v.Scope(orgA).Decrypt(ctx, plain, nil)
				check("Scope.Decrypt", kind.Reference() == envelope.KindMessage, got, err)
				got, err = v.DecryptDataKey(ctx, orgA, plain)
				check("DecryptDataKey", kind.Reference() == envelope.KindDataKey, got, err)
				if _, err := v.RekeyDataKey(ctx, orgA, plain, orgB); (err == nil) != (kind.Reference() == envelope.KindDataKey) {
					t.Fatalf("RekeyDataKey: %v", err)
				}
				isObject := kind.Reference() == envelope.KindObject
				obj, err := v.Get(ctx, orgA, "name")
				check("Get", isObject, obj.Value, err)
				obj, err = v.GetByID(ctx, orgA, meta.ID)
				check("GetByID", isObject, obj.Value, err)
				obj, err = v.Get(ctx, orgA, "name", vault.AtVersion(meta.VersionID))
				check("AtVersion", isObject, obj.Value, err)
				many, err := v.GetMany(ctx, orgA, "name")
				check("GetMany", isObject, many["name"].Value, err)
			}
			if info, err := vault.Inspect(plain); err != nil || info.Kind != kind {
				t.Fatalf("Inspect: %+v, %v", info, err)
			}
		})
	}
}

// A kind byte that was changed is refused, also to another kind of the same API.
func TestRelabelledKind(t *testing.T) {
	w := newOpenWorld(t)
	secret := slices.Repeat([]byte{7}, 32)
	for _, from := range allKinds {
		sealed := w.seal(t, orgA, from, secret, nil)
		for to := range 256 {
			if envelope.Kind(to) == from {
				continue
			}
			forged := slices.Clone(sealed)
			forged[1] = byte(to)
			_, err1 := w.Decrypt(t.Context(), orgA, forged, nil)
			_, err2 := w.DecryptDataKey(t.Context(), orgA, forged)
			for _, err := range []error{err1, err2} {
				if !errors.Is(err, vault.ErrMalformed) && !errors.Is(err, vault.ErrDecrypt) {
					t.Fatalf("%v as kind %d: %v", from, to, err)
				}
			}
		}
	}
}

// A genuine message can't be turned into the same message in its other form: an
// attacker who knows the wrapped key can build the block, but not the tag.
func TestFormCantBeChanged(t *testing.T) {
	w := newOpenWorld(t)
	ref := w.seal(t, orgA, envelope.KindMessage, []byte("x"), nil)
	self := w.seal(t, orgA, envelope.KindMessageSelf, []byte("x"), nil)
	block := self[34 : len(self)-(24+12+1+16)]
	toSelf := slices.Concat([]byte{0xE1, 2}, ref[2:34], block, ref[34:])
	toRef := slices.Concat([]byte{0xE1, 1}, self[2:34], self[34+len(block):])
	for _, forged := range [][]byte{toSelf, toRef} {
		_, err := w.Decrypt(t.Context(), orgA, forged, nil)
		wantClass(t, err, "ErrDecrypt")
	}
}

// A key of another purpose is never one that data is sealed under, whatever an
// envelope or a row says.
func TestKeysOfOtherPurposesOpenNothing(t *testing.T) {
	hash := hashIn(t, orgA, "")
	secret := slices.Repeat([]byte{9}, 32)
	data := must(envelope.NewKey(secret, hash, keyctx.PurposeData, 1))(t)
	sealed := must(data.Seal(nil, envelope.KindMessage, nil, []byte("x"), nil))(t)
	for _, p := range []keyctx.Purpose{keyctx.PurposeIndex, keyctx.PurposeWrapping, keyctx.PurposeAuthentication} {
		key := must(envelope.NewKey(secret, hash, p, 1))(t)
		for _, id := range []keyctx.KeyID{key.ID(), data.ID()} {
			store := memstore.New()
			v := open(t, vault.Config{KEK: openKEK("open:kek"), Store: store})
			if err := store.InsertKey(t.Context(), storage.KeyRecord{
				KeyID: id, Context: orgA, ContextHash: hash, Purpose: p, Version: 1, State: storage.StateActive,
				Quorum: keyctx.AnyOf, Wrappings: []keyctx.Wrapping{{URI: "open:kek", Wrapped: secret}},
				CreatedAt: time.Now(), StateChangedAt: time.Now(),
			}); err != nil {
				t.Fatal(err)
			}
			forged := slices.Clone(sealed)
			copy(forged[2:], id[:])
			_, err := v.Decrypt(t.Context(), orgA, forged, nil)
			wantClass(t, err, "ErrWrongContext")
		}
	}
}
