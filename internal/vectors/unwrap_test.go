package vectors_test

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// tinkKEK is a keyset of the vectors as Tink itself reads it. For every unwrap
// it asks the second reader as well.
type tinkKEK struct {
	keyset vectors.Keyset
	aead   tink.AEAD
}

var _ kek.Wrapper = (*tinkKEK)(nil)

func (k *tinkKEK) URI() string { return k.keyset.URI }

func (k *tinkKEK) Wrap(_ context.Context, key []byte, b kek.Binding) ([]byte, error) {
	ct, err := k.aead.Encrypt(key, b.AppendBytes(nil))
	return append([]byte{0x01}, ct...), err
}

func (k *tinkKEK) Unwrap(_ context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	second := unwrapKeyset(k.keyset, wrapped, b.AppendBytes(nil))
	if len(wrapped) == 0 || wrapped[0] != 0x01 {
		if second != nil {
			return nil, errors.New("second reader unwraps an unknown format")
		}
		return nil, kek.ErrCorrupt
	}
	key, err := k.aead.Decrypt(wrapped[1:], b.AppendBytes(nil))
	if !bytes.Equal(key, second) {
		return nil, fmt.Errorf("Tink and the second reader differ: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kek.ErrCorrupt, err)
	}
	return key, nil
}

// keks are the keysets of the vectors by URI.
func keks(t *testing.T) map[string]*tinkKEK {
	t.Helper()
	m := map[string]*tinkKEK{}
	for _, s := range read[vectors.Keyset](t, vectors.KeysetFile) {
		h, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(s.Keyset)))
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		a, err := aead.New(h)
		if err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		if h.KeysetInfo().GetPrimaryKeyId() != s.Primary || len(h.KeysetInfo().GetKeyInfo()) != len(s.Keys) {
			t.Errorf("%s: the keyset isn't the one beside it", s.Name)
		}
		m[s.URI] = &tinkKEK{s, a}
	}
	return m
}

func bindingOf(v vectors.Key) kek.Binding {
	return kek.Binding{
		KeyID: keyctx.KeyID(v.KeyID), ContextHash: keyctx.Hash(v.ContextHash),
		Purpose: keyctx.Purpose(v.Purpose), Version: v.Version, Context: v.Context,
	}
}

func TestBindings(t *testing.T) {
	byURI := keks(t)
	for _, v := range read[vectors.Binding](t, vectors.BindingFile) {
		t.Run(v.Name, func(t *testing.T) {
			newKey(t, v.Key)
			b := bindingOf(v.Key)
			if got := b.AppendBytes([]byte("x")); !bytes.Equal(got[1:], v.Binding) {
				t.Errorf("binding: got %x, want %x", got[1:], v.Binding)
			}
			w := byURI[v.URI]
			key, err := w.Unwrap(t.Context(), v.Wrapped, b)
			if v.Result == vectors.Valid {
				if err != nil || !bytes.Equal(key, v.Unwrapped) {
					t.Errorf("got %x, %v", key, err)
				}
			} else if v.Result != vectors.Corrupt || !errors.Is(err, kek.ErrCorrupt) {
				t.Errorf("got %x, %v, want %q", key, err, v.Result)
			}
		})
	}
}

// What Tink wraps the second reader unwraps.
func TestWrapAgain(t *testing.T) {
	v := read[vectors.Binding](t, vectors.BindingFile)[0]
	for uri, w := range keks(t) {
		wrapped, err := w.Wrap(t.Context(), v.ContextKey, bindingOf(v.Key))
		if err != nil {
			t.Fatal(err)
		}
		if got := unwrapKeyset(w.keyset, wrapped, v.Binding); !bytes.Equal(got, v.ContextKey) {
			t.Errorf("%s: got %x", uri, got)
		}
	}
}

// unwrapAll is the way from wrappings to a key: policy, KEKs, lengths, shares,
// ID. Package keyring has its own; this one has no cache, no retries, no store.
func unwrapAll(t *testing.T, byURI map[string]*tinkKEK, choice kek.Choice, q keyctx.Quorum, ws []keyctx.Wrapping, b kek.Binding) ([]byte, error) {
	t.Helper()
	members, err := choice.Match(q, ws)
	if err != nil {
		return nil, err
	}
	sum := make([]byte, envelope.KeySize)
	for i, m := range members {
		part, err := byURI[m.URI()].Unwrap(t.Context(), ws[i].Wrapped, b)
		if err == nil && len(part) != envelope.KeySize {
			err = kek.ErrCorrupt
		}
		if q == keyctx.AnyOf {
			if err == nil && isKey(part, b) {
				return part, nil
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		subtle.XORBytes(sum, sum, part)
	}
	if q == keyctx.AnyOf || !isKey(sum, b) {
		return nil, kek.ErrCorrupt
	}
	return sum, nil
}

func isKey(secret []byte, b kek.Binding) bool {
	k, err := envelope.NewKey(secret, b.ContextHash, b.Purpose, b.Version)
	return err == nil && k.ID().Equal(b.KeyID)
}

func choiceOf(byURI map[string]*tinkKEK, c vectors.Choice) kek.Choice {
	choice := kek.Choice{Quorum: keyctx.Quorum(c.Quorum)}
	for _, uri := range c.URIs {
		choice.KEKs = append(choice.KEKs, byURI[uri])
	}
	return choice
}

func TestUnwraps(t *testing.T) {
	byURI := keks(t)
	for _, v := range read[vectors.Unwrap](t, vectors.UnwrapFile) {
		t.Run(v.Name, func(t *testing.T) {
			newKey(t, v.Key)
			choice := choiceOf(byURI, v.Choice)
			for _, p := range v.Previous {
				choice.Previous = append(choice.Previous, choiceOf(byURI, p))
			}
			choice, err := choice.Normalize(v.Context)
			if err != nil {
				t.Fatal(err)
			}
			b := bindingOf(v.Key)
			var ws []keyctx.Wrapping
			for i, w := range v.Wrappings {
				ws = append(ws, keyctx.Wrapping{URI: w.URI, Wrapped: w.Wrapped})
				if k := byURI[w.URI]; k != nil {
					if part, _ := k.Unwrap(t.Context(), w.Wrapped, b); !bytes.Equal(part, v.Unwrapped[i]) {
						t.Errorf("wrapping %d: unwraps to %x", i, part)
					}
				}
			}
			key, err := unwrapAll(t, byURI, choice, keyctx.Quorum(v.Quorum), ws, b)
			got := vectors.Valid
			switch {
			case errors.Is(err, kek.ErrPolicy):
				got = vectors.Policy
			case errors.Is(err, kek.ErrCorrupt):
				got = vectors.Corrupt
			case err != nil:
				t.Fatal(err)
			}
			if got != v.Result || err == nil && !bytes.Equal(key, v.ContextKey) {
				t.Errorf("got %x, %v, want %q", key, err, v.Result)
			}
		})
	}
}

// The blocks of self-contained envelopes whose KEKs are keysets of the vectors
// really hold the context key.
func TestEnvelopeBlocks(t *testing.T) {
	byURI := keks(t)
	genuine := 0
	for _, v := range read[vectors.Envelope](t, vectors.EnvelopeFile) {
		e, err := envelope.Parse(v.Envelope)
		if err != nil || e.Block == nil || v.Result != vectors.Valid {
			continue
		}
		block, err := envelope.ParseBlock(e.Block)
		if err != nil {
			t.Fatal(err)
		}
		c := vectors.Choice{Quorum: uint8(block.Quorum)}
		for _, w := range block.Wrappings {
			c.URIs = append(c.URIs, w.URI)
		}
		if slices.ContainsFunc(c.URIs, func(uri string) bool { return byURI[uri] == nil }) {
			continue
		}
		genuine++
		if block.Version != v.Version {
			t.Errorf("%s: the block has version %d", v.Name, block.Version)
		}
		key, err := unwrapAll(t, byURI, choiceOf(byURI, c), block.Quorum, block.Wrappings, bindingOf(v.Key))
		if err != nil || !bytes.Equal(key, v.ContextKey) {
			t.Errorf("%s: got %x, %v", v.Name, key, err)
		}
	}
	if genuine < 15 {
		t.Errorf("%d envelopes with real wrappings", genuine)
	}
}
