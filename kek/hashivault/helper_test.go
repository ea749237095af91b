package hashivault_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
	"github.com/embedvault/vault/keyctx"
	"github.com/hashicorp/vault/api"
)

// fixture is a server with a key on it, and the KEK that the key is.
type fixture struct {
	srv    *hashivaulttest.Server
	key    *hashivaulttest.Key
	name   string
	client *api.Client
	policy hashivaulttest.Policy
	kek    *hashivault.KEK
}

// setUp returns a KEK whose token has the documented policy and no more.
func setUp(t testing.TB, o hashivaulttest.KeyOptions) *fixture {
	t.Helper()
	return setUpOn(t, hashivaulttest.New(t), "root", o)
}

func setUpOn(t testing.TB, srv *hashivaulttest.Server, name string, o hashivaulttest.KeyOptions) *fixture {
	t.Helper()
	f := &fixture{srv: srv, name: name, key: srv.CreateKey(name, o)}
	mount := o.Mount
	if mount == "" {
		mount = "transit"
	}
	path := mount
	if o.Namespace != "" {
		path = o.Namespace + "/" + mount
	}
	f.policy = hashivaulttest.KeyPolicy(path, name)
	f.policy[o.Namespace+"/auth/token/lookup-self"] = []string{"read"}
	srv.SetPolicy(name, f.policy)
	f.client = srv.Client(srv.CreateToken(time.Hour, name))
	if o.Namespace != "" {
		f.client.SetNamespace(o.Namespace)
	}
	f.kek = open(t, f.client, name, hashivault.Options{Mount: o.Mount})
	return f
}

func open(t testing.TB, client *api.Client, name string, o hashivault.Options) *hashivault.KEK {
	t.Helper()
	k, err := hashivault.New(t.Context(), client, name, o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return key
}

func binding(org string) kek.Binding {
	kc := keyctx.KeyContext{"organization_id": org}
	hash, err := kc.Hash()
	if err != nil {
		panic(err)
	}
	return kek.Binding{ContextHash: hash, Purpose: keyctx.PurposeData, Version: 1, Context: kc}
}

func mustWrap(t testing.TB, k kek.Wrapper, key []byte, b kek.Binding) []byte {
	t.Helper()
	wrapped, err := k.Wrap(t.Context(), key, b)
	if err != nil {
		t.Fatal(err)
	}
	return wrapped
}

// wantClass checks that err matches class and no other.
func wantClass(t testing.TB, what string, err, class error) {
	t.Helper()
	for _, c := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if errors.Is(err, c) != (c == class) {
			t.Errorf("%s: got error %.300v, want one that matches %v alone", what, err, class)
			return
		}
	}
}

// operations are calls of every method that asks the server.
func operations(k *hashivault.KEK, key, wrapped []byte, b kek.Binding) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Wrap":   func(ctx context.Context) error { _, err := k.Wrap(ctx, key, b); return err },
		"Unwrap": func(ctx context.Context) error { _, err := k.Unwrap(ctx, wrapped, b); return err },
		"Rewrap": func(ctx context.Context) error { _, err := k.Rewrap(ctx, wrapped, b); return err },
		"Check":  func(ctx context.Context) error { _, err := k.Check(ctx); return err },
		"UnwrapBatch": func(ctx context.Context) error {
			return k.UnwrapBatch(ctx, []kek.BatchItem{{Wrapped: wrapped, Binding: b}})[0].Err
		},
		"RewrapBatch": func(ctx context.Context) error {
			return k.RewrapBatch(ctx, []kek.BatchItem{{Wrapped: wrapped, Binding: b}})[0].Err
		},
	}
}

// bothModes runs a test with a derived key and with a plain one.
func bothModes(t *testing.T, test func(t *testing.T, o hashivaulttest.KeyOptions)) {
	for _, derived := range []bool{true, false} {
		t.Run(fmt.Sprintf("derived=%v", derived), func(t *testing.T) {
			test(t, hashivaulttest.KeyOptions{Derived: derived})
		})
	}
}
