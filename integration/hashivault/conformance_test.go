package hashivault_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/kektest"
	"github.com/hashicorp/vault/api"
)

// opened is a KEK and what stands behind it.
type opened struct {
	*hashivault.KEK
	name   string
	client *api.Client
}

// TestConformance runs the suite against the real server, with a token that has
// the documented policy and no more.
func TestConformance(t *testing.T) {
	for _, c := range []struct {
		name, mount string
		properties  map[string]any
	}{
		{"derived", "transit", map[string]any{"derived": true}},
		{"plain", "transit", map[string]any{}},
		{"derived ChaCha20", "teams/kms", map[string]any{"derived": true, "type": "chacha20-poly1305"}},
		{"plain ChaCha20", "teams/kms", map[string]any{"type": "chacha20-poly1305"}},
		{"derived AES-128", "transit", map[string]any{"derived": true, "type": "aes128-gcm96"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			if c.mount != "transit" {
				ok(t, s.client(s.root).Sys().Mount(c.mount, &api.MountInput{Type: "transit"}))
			}
			runSuite(t, s, c.mount, c.properties)
		})
	}
}

func runSuite(t *testing.T, s *server, mount string, properties map[string]any) {
	keks := map[kek.Wrapper]*opened{}
	open := func(t testing.TB, name, token string) kek.Wrapper {
		client := s.client(token)
		k, err := hashivault.New(t.Context(), client, name, hashivault.Options{Mount: mount})
		ok(t, err)
		keks[k] = &opened{k, name, client}
		return k
	}
	fresh := func(t testing.TB) kek.Wrapper {
		name := fmt.Sprintf("key-%d", len(keks))
		s.write(t, mount+"/keys/"+name, properties)
		s.policy(t, name, keyPolicy(mount, name)...)
		return open(t, name, s.token(t, time.Hour, false, name))
	}
	kektest.Run(t, kektest.Harness{
		New:     fresh,
		Another: fresh,
		Peer: func(t testing.TB, w kek.Wrapper) kek.Wrapper {
			return open(t, keks[w].name, keks[w].client.Token())
		},
		Rotate: func(t testing.TB, w kek.Wrapper) { s.write(t, mount+"/keys/"+keks[w].name+"/rotate", nil) },
		Deny: func(t testing.TB, w kek.Wrapper) func() {
			name := keks[w].name
			s.policy(t, name)
			return func() { s.policy(t, name, keyPolicy(mount, name)...) }
		},
		Unavailable: func(t testing.TB, w kek.Wrapper) func() {
			ok(t, s.client(s.root).Sys().SealWithContext(t.Context()))
			return func() { s.unseal(t) }
		},
		Hang: func(testing.TB, kek.Wrapper) func() {
			s.hang.Store(true)
			return func() { s.hang.Store(false) }
		},
	})
}
