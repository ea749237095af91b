package vault_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

func readVectors[T any](t *testing.T, file string) []T {
	t.Helper()
	return must(vectors.Read[T](file))(t)
}

// knownKEK is a KEK that gives one key, whatever it is given: the key of a
// vector.
type knownKEK struct {
	uri string
	key []byte
}

func (k knownKEK) URI() string { return k.uri }

func (k knownKEK) Wrap(context.Context, []byte, kek.Binding) ([]byte, error) {
	return nil, kek.ErrDenied
}

func (k knownKEK) Unwrap(context.Context, []byte, kek.Binding) ([]byte, error) {
	return bytes.Clone(k.key), nil
}

// vectorWorld has vaults that know the context key of a vector: by a record in a
// store, under the key ID that the envelope has, and by KEKs with the URIs that
// the envelope's block has.
type vectorWorld struct {
	kc     vault.KeyContext
	self   bool // the envelope carries its key
	zeroID bool // it names no key
	store  *memstore.Store
	vaults map[string]func(t *testing.T) *vault.Vault
}

const knownURI = "known:kek"

func newVectorWorld(t *testing.T, v vectors.Sealed) *vectorWorld {
	t.Helper()
	full := vault.KeyContext(v.Context)
	w := &vectorWorld{kc: full.WithoutNamespace(), store: memstore.New(), vaults: map[string]func(*testing.T) *vault.Vault{}}
	hash := must(full.Hash())(t)
	if !bytes.Equal(hash[:], v.ContextHash) {
		t.Fatal("the vector's context hash is another")
	}
	choice := kek.Choice{KEKs: []kek.Wrapper{knownKEK{knownURI, v.ContextKey}}, Quorum: kek.AnyOf}
	if e, err := envelope.Parse(v.Envelope); err == nil {
		if w.self = e.Block != nil; w.self {
			choice = blockChoice(t, e.Block, v.ContextKey)
		} else if w.zeroID = e.KeyID.IsZero(); w.zeroID {
			// No store has a key of that ID.
		} else if err := w.store.InsertKey(t.Context(), storage.KeyRecord{
			KeyID: e.KeyID, Context: full, ContextHash: hash, Purpose: keyctx.Purpose(v.Purpose), Version: v.Version,
			State: storage.StateActive, Quorum: keyctx.AnyOf, Wrappings: []keyctx.Wrapping{{URI: knownURI, Wrapped: []byte{1}}},
			CreatedAt: time.Now(), StateChangedAt: time.Now(),
		}); err != nil {
			t.Fatal(err)
		}
	}
	policy := kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) { return choice, nil })
	add := func(name string, c vault.Config) {
		c.Policy, c.Namespace, c.NoBackground = policy, full.Namespace(), true
		w.vaults[name] = func(t *testing.T) *vault.Vault { return open(t, c) }
	}
	add("store", vault.Config{Store: w.store})
	add("store, self-contained", vault.Config{Store: w.store, SelfContained: true})
	if w.self {
		add("no store", vault.Config{})
	}
	return w
}

// blockChoice is the choice that a block matches, whose KEKs give this key: for
// all-of the first its whole and the others nothing.
func blockChoice(t *testing.T, wire, key []byte) kek.Choice {
	t.Helper()
	block := must(envelope.ParseBlock(wire))(t)
	choice := kek.Choice{Quorum: block.Quorum}
	for i, w := range block.Wrappings {
		share := key
		if block.Quorum == keyctx.AllOf && i > 0 {
			share = make([]byte, len(key))
		}
		choice.KEKs = append(choice.KEKs, knownKEK{w.URI, share})
	}
	return choice
}

// want is what SPEC.md's table says for a result.
func (w *vectorWorld) want(t *testing.T, r vectors.Result) []string {
	t.Helper()
	switch r {
	case vectors.Valid:
		return nil
	case vectors.Malformed:
		return []string{"ErrMalformed"}
	case vectors.DecryptFailed:
		return []string{"ErrDecrypt"}
	case vectors.WrongLocation:
		return []string{"ErrWrongLocation"}
	case vectors.WrongType:
		return []string{"ErrWrongType"}
	case vectors.WrongContext:
		// The vectors give the context key itself. Here it comes out of a record or
		// a block, whose key it then isn't.
		switch {
		case w.self:
			return []string{"ErrKEKCorrupt", "ErrWrongContext"}
		case w.zeroID:
			return []string{"ErrKeyNotFound"}
		}
		return []string{"ErrKEKCorrupt"}
	}
	t.Fatalf("unknown result %q", r)
	return nil
}

// opener is an entry point that opens an envelope.
type opener func(v *vault.Vault, kc vault.KeyContext, data, aad []byte) ([]byte, error)

// run gives an envelope to every entry point, in a vault that hasn't seen its key
// and then in the same again.
func (w *vectorWorld) run(t *testing.T, v vectors.Sealed, result vectors.Result, openers map[string]opener) {
	t.Helper()
	want := w.want(t, result)
	for where, fresh := range w.vaults {
		for how, read := range openers {
			vlt := fresh(t)
			for _, temp := range []string{"cold", "warm"} {
				data, aad := bytes.Clone(v.Envelope), bytes.Clone(v.AAD)
				got, err := read(vlt, w.kc, data, aad)
				if !slices.Equal(classes(err), want) || (err == nil) != (want == nil) || err == nil && (got == nil || !bytes.Equal(got, v.Plaintext)) {
					t.Errorf("%s, %s, %s: %x, %v has the classes %v, want %v", how, where, temp, got, err, classes(err), want)
				}
				if !bytes.Equal(data, v.Envelope) || !bytes.Equal(aad, v.AAD) {
					t.Errorf("%s changed what it was given", how)
				}
			}
		}
	}
}

func messageOpeners(ctx context.Context) map[string]opener {
	return map[string]opener{
		"Decrypt": func(v *vault.Vault, kc vault.KeyContext, d, aad []byte) ([]byte, error) {
			return v.Decrypt(ctx, kc, d, aad)
		},
		"Scope.Decrypt": func(v *vault.Vault, kc vault.KeyContext, d, aad []byte) ([]byte, error) {
			return v.Scope(kc).Decrypt(ctx, d, aad)
		},
		"AppendDecrypt": func(v *vault.Vault, kc vault.KeyContext, d, aad []byte) ([]byte, error) {
			b, err := v.AppendDecrypt(ctx, kc, []byte("head"), d, aad)
			if err != nil {
				return b, err
			}
			rest, ok := bytes.CutPrefix(b, []byte("head"))
			if !ok {
				return nil, errors.New("dst was lost")
			}
			return rest, nil
		},
		"in place": func(v *vault.Vault, kc vault.KeyContext, d, aad []byte) ([]byte, error) {
			own := bytes.Clone(d)
			return v.Scope(kc).AppendDecrypt(ctx, own[:0], own, aad)
		},
		"AEAD": func(v *vault.Vault, kc vault.KeyContext, d, aad []byte) ([]byte, error) {
			return v.Scope(kc).AEAD(ctx).Decrypt(d, aad)
		},
		"AEADWithContext": func(v *vault.Vault, kc vault.KeyContext, d, aad []byte) ([]byte, error) {
			return v.Scope(kc).AEADWithContext().DecryptWithContext(ctx, d, aad)
		},
		"DecryptString": func(v *vault.Vault, kc vault.KeyContext, d, aad []byte) ([]byte, error) {
			s, err := v.DecryptString(ctx, kc, textOf(d), aad)
			if err != nil {
				return nil, err
			}
			return []byte(s), nil
		},
		"Scope.DecryptString": func(v *vault.Vault, kc vault.KeyContext, d, aad []byte) ([]byte, error) {
			s, err := v.Scope(kc).DecryptString(ctx, textOf(d), aad)
			if err != nil {
				return nil, err
			}
			return []byte(s), nil
		},
	}
}

func TestVectorsOfMessages(t *testing.T) {
	for _, v := range readVectors[vectors.Envelope](t, vectors.EnvelopeFile) {
		t.Run(v.Name, func(t *testing.T) {
			w := newVectorWorld(t, v.Sealed)
			w.run(t, v.Sealed, v.Result, messageOpeners(t.Context()))
			w.inspect(t, v.Sealed)
			// Through another API it is malformed, whatever it is.
			vlt := w.vaults["store"](t)
			if _, err := vlt.DecryptDataKey(t.Context(), w.kc, v.Envelope); !errors.Is(err, vault.ErrMalformed) && envelopeKind(v.Envelope).Reference() != envelope.KindDataKey {
				t.Errorf("DecryptDataKey: %v", err)
			}
			if v.Result == vectors.Valid {
				w.otherContext(t, v.Sealed)
			}
		})
	}
}

// inspect compares what Inspect says with what Parse does.
func (w *vectorWorld) inspect(t *testing.T, v vectors.Sealed) {
	t.Helper()
	info, err := vault.Inspect(v.Envelope)
	e, perr := envelope.Parse(v.Envelope)
	if envelopeKind(v.Envelope).Reference() == envelope.KindStream || bytes.HasPrefix(v.Envelope, []byte(envelope.TextPrefix)) {
		return // a header, which something may follow; a text, which Inspect takes as well
	}
	if (err == nil) != (perr == nil) || err != nil && !errors.Is(err, vault.ErrMalformed) {
		t.Errorf("Inspect: %v, Parse: %v", err, perr)
	}
	if err == nil && (info.Kind != e.Kind || info.KeyID != e.KeyID || info.PlaintextSize != e.PlaintextSize() || info.Size != len(v.Envelope)) {
		t.Errorf("Inspect: %+v", info)
	}
}

// otherContext gives a valid envelope to another context, which the store knows
// its key not to be of.
func (w *vectorWorld) otherContext(t *testing.T, v vectors.Sealed) {
	t.Helper()
	other := vault.KeyContext{"organization_id": "somebody else"}
	for name, fresh := range w.vaults {
		_, err := fresh(t).Decrypt(t.Context(), other, v.Envelope, v.AAD)
		if w.self {
			wantClass(t, err, "ErrKEKCorrupt", "ErrWrongContext")
		} else {
			wantClass(t, err, "ErrWrongContext")
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func envelopeKind(b []byte) envelope.Kind {
	if len(b) < 2 {
		return 0
	}
	return envelope.Kind(b[1])
}

func TestVectorsOfDataKeys(t *testing.T) {
	for _, v := range readVectors[vectors.Envelope](t, vectors.DataKeyFile) {
		t.Run(v.Name, func(t *testing.T) {
			w := newVectorWorld(t, v.Sealed)
			if len(v.AAD) != 0 {
				t.Fatal("a data key has no associated data")
			}
			w.run(t, v.Sealed, v.Result, map[string]opener{
				"DecryptDataKey": func(vlt *vault.Vault, kc vault.KeyContext, d, _ []byte) ([]byte, error) {
					return vlt.DecryptDataKey(t.Context(), kc, d)
				},
				"Scope": func(vlt *vault.Vault, kc vault.KeyContext, d, _ []byte) ([]byte, error) {
					return vlt.Scope(kc).DecryptDataKey(t.Context(), d)
				},
			})
			w.inspect(t, v.Sealed)
			if v.Result == vectors.Valid {
				_, err := w.vaults["store"](t).Decrypt(t.Context(), w.kc, v.Envelope, nil)
				wantClass(t, err, "ErrMalformed")
			}
		})
	}
}

// No entry point takes a stream header yet; all refuse it, and Inspect says what
// it is.
func TestVectorsOfStreamHeaders(t *testing.T) {
	for _, v := range readVectors[vectors.Envelope](t, vectors.StreamHeaderFile) {
		t.Run(v.Name, func(t *testing.T) {
			w := newVectorWorld(t, v.Sealed)
			if envelopeKind(v.Envelope).Reference() == envelope.KindStream {
				w.run(t, v.Sealed, vectors.Malformed, messageOpeners(t.Context()))
			}
			info, err := vault.Inspect(v.Envelope)
			switch v.Result {
			case vectors.Valid:
				if err != nil || info.Kind.Reference() != envelope.KindStream || info.PlaintextSize != 32 {
					t.Errorf("%+v, %v", info, err)
				}
			case vectors.Malformed:
				if envelopeKind(v.Envelope).Reference() == envelope.KindStream && err == nil && len(v.Plaintext) == 32 {
					t.Errorf("Inspect reads it: %+v", info)
				}
			}
		})
	}
}

func TestVectorsOfTexts(t *testing.T) {
	for _, v := range readVectors[vectors.Text](t, vectors.TextFile) {
		t.Run(v.Name, func(t *testing.T) {
			vlt := open(t, vault.Config{KEK: openKEK("open:k"), Store: memstore.New()})
			info, err := vault.Inspect([]byte(v.Text))
			_, derr := vlt.DecryptString(t.Context(), orgA, v.Text, nil)
			if v.Result == vectors.Valid {
				want := must(vault.Inspect(v.Envelope))(t)
				if err != nil || fmt.Sprint(info) != fmt.Sprint(want) {
					t.Errorf("%+v, %v", info, err)
				}
				if derr == nil || errors.Is(derr, vault.ErrMalformed) {
					t.Errorf("it parses, and its key is unknown: %v", derr)
				}
				return
			}
			wantClass(t, derr, "ErrMalformed")
			if len(v.Text) >= 5 && v.Text[:5] == "vlt1." {
				wantClass(t, err, "ErrMalformed")
			}
		})
	}
}

// Objects are planted as rows, and read in every way.
func TestVectorsOfObjects(t *testing.T) {
	for _, v := range readVectors[vectors.Object](t, vectors.ObjectFile) {
		t.Run(v.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newVectorWorld(t, v.Sealed)
				delete(w.vaults, "no store")
				name, version := string(v.ObjectName), vault.ID(v.VersionID)
				if v.Result == vectors.InvalidName {
					vlt := w.vaults["store"](t)
					_, err := vlt.Get(t.Context(), w.kc, name)
					wantClass(t, err, "ErrInvalidName")
					_, err = vlt.Put(t.Context(), w.kc, name, nil)
					wantClass(t, err, "ErrInvalidName")
					return
				}
				object := w.plant(t, v, name, version)
				result := v.Result
				if v.ExpiresAt != 0 && v.ExpiresAt <= time.Now().UnixMicro() {
					for _, read := range objectOpeners(t, name, object, version) {
						_, err := read(w.vaults["store"](t), w.kc, nil, nil)
						wantClass(t, err, "ErrNotFound")
					}
					return
				}
				w.run(t, v.Sealed, result, objectOpeners(t, name, object, version))
			})
		})
	}
}

// plant writes a row as the vector says, whatever a store's own checks would say
// to it.
func (w *vectorWorld) plant(t *testing.T, v vectors.Object, name string, version vault.ID) (object vault.ID) {
	t.Helper()
	object = storage.NewID(time.Now())
	full := vault.KeyContext(v.Context)
	placeholder := storage.NewID(time.Now())
	if err := w.store.ImportVersion(t.Context(), storage.ObjectRecord{
		ID: object, Context: full, ContextHash: must(full.Hash())(t), Name: name, CreatedAt: time.Now(),
		VersionID: placeholder, Number: 1, KeyID: keyctx.KeyID(v.KeyID), UpdatedAt: time.Now(), Envelope: v.Envelope,
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.EditObject(object, placeholder, func(r *storage.ObjectRecord) {
		r.VersionID, r.ExpiresAt = version, v.ExpiresAt
	}); err != nil {
		t.Fatal(err)
	}
	return object
}

func objectOpeners(t *testing.T, name string, object, version vault.ID) map[string]opener {
	value := func(obj vault.Object, err error) ([]byte, error) { return obj.Value, err }
	ctx := t.Context()
	return map[string]opener{
		"Get": func(v *vault.Vault, kc vault.KeyContext, _, _ []byte) ([]byte, error) {
			return value(v.Get(ctx, kc, name))
		},
		"Scope.Get": func(v *vault.Vault, kc vault.KeyContext, _, _ []byte) ([]byte, error) {
			return value(v.Scope(kc).Get(ctx, name))
		},
		"AtVersion": func(v *vault.Vault, kc vault.KeyContext, _, _ []byte) ([]byte, error) {
			return value(v.Get(ctx, kc, name, vault.AtVersion(version)))
		},
		"GetByID": func(v *vault.Vault, kc vault.KeyContext, _, _ []byte) ([]byte, error) {
			return value(v.GetByID(ctx, kc, object))
		},
		"GetMany": func(v *vault.Vault, kc vault.KeyContext, _, _ []byte) ([]byte, error) {
			many, err := v.GetMany(ctx, kc, name)
			if _, ok := many[name]; !ok && err == nil {
				return nil, vault.ErrNotFound
			}
			return many[name].Value, err
		},
	}
}

// A context that the vectors call valid is taken and has their hash; one that
// they call invalid is refused by New or by every call.
func TestVectorsOfKeyContexts(t *testing.T) {
	n := 0
	for _, v := range readVectors[vectors.KeyContext](t, vectors.KeyContextFile) {
		if v.Input != vectors.InputCaller {
			continue
		}
		n++
		t.Run(v.Name, func(t *testing.T) {
			kc := vault.KeyContext{}
			for _, p := range v.Pairs {
				kc[string(p.Key)] = string(p.Value)
			}
			var hash vault.ContextHash
			store := memstore.New()
			vlt, err := vault.New(vault.Config{
				KEK: openKEK("open:k"), Store: store, Namespace: string(v.Namespace), EventMessages: true,
				OnEvent: func(_ context.Context, e vault.Event) error { hash = e.ContextHash; return nil },
			})
			if err == nil {
				defer vlt.Close()
				_, err = vlt.Encrypt(t.Context(), kc, nil, nil)
			}
			if v.Result != vectors.Valid {
				wantClass(t, err, "ErrInvalidContext")
				return
			}
			if err != nil || !bytes.Equal(hash[:], v.Hash) {
				t.Fatalf("hash %x, %v", hash, err)
			}
			rec := must(store.LatestKey(t.Context(), hash, keyctx.PurposeData))(t)
			if sum := sha256.Sum256(must(rec.Context.AppendCanonical(nil))(t)); sum != hash {
				t.Fatal("the stored context has another hash")
			}
		})
	}
	if n < 80 {
		t.Fatalf("%d vectors", n)
	}
}

// Wrapped keys of the vectors, as a record and as a block brings them, under the
// policy of the vectors.
func TestVectorsOfUnwrapping(t *testing.T) {
	for _, v := range readVectors[vectors.Unwrap](t, vectors.UnwrapFile) {
		t.Run(v.Name, func(t *testing.T) {
			full := vault.KeyContext(v.Context)
			hash := keyctx.Hash(v.ContextHash)
			known := map[string]knownParts{}
			rec := storage.KeyRecord{
				KeyID: keyctx.KeyID(v.KeyID), Context: full, ContextHash: hash, Purpose: keyctx.Purpose(v.Purpose), Version: v.Version,
				State: storage.StateActive, Quorum: keyctx.Quorum(v.Quorum), CreatedAt: time.Now(), StateChangedAt: time.Now(),
			}
			for i, w := range v.Wrappings {
				rec.Wrappings = append(rec.Wrappings, keyctx.Wrapping{URI: w.URI, Wrapped: w.Wrapped})
				if known[w.URI] == nil {
					known[w.URI] = knownParts{}
				}
				known[w.URI][string(w.Wrapped)] = v.Unwrapped[i]
			}
			choice := partsChoice(v.Choice, known)
			for _, p := range v.Previous {
				choice.Previous = append(choice.Previous, partsChoice(p, known))
			}
			policy := kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) { return choice, nil })
			want := map[vectors.Result]string{vectors.Valid: "[]", vectors.Policy: "[ErrPolicy]", vectors.Corrupt: "[ErrKEKCorrupt]"}[v.Result]
			key := must(envelope.NewKey(v.ContextKey, hash, keyctx.Purpose(v.Purpose), v.Version))(t)
			if key.ID() != rec.KeyID || want == "" {
				t.Fatal("the vector's key has another ID")
			}

			store := memstore.New()
			wrappings := rec.Wrappings
			rec.Wrappings, rec.Quorum = []keyctx.Wrapping{{URI: "placeholder", Wrapped: []byte{1}}}, keyctx.AnyOf
			if err := store.InsertKey(t.Context(), rec); err != nil {
				t.Fatal(err)
			}
			rec.Wrappings, rec.Quorum = wrappings, keyctx.Quorum(v.Quorum)
			if err := store.EditKey(rec.KeyID, func(r *storage.KeyRecord) { r.Wrappings, r.Quorum = rec.Wrappings, rec.Quorum }); err != nil {
				t.Fatal(err)
			}
			if rec.Purpose != keyctx.PurposeData {
				return // package vault asks for no other yet
			}
			vlt := open(t, vault.Config{Policy: policy, Store: store, Namespace: full.Namespace()})
			sealed := must(key.Seal(nil, envelope.KindMessage, nil, []byte("x"), nil))(t)
			_, err := vlt.Decrypt(t.Context(), full.WithoutNamespace(), sealed, nil)
			if got := fmt.Sprint(classes(err)); got != want {
				t.Errorf("by reference: %v has the classes %s, want %s", err, got, want)
			}
			block, err := envelope.Block{Purpose: rec.Purpose, Version: rec.Version, Quorum: rec.Quorum, Wrappings: rec.Wrappings}.Append(nil)
			if err != nil {
				return // no block can say it
			}
			if v.Result == vectors.Corrupt {
				want = "[ErrKEKCorrupt ErrWrongContext]"
			}
			self := must(key.Seal(nil, envelope.KindMessageSelf, block, []byte("x"), nil))(t)
			alone := open(t, vault.Config{Policy: policy, Namespace: full.Namespace()})
			_, err = alone.Decrypt(t.Context(), full.WithoutNamespace(), self, nil)
			if got := fmt.Sprint(classes(err)); got != want {
				t.Errorf("self-contained: %v has the classes %s, want %s", err, got, want)
			}
		})
	}
}

// knownParts is what a KEK makes of wrapped bytes.
type knownParts map[string]vectors.Hex

type partsKEK struct {
	knownKEK
	parts knownParts
}

func (k partsKEK) Unwrap(_ context.Context, wrapped []byte, _ kek.Binding) ([]byte, error) {
	part, ok := k.parts[string(wrapped)]
	if !ok || len(part) == 0 {
		return nil, kek.ErrCorrupt
	}
	return bytes.Clone(part), nil
}

func partsChoice(c vectors.Choice, known map[string]knownParts) kek.Choice {
	choice := kek.Choice{Quorum: keyctx.Quorum(c.Quorum)}
	for _, uri := range c.URIs {
		choice.KEKs = append(choice.KEKs, partsKEK{knownKEK{uri: uri}, known[uri]})
	}
	return choice
}
