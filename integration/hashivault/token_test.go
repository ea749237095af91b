package hashivault_test

import (
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/hashicorp/vault/api"
)

// tokenCase is what becomes of a token, and the class of the driver's errors then.
type tokenCase struct {
	name   string
	happen func(t *testing.T, s *server, c *api.Client)
	class  error
}

var tokenCases = []tokenCase{
	{"batch token expired", func(t *testing.T, s *server, c *api.Client) {
		c.SetToken(s.tokenOf(t, &api.TokenCreateRequest{Policies: []string{"app"}, TTL: "1s", Type: "batch"}))
		time.Sleep(1500 * time.Millisecond)
	}, kek.ErrUnavailable},
	{"uses exhausted", func(t *testing.T, s *server, c *api.Client) {
		c.SetToken(s.tokenOf(t, &api.TokenCreateRequest{Policies: []string{"app"}, TTL: "1h", NumUses: 1}))
		_, err := c.Logical().ReadWithContext(t.Context(), "transit/keys/root")
		ok(t, err)
	}, kek.ErrUnavailable},
	{"of an older form", func(_ *testing.T, _ *server, c *api.Client) { c.SetToken("s.aaaaaaaaaaaaaaaaaaaaaaaa") }, kek.ErrUnavailable},
	{"no batch token", func(_ *testing.T, _ *server, c *api.Client) { c.SetToken("hvb.AAAAAQ") }, kek.ErrUnavailable},
	{"bound to other addresses", func(t *testing.T, s *server, c *api.Client) {
		s.write(t, "auth/token/roles/bound", map[string]any{"allowed_policies": "app", "token_bound_cidrs": "10.1.2.0/24", "orphan": true})
		c.SetToken(s.tokenOfRole(t, &api.TokenCreateRequest{Policies: []string{"app"}, TTL: "1h"}, "bound"))
	}, kek.ErrUnavailable},
	{"of an entity that was disabled", func(t *testing.T, s *server, c *api.Client) {
		c.SetToken(s.entityToken(t))
		_, err := c.Logical().ReadWithContext(t.Context(), "transit/keys/root")
		ok(t, err)
		s.write(t, "identity/entity/name/app", map[string]any{"disabled": true})
	}, kek.ErrUnavailable},

	// What 1.13 says in the first answer must do, if there is no second.
	{"revoked, and asking about it is throttled", func(t *testing.T, s *server, c *api.Client) {
		s.revoke(t, c.Token())
		s.throttleTokens(t)
	}, kek.ErrUnavailable},
	{"no permission, and asking about the token is throttled", func(t *testing.T, s *server, _ *api.Client) {
		s.policy(t, "app")
		s.throttleTokens(t)
	}, kek.ErrDenied},
}

// TestTokens plays every case on the real server.
func TestTokens(t *testing.T) {
	for _, c := range tokenCases {
		t.Run(c.name, func(t *testing.T) {
			s := start(t)
			k, client := newKEK(t, s, true)
			key, b := newKey(), binding("org")
			wrapped, err := k.Wrap(t.Context(), key, b)
			ok(t, err)
			c.happen(t, s, client)
			for op, call := range operations(k, key, wrapped, b) {
				wantClass(t, op, call(t.Context()), c.class)
			}
		})
	}
}

func (s *server) tokenOf(t testing.TB, r *api.TokenCreateRequest) string {
	t.Helper()
	secret, err := s.client(s.root).Auth().Token().CreateWithContext(t.Context(), r)
	ok(t, err)
	return secret.Auth.ClientToken
}

func (s *server) tokenOfRole(t testing.TB, r *api.TokenCreateRequest, role string) string {
	t.Helper()
	secret, err := s.client(s.root).Auth().Token().CreateWithRoleWithContext(t.Context(), r, role)
	ok(t, err)
	return secret.Auth.ClientToken
}

// entityToken returns a token of the identity entity "app".
func (s *server) entityToken(t testing.TB) string {
	t.Helper()
	root := s.client(s.root)
	mounts, err := root.Sys().ListAuthWithContext(t.Context())
	ok(t, err)
	s.write(t, "identity/entity/name/app", map[string]any{})
	entity, err := root.Logical().ReadWithContext(t.Context(), "identity/entity/name/app")
	ok(t, err)
	s.write(t, "identity/entity-alias", map[string]any{
		"name": "app", "canonical_id": entity.Data["id"], "mount_accessor": mounts["token/"].Accessor,
	})
	s.write(t, "auth/token/roles/entity", map[string]any{"allowed_policies": "app", "allowed_entity_aliases": "app"})
	return s.tokenOfRole(t, &api.TokenCreateRequest{Policies: []string{"app"}, TTL: "1h", EntityAlias: "app"}, "entity")
}

// throttleTokens lets one call about tokens through in a long time, and makes
// that one.
func (s *server) throttleTokens(t testing.TB) {
	t.Helper()
	s.write(t, "sys/quotas/rate-limit/tokens", map[string]any{"path": "auth/token/", "rate": 0.001})
	_, _ = s.client(s.root).Auth().Token().LookupSelfWithContext(t.Context())
}
