package hashivault_test

import (
	"fmt"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
	"github.com/embedvault/vault/kek/kektest"
)

// switchOff is a way to deny a key, or to make it unavailable.
type switchOff func(f *fixture) (restore func())

func noPolicy(f *fixture) func() {
	f.srv.SetPolicy(f.name, nil)
	return func() { f.srv.SetPolicy(f.name, f.policy) }
}

func deleted(f *fixture) func() { return f.key.Detach() }

func sealed(f *fixture) func() {
	f.srv.Seal()
	return f.srv.Unseal
}

func failing(fault hashivaulttest.Fault) switchOff {
	return func(f *fixture) func() {
		f.srv.Fail(fault)
		return func() { f.srv.Fail(hashivaulttest.None) }
	}
}

// expired takes the token away and gives the client another, as whoever renews
// tokens does.
func expired(f *fixture) func() {
	f.srv.RevokeToken(f.client.Token())
	return func() { f.client.SetToken(f.srv.CreateToken(0, f.name)) }
}

func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name        string
		options     hashivaulttest.KeyOptions
		version     hashivaulttest.Version
		deny        switchOff
		unavailable switchOff
	}{
		{"derived", hashivaulttest.KeyOptions{Derived: true}, hashivaulttest.V1_13, noPolicy, sealed},
		{"plain", hashivaulttest.KeyOptions{Type: "aes128-gcm96"}, hashivaulttest.Newest, deleted, expired},
		{"old server", hashivaulttest.KeyOptions{Derived: true, Type: "aes128-gcm96"}, hashivaulttest.V1_11, noPolicy, failing(hashivaulttest.Throttled)},
		{"namespace", hashivaulttest.KeyOptions{Derived: true, Namespace: "teams/a", Mount: "kms/transit"}, hashivaulttest.V1_13, deleted, expired},
	} {
		t.Run(c.name, func(t *testing.T) { runSuite(t, c.options, c.version, c.deny, c.unavailable) })
	}
}

func runSuite(t *testing.T, o hashivaulttest.KeyOptions, v hashivaulttest.Version, deny, unavailable switchOff) {
	srv := hashivaulttest.New(t)
	srv.Imitate(v)
	mount := o.Mount
	if mount == "" {
		mount = "transit"
	}
	srv.Mount(o.Namespace, mount)
	fixtures := map[kek.Wrapper]*fixture{}
	fresh := func(t testing.TB) kek.Wrapper {
		f := setUpOn(t, srv, fmt.Sprintf("key-%d", len(fixtures)), o)
		fixtures[f.kek] = f
		return f.kek
	}
	by := func(off switchOff) func(testing.TB, kek.Wrapper) func() {
		return func(_ testing.TB, w kek.Wrapper) func() { return off(fixtures[w]) }
	}
	kektest.Run(t, kektest.Harness{
		New:     fresh,
		Another: fresh,
		Peer: func(t testing.TB, w kek.Wrapper) kek.Wrapper {
			f := fixtures[w]
			client := srv.Client(f.client.Token())
			if o.Namespace != "" {
				client.SetNamespace(o.Namespace)
			}
			return open(t, client, f.name, hashivault.Options{Mount: o.Mount})
		},
		Rotate:      func(_ testing.TB, w kek.Wrapper) { fixtures[w].key.Rotate() },
		Deny:        by(deny),
		Unavailable: by(unavailable),
		Hang:        by(failing(hashivaulttest.Hang)),
	})
}
