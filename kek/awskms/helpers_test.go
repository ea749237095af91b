package awskms_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/keyctx"
)

func must[R any](r R, err error) func(testing.TB) R {
	return func(t testing.TB) R {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// open opens key by the default principal's client.
func open(t testing.TB, srv *awskmstest.Server, key *awskmstest.Key, o awskms.Options) *awskms.KEK {
	t.Helper()
	return must(awskms.New(t.Context(), srv.Client(key.Region()), key.ARN(), o))(t)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// bindingOf returns a binding for kc with a random key ID.
func bindingOf(t testing.TB, kc keyctx.KeyContext) kek.Binding {
	t.Helper()
	b := kek.Binding{ContextHash: must(kc.Hash())(t), Purpose: keyctx.PurposeData, Version: 1, Context: kc}
	copy(b.KeyID[:], random(32))
	return b
}

var orgA = keyctx.KeyContext{"organization_id": "org_alpha_01"}

func wrap(t testing.TB, k *awskms.KEK, key []byte, b kek.Binding) []byte {
	t.Helper()
	return must(k.Wrap(t.Context(), key, b))(t)
}

func wantOpens(t testing.TB, k *awskms.KEK, wrapped []byte, b kek.Binding, want []byte) {
	t.Helper()
	if got := must(k.Unwrap(t.Context(), wrapped, b))(t); string(got) != string(want) {
		t.Fatal("it unwraps to another key")
	}
}

// wantClass checks that err matches the class and no other, and that its text is
// short.
func wantClass(t testing.TB, err, class error) {
	t.Helper()
	for _, c := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if errors.Is(err, c) != (c == class) {
			t.Errorf("got %.400q, want one that matches %q only", fmt.Sprint(err), class)
			return
		}
	}
	if text := fmt.Sprintf("%v %+v", err, err); len(text) > 8<<10 || strings.ContainsAny(text, "\n\r\x00") {
		t.Errorf("the error's text has %d bytes, or control characters", len(text))
	}
}
