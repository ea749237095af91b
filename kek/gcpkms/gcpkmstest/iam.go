package gcpkmstest

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

// The permissions of the methods there are.
// https://cloud.google.com/kms/docs/reference/permissions-and-roles
const (
	PermissionGet     = "cloudkms.cryptoKeys.get"
	PermissionEncrypt = "cloudkms.cryptoKeyVersions.useToEncrypt"
	PermissionDecrypt = "cloudkms.cryptoKeyVersions.useToDecrypt"
)

// Roles, as far as they hold permissions of the methods there are.
// https://cloud.google.com/iam/docs/roles-permissions/cloudkms
const (
	RoleEncrypterDecrypter = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
	RoleEncrypter          = "roles/cloudkms.cryptoKeyEncrypter"
	RoleDecrypter          = "roles/cloudkms.cryptoKeyDecrypter"
	RoleViewer             = "roles/cloudkms.viewer"
)

var permissionsOf = map[string][]string{
	RoleEncrypterDecrypter: {PermissionEncrypt, PermissionDecrypt},
	RoleEncrypter:          {PermissionEncrypt},
	RoleDecrypter:          {PermissionDecrypt},
	RoleViewer:             {PermissionGet},
}

// expand replaces roles by their permissions.
func expand(rolesAndPermissions []string) []string {
	var all []string
	for _, r := range rolesAndPermissions {
		if ps := permissionsOf[r]; ps != nil {
			all = append(all, ps...)
		} else {
			all = append(all, r)
		}
	}
	return all
}

// Grant lets a principal do something with the key: roles or permissions.
func (k *Key) Grant(principal string, rolesAndPermissions ...string) {
	k.change(func(c *cryptoKey) {
		granted := c.permissions(principal)
		for _, p := range expand(rolesAndPermissions) {
			granted[p] = true
		}
		c.grants[principal] = granted
	})
}

// Revoke takes back what was granted: roles or permissions, everything if none
// are given. It works on [Owner] too.
func (k *Key) Revoke(principal string, rolesAndPermissions ...string) {
	k.change(func(c *cryptoKey) {
		granted := c.permissions(principal)
		taken := expand(rolesAndPermissions)
		if len(taken) == 0 {
			taken = slices.Collect(maps.Keys(granted))
		}
		for _, p := range taken {
			delete(granted, p)
		}
		c.grants[principal] = granted
	})
}

// permissions returns a copy of what a principal may do with the key.
func (k *cryptoKey) permissions(principal string) map[string]bool {
	if granted, ok := k.grants[principal]; ok {
		return maps.Clone(granted)
	}
	if principal == Owner {
		return map[string]bool{PermissionGet: true, PermissionEncrypt: true, PermissionDecrypt: true}
	}
	return map[string]bool{}
}

// account is whom a token belongs to.
type account struct {
	principal string
	expired   bool
	deleted   bool
}

// token is credentials of gRPC: a bearer token.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

// RequireTransportSecurity: the connection is not encrypted.
func (token) RequireTransportSecurity() bool { return false }

// tokenOf issues a token.
func (s *Server) tokenOf(principal string) credentials.PerRPCCredentials {
	t := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[t] = &account{principal: principal}
	return token(t)
}

// ExpireCredentials lets the tokens of a principal's clients expire, until restore
// is called. Clients of the SDK's get new ones in time where they can.
func (s *Server) ExpireCredentials(principal string) (restore func()) {
	return s.changeAccounts(principal, func(a *account, on bool) { a.expired = on })
}

// DeleteAccount deletes, or disables, a principal's service account, until restore
// is called.
func (s *Server) DeleteAccount(principal string) (restore func()) {
	return s.changeAccounts(principal, func(a *account, on bool) { a.deleted = on })
}

func (s *Server) changeAccounts(principal string, set func(a *account, on bool)) (restore func()) {
	all := func(on bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, a := range s.accounts {
			if a.principal == principal {
				set(a, on)
			}
		}
	}
	all(true)
	return func() { all(false) }
}

// authenticate returns who makes the call.
func (s *Server) authenticate(ctx context.Context, method string) (principal string, err error) {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, value := range md.Get("authorization") {
		t, ok := strings.CutPrefix(value, "Bearer ")
		if !ok {
			continue
		}
		s.mu.Lock()
		var a account
		if known := s.accounts[t]; known != nil {
			a = *known
		}
		s.mu.Unlock()
		switch {
		case a.deleted:
			return a.principal, errAccountState(method, a.principal)
		case a.expired:
			return a.principal, errTokenExpired(method)
		case a.principal != "":
			return a.principal, nil
		}
	}
	return "", errCredentialsMissing(method)
}
