package vault_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/memstore"
)

// givenKey is a KEK that unwraps whatever it is given to the context key of a
// vector: the vectors are about what comes after.
type givenKey struct {
	uri string
	key []byte
}

func (g givenKey) URI() string { return g.uri }
func (g givenKey) Wrap(context.Context, []byte, kek.Binding) ([]byte, error) {
	return nil, kek.ErrDenied
}
func (g givenKey) Unwrap(context.Context, []byte, kek.Binding) ([]byte, error) {
	return bytes.Clone(g.key), nil
}

// stage is a vault in which one vector's key is at hand: as a record in the
// store, for references, and behind every KEK of a self-contained envelope.
type stage struct {
	*vault.Vault
	store *memstore.Store
	kc    vault.KeyContext
	hash  keyctx.Hash
}

func newStage(t *testing.T, s vectors.Sealed) stage {
	t.Helper()
	full := keyctx.KeyContext(s.Context)
	st := stage{store: memstore.New(), kc: full.WithoutNamespace(), hash: keyctx.Hash(s.ContextHash)}
	w := givenKey{"given:key", s.ContextKey}
	choice := kek.Choice{KEKs: []kek.Wrapper{w}, Quorum: kek.AnyOf}
	if e, err := envelope.Parse(s.Envelope); err == nil && e.Block != nil {
		choice.Previous = []kek.Choice{choiceOf(t, e.Block, s.ContextKey)}
	}
	v, err := vault.New(vault.Config{
		Policy: kek.PolicyFunc(func(context.Context, vault.KeyContext) (kek.Choice, error) { return choice, nil }),
		Store:  st.store, Namespace: full.Namespace(), NoBackground: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	st.Vault = v
	err = st.store.InsertKey(t.Context(), storage.KeyRecord{
		KeyID: keyctx.KeyID(s.KeyID), Context: full, ContextHash: st.hash,
		Purpose: keyctx.Purpose(s.Purpose), Version: s.Version, State: storage.StateActive,
		Quorum: keyctx.AnyOf, Wrappings: []keyctx.Wrapping{{URI: w.uri, Wrapped: []byte{1}}},
		CreatedAt: time.Now(), StateChangedAt: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// choiceOf is the policy under which the block's wrappings give key. Of all-of,
// one KEK gives the key and the others give zeros, which XOR leaves alone.
func choiceOf(t *testing.T, block, key []byte) kek.Choice {
	t.Helper()
	b, err := envelope.ParseBlock(block)
	if err != nil {
		t.Fatal(err)
	}
	choice := kek.Choice{Quorum: b.Quorum}
	for i, w := range b.Wrappings {
		share := key
		if b.Quorum == kek.AllOf && i > 0 {
			share = make([]byte, len(key))
		}
		choice.KEKs = append(choice.KEKs, givenKey{w.URI, share})
	}
	return choice
}

// matches reports whether err is what docs/SPEC.md says for a result. A key that
// no record and no block leads to is, through this API, a key not found.
func matches(err error, r vectors.Result) bool {
	switch r {
	case vectors.Valid:
		return err == nil
	case vectors.Malformed:
		return errors.Is(err, vault.ErrMalformed)
	case vectors.WrongContext:
		return errors.Is(err, vault.ErrWrongContext) || errors.Is(err, vault.ErrKeyNotFound)
	case vectors.DecryptFailed:
		return errors.Is(err, vault.ErrDecrypt)
	case vectors.InvalidName:
		return errors.Is(err, vault.ErrInvalidName)
	}
	return false
}

// ownContext reports whether the vector's context is one that no caller can
// give: package vault has no entry for it.
func ownContext(s vectors.Sealed) bool {
	return keyctx.KeyContext(s.Context).WithoutNamespace().Validate() != nil
}

// eachSealed runs f for every vector of a file that package vault can take.
func eachSealed(t *testing.T, file string, f func(t *testing.T, v vectors.Envelope, s stage)) {
	list, err := vectors.Read[vectors.Envelope](file)
	if err != nil {
		t.Fatal(err)
	}
	ran := map[vectors.Result]int{}
	for _, v := range list {
		if ownContext(v.Sealed) {
			continue
		}
		ran[v.Result]++
		t.Run(v.Name, func(t *testing.T) { f(t, v, newStage(t, v.Sealed)) })
	}
	for _, r := range []vectors.Result{vectors.Valid, vectors.Malformed, vectors.WrongContext, vectors.DecryptFailed} {
		if ran[r] == 0 {
			t.Errorf("%s: no vector with result %s ran", file, r)
		}
	}
}

func TestMessageVectors(t *testing.T) {
	eachSealed(t, vectors.EnvelopeFile, func(t *testing.T, v vectors.Envelope, s stage) {
		ctx, scope := t.Context(), s.Scope(s.kc)
		check := func(name string, got []byte, err error) {
			t.Helper()
			if !matches(err, v.Result) {
				t.Errorf("%s: error %v, want %s", name, err, v.Result)
			}
			if err == nil && !bytes.Equal(got, v.Plaintext) {
				t.Errorf("%s: another plaintext", name)
			}
		}
		for _, warm := range []string{"cold", "warm"} {
			got, err := s.Decrypt(ctx, s.kc, v.Envelope, v.AAD)
			check(warm+" Decrypt", got, err)
		}
		got, err := s.AppendDecrypt(ctx, s.kc, []byte{}, v.Envelope, v.AAD)
		check("AppendDecrypt", got, err)
		got, err = scope.Decrypt(ctx, v.Envelope, v.AAD)
		check("Scope.Decrypt", got, err)
		got, err = scope.AEAD(ctx).Decrypt(v.Envelope, v.AAD)
		check("Scope.AEAD", got, err)
		got, err = scope.AEADWithContext().DecryptWithContext(ctx, v.Envelope, v.AAD)
		check("Scope.AEADWithContext", got, err)
		if v.Result == vectors.Malformed {
			return
		}
		text, err := envelope.EncodeText(v.Envelope)
		if err != nil {
			t.Fatal(err)
		}
		str, err := s.DecryptString(ctx, s.kc, text, v.AAD)
		check("DecryptString", []byte(str), err)
		if _, err := vault.Inspect(v.Envelope); err != nil {
			t.Errorf("Inspect: %v", err)
		}
		if v.Result != vectors.Valid {
			return
		}
		if _, err := s.DecryptDataKey(ctx, s.kc, v.Envelope); !errors.Is(err, vault.ErrMalformed) {
			t.Errorf("DecryptDataKey took a message: %v", err)
		}
	})
}

func TestDataKeyVectors(t *testing.T) {
	eachSealed(t, vectors.DataKeyFile, func(t *testing.T, v vectors.Envelope, s stage) {
		for _, warm := range []string{"cold", "warm"} {
			got, err := s.DecryptDataKey(t.Context(), s.kc, v.Envelope)
			if !matches(err, v.Result) {
				t.Errorf("%s: error %v, want %s", warm, err, v.Result)
			}
			if err == nil && !bytes.Equal(got, v.Plaintext) {
				t.Errorf("%s: another key", warm)
			}
		}
		if _, err := s.RekeyDataKey(t.Context(), s.kc, v.Envelope, s.kc); v.Result != vectors.Valid && !matches(err, v.Result) {
			t.Errorf("RekeyDataKey: error %v, want %s", err, v.Result)
		}
		if _, err := s.Decrypt(t.Context(), s.kc, v.Envelope, nil); v.Result == vectors.Valid && err == nil {
			t.Error("Decrypt took a data key")
		}
	})
}

// Object vectors as rows of the store: what is asked for is what the vector says
// is asked for.
func TestObjectVectors(t *testing.T) {
	list, err := vectors.Read[vectors.Object](vectors.ObjectFile)
	if err != nil {
		t.Fatal(err)
	}
	ran := map[vectors.Result]int{}
	for _, v := range list {
		if ownContext(v.Sealed) {
			continue
		}
		if v.ExpiresAt > time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() {
			continue // the format has such times; no row does
		}
		ran[v.Result]++
		t.Run(v.Name, func(t *testing.T) {
			s := newStage(t, v.Sealed)
			name, version := string(v.ObjectName), vault.ID(v.VersionID)
			want := v.Result
			if v.ExpiresAt != 0 && v.ExpiresAt <= time.Now().UnixMicro() && want != vectors.InvalidName {
				if _, err := s.Get(t.Context(), s.kc, name); !errors.Is(err, vault.ErrNotFound) {
					t.Fatalf("an expired object: %v", err)
				}
				return
			}
			plant(t, s, v)
			got, err := s.Get(t.Context(), s.kc, name)
			check := func(what string) {
				t.Helper()
				if !matches(err, want) {
					t.Errorf("%s: error %v, want %s", what, err, want)
				}
				if err == nil && (!bytes.Equal(got.Value, v.Plaintext) || got.VersionID != version) {
					t.Errorf("%s: another object", what)
				}
			}
			check("Get")
			got, err = s.Scope(s.kc).Get(t.Context(), name)
			check("Scope.Get")
			if !version.IsZero() {
				got, err = s.Get(t.Context(), s.kc, name, vault.AtVersion(version))
				check("AtVersion")
			}
			many, err := s.GetMany(t.Context(), s.kc, name)
			if got = many[name]; !matches(err, want) {
				t.Errorf("GetMany: error %v, want %s", err, want)
			}
		})
	}
	for _, r := range []vectors.Result{vectors.Valid, vectors.Malformed, vectors.WrongContext, vectors.DecryptFailed, vectors.InvalidName} {
		if ran[r] == 0 {
			t.Errorf("no vector with result %s ran", r)
		}
	}
}

// plant puts the vector's envelope into the store as the object that it is asked
// for as. A name that is none can't be stored.
func plant(t *testing.T, s stage, v vectors.Object) {
	t.Helper()
	rec := storage.ObjectRecord{
		ID: storage.NewID(time.Now()), Context: v.Context, ContextHash: s.hash,
		Name: string(v.ObjectName), VersionID: vault.ID(v.VersionID), KeyID: keyctx.KeyID(v.KeyID),
		Size: int64(len(v.Plaintext)), ExpiresAt: v.ExpiresAt, UpdatedAt: time.Now(), Envelope: v.Envelope,
	}
	if rec.VersionID.IsZero() {
		rec.VersionID = vault.ID(v.VersionID)
	}
	_, err := s.store.PutObject(t.Context(), rec, storage.PutGuard{Now: time.Now()})
	if err != nil && v.Result != vectors.InvalidName {
		t.Fatal(err)
	}
}

// Contexts that no caller may give are refused by every entry point.
func TestKeyContextVectors(t *testing.T) {
	list, err := vectors.Read[vectors.KeyContext](vectors.KeyContextFile)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, v := range list {
		if v.Input != vectors.InputCaller {
			continue
		}
		kc := vault.KeyContext{}
		for _, p := range v.Pairs {
			kc[string(p.Key)] = string(p.Value)
		}
		if len(kc) != len(v.Pairs) {
			continue // a map can't say it
		}
		ran++
		t.Run(v.Name, func(t *testing.T) {
			s, err := vault.New(vault.Config{KEK: givenKey{"given:key", nil}, Store: memstore.New(), Namespace: string(v.Namespace)})
			if err != nil {
				if v.Result != vectors.InvalidContext || !errors.Is(err, vault.ErrInvalidContext) {
					t.Fatal(err)
				}
				return
			}
			defer s.Close()
			_, err = s.Encrypt(t.Context(), kc, nil, nil)
			if (v.Result == vectors.InvalidContext) != errors.Is(err, vault.ErrInvalidContext) {
				t.Errorf("Encrypt: %v, want %s", err, v.Result)
			}
			if err = s.Scope(kc).Err(); (v.Result == vectors.InvalidContext) != errors.Is(err, vault.ErrInvalidContext) {
				t.Errorf("Scope: %v, want %s", err, v.Result)
			}
		})
	}
	if ran < 20 {
		t.Errorf("%d vectors ran", ran)
	}
}

func TestTextVectors(t *testing.T) {
	list, err := vectors.Read[vectors.Text](vectors.TextFile)
	if err != nil {
		t.Fatal(err)
	}
	v := exampleVault()
	defer v.Close()
	for _, x := range list {
		t.Run(x.Name, func(t *testing.T) {
			_, err := v.DecryptString(t.Context(), vault.KeyContext{"organization_id": "org_01"}, x.Text, nil)
			if (x.Result == vectors.Malformed) != errors.Is(err, vault.ErrMalformed) {
				t.Errorf("DecryptString: %v, want %s", err, x.Result)
			}
		})
	}
}
