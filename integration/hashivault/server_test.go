package hashivault_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/audit/file"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// server is HashiCorp Vault 1.13.1 in this process: its core on storage in
// memory, with its own HTTP handler on the loopback interface. Tokens, policies,
// mounts, quotas and sealing are the real ones.
type server struct {
	core  *vault.Core
	share []byte // what unseals it
	root  string
	url   string

	hang atomic.Bool // calls are not answered
	quit chan struct{}
}

// noPlugins is a registry of built-in plugins that has none.
type noPlugins struct{}

func (noPlugins) Contains(string, consts.PluginType) bool { return false }
func (noPlugins) Get(string, consts.PluginType) (func() (interface{}, error), bool) {
	return nil, false
}
func (noPlugins) Keys(consts.PluginType) []string { return nil }
func (noPlugins) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Unknown, false
}

// start starts a server, initialised and unsealed, with transit mounted.
func start(t testing.TB) *server {
	t.Helper()
	logger := hclog.NewNullLogger()
	storage, err := inmem.NewInmem(nil, logger)
	ok(t, err)
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:        storage,
		LogicalBackends: map[string]logical.Factory{"transit": transit.Factory, "kv": vault.PassthroughBackendFactory},
		DisableMlock:    true,
		Logger:          logger,
		BuiltinRegistry: noPlugins{},
		AuditBackends:   map[string]audit.Factory{"file": file.Factory},
	})
	ok(t, err)
	one := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	initialised, err := core.Initialize(context.Background(), &vault.InitParams{BarrierConfig: one, RecoveryConfig: one, LegacyShamirSeal: true})
	ok(t, err)
	s := &server{core: core, share: initialised.SecretShares[0], root: initialised.RootToken, quit: make(chan struct{})}
	s.unseal(t)
	s.listen(t)
	ok(t, s.client(s.root).Sys().Mount("transit", &api.MountInput{Type: "transit"}))
	return s
}

func (s *server) listen(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: s.core})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.hang.Load() {
			handler.ServeHTTP(w, r)
			return
		}
		select {
		case <-r.Context().Done():
		case <-s.quit:
		}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	}()
	s.url = "http://" + ln.Addr().String()
	t.Cleanup(func() {
		close(s.quit)
		_ = srv.Close()
		<-done
		ok(t, s.core.Shutdown())
	})
}

func (s *server) unseal(t testing.TB) {
	t.Helper()
	// The core zeroes what it is given.
	unsealed, err := s.core.Unseal(append([]byte(nil), s.share...))
	ok(t, err)
	if !unsealed {
		t.Fatal("still sealed")
	}
}

// client returns a client that doesn't retry.
func (s *server) client(token string) *api.Client { return newClient(s.url, token) }

func newClient(url, token string) *api.Client {
	config := api.DefaultConfig()
	config.Address, config.MaxRetries = url, 0
	client, err := api.NewClient(config)
	if err != nil {
		panic(err)
	}
	client.ClearNamespace()
	client.SetToken(token)
	return client
}

// write makes a call that must succeed, as root.
func (s *server) write(t testing.TB, path string, data map[string]any) {
	t.Helper()
	_, err := s.client(s.root).Logical().WriteWithContext(t.Context(), path, data)
	ok(t, err)
}

func (s *server) remove(t testing.TB, path string) {
	t.Helper()
	_, err := s.client(s.root).Logical().DeleteWithContext(t.Context(), path)
	ok(t, err)
}

// policy writes a policy of lines "path capability,capability".
func (s *server) policy(t testing.TB, name string, lines ...string) {
	t.Helper()
	var b strings.Builder
	for _, line := range lines {
		path, capabilities, _ := strings.Cut(line, " ")
		fmt.Fprintf(&b, "path %q { capabilities = [\"%s\"] }\n", path, strings.ReplaceAll(capabilities, ",", `","`))
	}
	if b.Len() == 0 {
		b.WriteString(`path "nothing" { capabilities = ["deny"] }`)
	}
	ok(t, s.client(s.root).Sys().PutPolicyWithContext(t.Context(), name, b.String()))
}

// keyPolicy is the documented one.
func keyPolicy(mount, key string) []string {
	return []string{
		mount + "/keys/" + key + " read", mount + "/encrypt/" + key + " update",
		mount + "/decrypt/" + key + " update", mount + "/rewrap/" + key + " update",
	}
}

func (s *server) token(t testing.TB, ttl time.Duration, noDefault bool, policies ...string) string {
	t.Helper()
	secret, err := s.client(s.root).Auth().Token().CreateWithContext(t.Context(), &api.TokenCreateRequest{
		Policies: policies, TTL: ttl.String(), NoDefaultPolicy: noDefault,
	})
	ok(t, err)
	return secret.Auth.ClientToken
}

func (s *server) exists(t testing.TB, path string) bool {
	t.Helper()
	secret, err := s.client(s.root).Logical().ReadWithContext(t.Context(), path)
	ok(t, err)
	return secret != nil
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
