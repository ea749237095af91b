package gcpkms_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"github.com/embedvault/vault/keyctx"
	"google.golang.org/api/option"
)

const (
	ring    = "projects/my-project/locations/us-central1/keyRings/my-ring/cryptoKeys/"
	keyName = ring + "my-key"
	app     = "app@my-project.iam.gserviceaccount.com"
)

var classes = []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// fixture is a server with one key, and the KEK that it is.
type fixture struct {
	srv *gcpkmstest.Server
	key *gcpkmstest.Key
	kek *gcpkms.KEK
}

// newFixture's client doesn't repeat calls.
func newFixture(t testing.TB) fixture {
	t.Helper()
	srv := gcpkmstest.New(t)
	key := srv.CreateKey(keyName)
	return fixture{srv, key, open(t, once(must(srv.ClientAs(gcpkmstest.Owner))(t)), keyName)}
}

// once makes a client that makes every call once, without a time limit of its
// own. The SDK's REST client keeps the pointer, so what it leads to is changed.
func once(c *kms.KeyManagementClient) *kms.KeyManagementClient {
	*c.CallOptions = kms.KeyManagementCallOptions{}
	return c
}

// minimal returns a client with the one role that is needed.
func minimal(t testing.TB, srv *gcpkmstest.Server, key *gcpkmstest.Key, opts ...option.ClientOption) *kms.KeyManagementClient {
	t.Helper()
	key.Grant(app, gcpkmstest.RoleEncrypterDecrypter)
	return must(srv.ClientAs(app, opts...))(t)
}

func open(t testing.TB, client *kms.KeyManagementClient, name string) *gcpkms.KEK {
	t.Helper()
	return must(gcpkms.New(t.Context(), client, name, gcpkms.Options{}))(t)
}

// secret returns a key that is easy to find in a text, in no encoding shorter
// than itself.
func secret() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return b
}

func bindingOf(t testing.TB) kek.Binding {
	t.Helper()
	kc := keyctx.KeyContext{"organization_id": "org_secret_name", "region": "eu"}
	b := kek.Binding{ContextHash: must(kc.Hash())(t), Purpose: keyctx.PurposeData, Version: 1, Context: kc}
	_, _ = rand.Read(b.KeyID[:])
	return b
}

func wrap(t testing.TB, k *gcpkms.KEK, key []byte, b kek.Binding) []byte {
	t.Helper()
	return must(k.Wrap(t.Context(), key, b))(t)
}

func wantOpens(t testing.TB, k *gcpkms.KEK, wrapped []byte, b kek.Binding, want []byte) {
	t.Helper()
	got, err := k.Unwrap(t.Context(), wrapped, b)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("unwrapped %d bytes, error %v; want the key", len(got), err)
	}
}

// wantClass checks that err matches the class, no other, and has a short text of
// plain ASCII and our ellipsis.
func wantClass(t testing.TB, err, want error) {
	t.Helper()
	for _, class := range classes {
		if is := errors.Is(err, class); is != (class == want) {
			t.Errorf("error %q matches %v: %v", err, class, is)
		}
	}
	if err == nil {
		return
	}
	text := err.Error()
	if len(text) > 2<<10 || strings.ContainsFunc(text, func(r rune) bool { return r != '…' && (r < ' ' || r > '~') }) {
		t.Errorf("an error's text of %d bytes: %.600q", len(text), text)
	}
}

// each calls every method that asks Cloud KMS for something with wrapped.
func each(ctx context.Context, k *gcpkms.KEK, wrapped []byte, b kek.Binding) map[string]error {
	_, wrapErr := k.Wrap(ctx, make([]byte, 32), b)
	_, unwrapErr := k.Unwrap(ctx, wrapped, b)
	_, rewrapErr := k.Rewrap(ctx, wrapped, b)
	return map[string]error{"Wrap": wrapErr, "Unwrap": unwrapErr, "Rewrap": rewrapErr}
}
