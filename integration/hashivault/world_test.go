package hashivault_test

import (
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
	"github.com/hashicorp/vault/api"
)

// world is what can be done to a server, the real one or ours.
type world interface {
	client(token string) *api.Client
	rootToken() string
	write(t testing.TB, path string, data map[string]any)
	remove(t testing.TB, path string)
	policy(t testing.TB, name string, lines ...string)
	token(t testing.TB, ttl time.Duration, noDefault bool, policies ...string) string
	revoke(t testing.TB, token string)
	mount(t testing.TB, path string)
	unmount(t testing.TB, path string)
	seal(t testing.TB)
	unseal(t testing.TB)
	throttle(t testing.TB)
}

// worlds returns both.
func worlds(t testing.TB) map[string]world {
	return map[string]world{"real": start(t), "ours": ours{hashivaulttest.New(t)}}
}

func (s *server) rootToken() string { return s.root }

func (s *server) revoke(t testing.TB, token string) {
	t.Helper()
	ok(t, s.client(s.root).Auth().Token().RevokeTreeWithContext(t.Context(), token))
}

func (s *server) mount(t testing.TB, path string) {
	t.Helper()
	ok(t, s.client(s.root).Sys().MountWithContext(t.Context(), path, &api.MountInput{Type: "transit"}))
}

func (s *server) unmount(t testing.TB, path string) {
	t.Helper()
	ok(t, s.client(s.root).Sys().UnmountWithContext(t.Context(), path))
}

func (s *server) seal(t testing.TB) {
	t.Helper()
	ok(t, s.client(s.root).Sys().SealWithContext(t.Context()))
}

// throttle lets one call to transit through in a long time, and makes that one.
func (s *server) throttle(t testing.TB) {
	t.Helper()
	s.write(t, "sys/quotas/rate-limit/slow", map[string]any{"path": "transit/", "rate": 0.001})
	_, _ = s.client(s.root).Logical().ReadWithContext(t.Context(), "transit/keys/root")
}

// ours is our server.
type ours struct{ *hashivaulttest.Server }

func (o ours) client(token string) *api.Client { return newClient(o.URL(), token) }
func (o ours) rootToken() string               { return o.RootToken() }

func (o ours) write(t testing.TB, path string, data map[string]any) {
	t.Helper()
	_, err := o.client(o.RootToken()).Logical().WriteWithContext(t.Context(), path, data)
	ok(t, err)
}

func (o ours) remove(t testing.TB, path string) {
	t.Helper()
	_, err := o.client(o.RootToken()).Logical().DeleteWithContext(t.Context(), path)
	ok(t, err)
}

func (o ours) policy(_ testing.TB, name string, lines ...string) {
	p := hashivaulttest.Policy{}
	for _, line := range lines {
		path, capabilities, _ := strings.Cut(line, " ")
		p[path] = strings.Split(capabilities, ",")
	}
	o.SetPolicy(name, p)
}

func (o ours) token(_ testing.TB, ttl time.Duration, noDefault bool, policies ...string) string {
	if noDefault {
		return o.CreateTokenWithout(ttl, policies...)
	}
	return o.CreateToken(ttl, policies...)
}

func (o ours) revoke(_ testing.TB, token string) { o.RevokeToken(token) }
func (o ours) mount(_ testing.TB, path string)   { o.Mount("", path) }
func (o ours) unmount(_ testing.TB, path string) { o.Unmount("", path) }
func (o ours) seal(testing.TB)                   { o.Seal() }
func (o ours) unseal(testing.TB)                 { o.Unseal() }
func (o ours) throttle(testing.TB)               { o.Throttle(100) }
