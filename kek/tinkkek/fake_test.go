package tinkkek_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err error, want ...error) {
	t.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Fatalf("got error %v, want one that matches %q", err, w)
		}
	}
}

func newHandle(t testing.TB) *keyset.Handle {
	t.Helper()
	return must(keyset.NewHandle(aead.AES256CTRHMACSHA256KeyTemplate()))(t)
}

func newAEAD(t testing.TB) tink.AEAD {
	t.Helper()
	return must(aead.New(newHandle(t)))(t)
}

// secret is a context key, and binding what it is bound to.
func secret() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return key
}

func binding(t testing.TB) kek.Binding {
	t.Helper()
	kc := keyctx.KeyContext{"organization_id": "org_01"}
	return kek.Binding{
		KeyID: keyctx.KeyID{1}, ContextHash: must(kc.Hash())(t), Purpose: keyctx.PurposeData, Version: 1, Context: kc,
	}
}

func wrap(t testing.TB, w kek.Wrapper, key []byte) []byte {
	t.Helper()
	return must(w.Wrap(t.Context(), key, binding(t)))(t)
}

func wantOpens(t testing.TB, w kek.Wrapper, wrapped, key []byte) {
	t.Helper()
	if got := must(w.Unwrap(t.Context(), wrapped, binding(t)))(t); !bytes.Equal(got, key) {
		t.Fatal("it unwraps to another key")
	}
}

// codeError is an error with a code in a method, as AWS's SDK has them.
type codeError string

func (e codeError) Error() string     { return "the KMS says no" }
func (e codeError) ErrorCode() string { return string(e) }

// fakeKMS is a key in a KMS: a tink.AEAD with errors such as those have.
type fakeKMS struct {
	aead tink.AEAD

	mu    sync.Mutex // guards what follows
	err   error
	hang  chan struct{} // nil: it answers
	calls int
}

func newFakeKMS(t testing.TB) *fakeKMS { return &fakeKMS{aead: newAEAD(t)} }

// fail makes calls fail or hang until it is undone; those that hang go on then.
func (k *fakeKMS) fail(err error, hang bool) (undo func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
	if hang {
		k.hang = make(chan struct{})
	}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.hang != nil {
			close(k.hang)
		}
		k.err, k.hang = nil, nil
	}
}

func (k *fakeKMS) answer() error {
	k.mu.Lock()
	k.calls++
	err, hang := k.err, k.hang
	k.mu.Unlock()
	if hang != nil {
		<-hang
	}
	return err
}

func (k *fakeKMS) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.calls
}

func (k *fakeKMS) Encrypt(plaintext, ad []byte) ([]byte, error) {
	if err := k.answer(); err != nil {
		return nil, err
	}
	return k.aead.Encrypt(plaintext, ad)
}

func (k *fakeKMS) Decrypt(ciphertext, ad []byte) ([]byte, error) {
	if err := k.answer(); err != nil {
		return nil, err
	}
	plaintext, err := k.aead.Decrypt(ciphertext, ad)
	if err != nil {
		return nil, codeError("InvalidCiphertextException")
	}
	return plaintext, nil
}

type fakeKMSWithContext struct{ *fakeKMS }

func (k fakeKMSWithContext) EncryptWithContext(ctx context.Context, plaintext, ad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return k.Encrypt(plaintext, ad)
}

func (k fakeKMSWithContext) DecryptWithContext(ctx context.Context, ciphertext, ad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return k.Decrypt(ciphertext, ad)
}

// fakeClient is a registry.KMSClient with these keys.
type fakeClient map[string]*fakeKMS

func (c fakeClient) Supported(uri string) bool { return c[uri] != nil }

func (c fakeClient) GetAEAD(uri string) (tink.AEAD, error) { return c[uri], nil }
