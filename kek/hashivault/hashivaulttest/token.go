package hashivaulttest

import (
	"crypto/rand"
	"slices"
	"strings"
	"time"
)

// Policy says what a token may do: capabilities ("create", "read", "update",
// "delete", "deny") for each path. A path that ends with "*" is a prefix. Paths
// begin with the namespace, if any.
type Policy map[string][]string

// KeyPolicy returns the least that the driver needs for a key: to read it, and
// to update, not to create, in encrypt, decrypt and rewrap.
func KeyPolicy(mount, key string) Policy {
	return Policy{
		mount + "/keys/" + key:    {"read"},
		mount + "/encrypt/" + key: {"update"},
		mount + "/decrypt/" + key: {"update"},
		mount + "/rewrap/" + key:  {"update"},
	}
}

// SetPolicy writes a policy. Tokens that have it feel it at once.
func (s *Server) SetPolicy(name string, p Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copied := Policy{}
	for path, capabilities := range p {
		copied[path] = slices.Clone(capabilities)
	}
	s.policies[name] = copied
}

// token is what the server knows of a token.
type token struct {
	root     bool
	policies []string
	expires  time.Time // zero: never
}

// CreateToken returns a token with the policies and with "default", which lets
// it look itself up. A ttl of 0 means that it doesn't expire.
func (s *Server) CreateToken(ttl time.Duration, policies ...string) string {
	return s.CreateTokenWithout(ttl, append([]string{"default"}, policies...)...)
}

// CreateTokenWithout is CreateToken without the policy "default".
func (s *Server) CreateTokenWithout(ttl time.Duration, policies ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := "hvs." + rand.Text()
	t := &token{policies: slices.Clone(policies)}
	if ttl > 0 {
		t.expires = time.Now().Add(ttl)
	}
	s.tokens[id] = t
	return id
}

// RevokeToken makes the server forget a token, as when it expires.
func (s *Server) RevokeToken(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, id)
}

// lookup returns a valid token, or nil. s.mu is held.
func (s *Server) lookup(id string) *token {
	t := s.tokens[id]
	if t == nil || !t.expires.IsZero() && time.Now().After(t.expires) {
		return nil
	}
	return t
}

// may reports whether the token has the capability at the path. The longest path
// of all its policies that fits decides. s.mu is held.
func (s *Server) may(t *token, path, capability string) bool {
	if t.root {
		return true
	}
	best, allowed := -1, false
	for _, name := range t.policies {
		for pattern, capabilities := range s.policies[name] {
			prefix, isPrefix := strings.CutSuffix(pattern, "*")
			if pattern != path && !(isPrefix && strings.HasPrefix(path, prefix)) {
				continue
			}
			ok := slices.Contains(capabilities, capability) && !slices.Contains(capabilities, "deny")
			switch rank := 2 * len(prefix); {
			case !isPrefix && rank+1 > best:
				best, allowed = rank+1, ok
			case isPrefix && rank > best:
				best, allowed = rank, ok
			case rank == best || rank+1 == best:
				allowed = allowed || ok
			}
		}
	}
	return allowed
}
