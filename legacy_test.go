package vault_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

var errLegacy = errors.New("the old scheme refuses")

// legacy is an older scheme: "old:" and the text backwards, for one context and
// one aad. It changes the map that it is given, which must be its own.
type legacy struct {
	calls int
	panic bool
	empty bool
}

func (l *legacy) open(_ context.Context, kc vault.KeyContext, data, aad []byte) ([]byte, error) {
	l.calls++
	if l.panic {
		panic("told to")
	}
	if l.empty {
		return nil, nil
	}
	org := kc["organization_id"]
	clear(kc)
	text, ok := bytes.CutPrefix(data, []byte("old:"))
	if !ok || org != "org_01" || string(aad) != "aad" {
		return nil, errLegacy
	}
	out := bytes.Clone(text)
	for i, b := range text {
		out[len(text)-1-i] = b
	}
	return out, nil
}

func TestLegacy(t *testing.T) {
	l := new(legacy)
	v := vaulttest.New(t, func(c *vault.Config) { c.Legacy = l.open })
	ctx, aad := t.Context(), []byte("aad")
	kc := maps.Clone(orgA)
	for name, read := range map[string]func(kc vault.KeyContext, data string, aad []byte) (string, error){
		"Decrypt": func(kc vault.KeyContext, d string, aad []byte) (string, error) {
			b, err := v.Decrypt(ctx, kc, []byte(d), aad)
			return string(b), err
		},
		"DecryptString": func(kc vault.KeyContext, d string, aad []byte) (string, error) {
			return v.DecryptString(ctx, kc, d, aad)
		},
		"AppendDecrypt": func(kc vault.KeyContext, d string, aad []byte) (string, error) {
			b, err := v.AppendDecrypt(ctx, kc, []byte("head"), []byte(d), aad)
			return string(bytes.TrimPrefix(b, []byte("head"))), err
		},
		"Scope": func(kc vault.KeyContext, d string, aad []byte) (string, error) {
			b, err := v.Scope(kc).Decrypt(ctx, []byte(d), aad)
			return string(b), err
		},
	} {
		if got, err := read(kc, "old:terces", aad); err != nil || got != "secret" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if got, err := read(kc, "old:terces", nil); !errors.Is(err, errLegacy) || got != "" {
			t.Errorf("%s with other aad: %q, %v", name, got, err)
		}
		if got, err := read(orgB, "old:terces", aad); !errors.Is(err, errLegacy) || got != "" {
			t.Errorf("%s in another context: %q, %v", name, got, err)
		}
		if _, err := read(nil, "old:terces", aad); !errors.Is(err, vault.ErrInvalidContext) {
			t.Errorf("%s: %v", name, err)
		}
		if !maps.Equal(kc, orgA) {
			t.Fatal("Legacy was given the caller's map")
		}
	}
	if l.calls != 12 || v.Stats().LegacyDecrypts != 12 {
		t.Errorf("%d calls, %d counted", l.calls, v.Stats().LegacyDecrypts)
	}
	if v.KEK.Calls() != 0 || v.Store.Calls("") != 0 {
		t.Error("the KEK or the store was asked")
	}
}

// What begins as an envelope is never given to Legacy, nor what is for another
// API.
func TestLegacySeesNoEnvelopes(t *testing.T) {
	l := &legacy{empty: true} // it accepts everything
	v := vaulttest.New(t, func(c *vault.Config) { c.Legacy = l.open })
	ctx := t.Context()
	s := sampleOf(t, v.Vault, orgA)
	if string(must(v.Decrypt(ctx, orgA, s.message, nil))(t)) != "x" || must(v.DecryptString(ctx, orgA, s.text, nil))(t) != "x" {
		t.Fatal("an envelope isn't read as one")
	}
	for i := range s.message { // cut, or with a flipped bit
		_, err := v.Decrypt(ctx, orgA, s.message[:i], nil)
		if err == nil {
			t.Fatalf("cut to %d bytes it opens", i)
		}
		if i > 0 {
			flipped := bytes.Clone(s.message)
			flipped[i] ^= 1
			if _, err := v.Decrypt(ctx, orgA, flipped, nil); err == nil {
				t.Fatalf("with byte %d flipped it opens", i)
			}
		}
	}
	for _, text := range []string{"", "vlt1.", s.text[:20], s.text + "\n"} {
		if _, err := v.DecryptString(ctx, orgA, text, nil); !errors.Is(err, vault.ErrMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, err := v.DecryptDataKey(ctx, orgA, []byte("old:terces"))
	wantClass(t, err, "ErrMalformed")
	_, err = v.RekeyDataKey(ctx, orgA, []byte("old:terces"), orgB)
	wantClass(t, err, "ErrMalformed")
	meta := must(v.Put(ctx, orgA, "x", nil))(t)
	edit(t, v.Store, meta, setEnvelope("old:terces"))
	_, err = v.Get(ctx, orgA, "x")
	wantClass(t, err, "ErrMalformed")
	if l.calls != 0 {
		t.Fatalf("Legacy was called %d times", l.calls)
	}
	// A first byte that was changed makes it something else, which is what the
	// field's comment warns of.
	other := bytes.Clone(s.message)
	other[0] = 0x01
	if got := must(v.Decrypt(ctx, orgA, other, nil))(t); got == nil || len(got) != 0 || l.calls != 1 {
		t.Fatalf("%v after %d calls", got, l.calls)
	}
	// A text in which 0xE1 comes first is no envelope either.
	must(v.DecryptString(ctx, orgA, "\xe1\x82\xa0 old", nil))(t)
	if l.calls != 2 {
		t.Fatalf("%d calls", l.calls)
	}
}

func TestLegacyFails(t *testing.T) {
	l := &legacy{panic: true}
	v := vaulttest.New(t, func(c *vault.Config) { c.Legacy = l.open })
	_, err := v.Decrypt(t.Context(), orgA, []byte("old:terces"), []byte("aad"))
	wantClass(t, err, "ErrDecrypt")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Decrypt(ctx, orgA, []byte("old:terces"), nil); !errors.Is(err, context.Canceled) || l.calls != 1 {
		t.Fatalf("%v after %d calls", err, l.calls)
	}
	_ = v.Close()
	_, err = v.Decrypt(t.Context(), orgA, []byte("old:terces"), nil)
	wantClass(t, err, "ErrClosed")
	if e := v.Events(vault.MessageDecrypted); len(e) != 3 || e[0].Err == nil || !e[0].KeyID.IsZero() {
		t.Fatalf("%+v", e)
	}
	// Without Legacy the same bytes are no envelope.
	_, err = vaulttest.New(t).Decrypt(t.Context(), orgA, []byte("old:terces"), nil)
	wantClass(t, err, "ErrMalformed")
}
