package hashivault_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/hashicorp/vault/api"
)

func TestURI(t *testing.T) {
	srv := hashivaulttest.New(t)
	for _, c := range []struct {
		namespace, mount, name, host, want string
	}{
		{"", "", "root", "vault.example.com", "hashivault://vault.example.com/transit/keys/root"},
		{"", "transit", "root", "vault.example.com:8200", "hashivault://vault.example.com:8200/transit/keys/root"},
		{"", "teams/a/transit", "Root_1.b-c", "10.0.0.7:8200", "hashivault://10.0.0.7:8200/teams/a/transit/keys/Root_1.b-c"},
		{"admin", "transit", "root", "[::1]:8200", "hashivault://[::1]:8200/ns=admin/transit/keys/root"},
		{"admin/team-a", "kms/transit", "root", "vault", "hashivault://vault/ns=admin/ns=team-a/kms/transit/keys/root"},
		// What could be taken for one another, and isn't.
		{"", "admin/transit", "root", "vault", "hashivault://vault/admin/transit/keys/root"},
		{"admin", "transit", "keys", "vault", "hashivault://vault/ns=admin/transit/keys/keys"},
		{"", "admin/transit/keys", "keys", "vault", "hashivault://vault/admin/transit/keys/keys/keys"},
		{"", "", "root2", "", "hashivault://" + strings.TrimPrefix(srv.URL(), "http://") + "/transit/keys/root2"},
	} {
		mount := c.mount
		if mount == "" {
			mount = "transit"
		}
		srv.Mount(c.namespace, mount)
		if k := (hashivaulttest.KeyOptions{Namespace: c.namespace, Mount: mount, Derived: true}); c.host != "vault.example.com:8200" {
			srv.CreateKey(c.name, k)
		}
		client := srv.Client(srv.RootToken())
		if c.namespace != "" {
			client.SetNamespace(c.namespace)
		}
		k := open(t, client, c.name, hashivault.Options{Mount: c.mount, Host: c.host})
		if got := k.URI(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// The client's address names the host in lower case; its scheme and its userinfo
// are not part of the URI.
func TestURIOfAddress(t *testing.T) {
	srv := hashivaulttest.New(t)
	srv.CreateKey("root", hashivaulttest.KeyOptions{Derived: true})
	port := srv.URL()[strings.LastIndex(srv.URL(), ":"):]
	client := srv.Client(srv.RootToken())
	if err := client.SetAddress("http://user:secret@LocalHost" + port); err != nil {
		t.Fatal(err)
	}
	if got, want := open(t, client, "root", hashivault.Options{}).URI(), "hashivault://localhost"+port+"/transit/keys/root"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Addresses whose host doesn't say which Vault it is: a gateway before several,
// told apart by the path, and sockets. Two keys would have one URI.
func TestHostIsRequired(t *testing.T) {
	srv := hashivaulttest.New(t)
	srv.CreateKey("root", hashivaulttest.KeyOptions{Derived: true})
	to, err := url.Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	gateway := httptest.NewServer(http.StripPrefix("/eu", proxy))
	defer gateway.Close()
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	agent := &http.Server{Handler: proxy}
	go func() { _ = agent.Serve(ln) }()
	defer agent.Close()
	for _, address := range []string{gateway.URL + "/eu", gateway.URL + "/eu/", "unix://" + socket} {
		config := api.DefaultConfig()
		config.Address, config.MaxRetries = address, 0
		client, err := api.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		client.SetToken(srv.RootToken())
		if _, err := hashivault.New(t.Context(), client, "root", hashivault.Options{}); !errors.Is(err, hashivault.ErrOptions) {
			t.Errorf("%s: got %v", address, err)
		}
		k := open(t, client, "root", hashivault.Options{Host: "eu.vault.example.com"})
		if got, want := k.URI(), "hashivault://eu.vault.example.com/transit/keys/root"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	client := srv.Client(srv.RootToken())
	if err := client.SetAddress(srv.URL() + "/"); err != nil {
		t.Fatal(err)
	}
	open(t, client, "root", hashivault.Options{})
}

// Names that would lead elsewhere, or to the same place by another name, are
// refused before anything is sent.
func TestNamesAreRefused(t *testing.T) {
	srv := hashivaulttest.New(t)
	srv.CreateKey("root", hashivaulttest.KeyOptions{Derived: true})
	long := strings.Repeat("a", 600)
	for _, name := range []string{
		"", ".", "..", "...", "a..b", "../root", "root/", "/root", "root/../root", "a/b", "a//b", "root ", " root", "root\n",
		"root\x00", "%2f", "..%2froot", "root%2F", "root?x", "root#x", "root;x", "root@host", "user:pw@root", "http://other/root",
		"//other/root", "\\root", "róot", "rооt", "root\u200b", "ＲＯＯＴ", "-root", "root-", ".root", "root.", "ns=a", "a=b", "*", "+", "{{x}}", long,
	} {
		for what, f := range map[string]func() (*hashivault.KEK, error){
			"key": func() (*hashivault.KEK, error) {
				return hashivault.New(t.Context(), srv.Client(srv.RootToken()), name, hashivault.Options{})
			},
			"mount": func() (*hashivault.KEK, error) {
				mount := name
				if name == "" || name == "a/b" { // which are good
					mount = "a/"
				}
				return hashivault.New(t.Context(), srv.Client(srv.RootToken()), "root", hashivault.Options{Mount: mount})
			},
			"namespace": func() (*hashivault.KEK, error) {
				namespace := name
				if name == "" || name == "a/b" { // which are good
					namespace = "root"
				}
				client := srv.Client(srv.RootToken())
				client.SetNamespace(namespace)
				return hashivault.New(t.Context(), client, "root", hashivault.Options{})
			},
		} {
			if k, err := f(); !errors.Is(err, hashivault.ErrOptions) || k != nil || len(err.Error()) > 1024 {
				t.Errorf("%s %.100q: got %v, %v", what, name, k, err)
			}
		}
	}
	for _, host := range []string{
		"Vault", "vault/", "vault/x", "user@vault", "user:pw@vault", "vault:", "vault:x", "vault:123456", "va ult", "vault..com", "-vault", "vault-",
		"::1", "[::1", "[::1]x", "[fe80::1%25eth0]", "http://vault", "vault?x", "vault#x", "vaul%74", "vаult", "\n", long,
	} {
		_, err := hashivault.New(t.Context(), srv.Client(srv.RootToken()), "root", hashivault.Options{Host: host})
		if !errors.Is(err, hashivault.ErrOptions) {
			t.Errorf("host %.100q: got %v", host, err)
		}
	}
	if _, err := hashivault.New(t.Context(), nil, "root", hashivault.Options{}); !errors.Is(err, hashivault.ErrOptions) {
		t.Errorf("nil client: got %v", err)
	}
	if n := srv.Calls(""); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

// A key of the same name in another case, mount or namespace is another key.
func TestNeighbours(t *testing.T) {
	srv := hashivaulttest.New(t)
	srv.Mount("", "Transit")
	srv.Mount("a", "transit")
	b := binding("org")
	var all []kek.Wrapper
	for _, c := range []struct{ namespace, mount, name string }{
		{"", "transit", "root"}, {"", "transit", "Root"}, {"", "Transit", "root"}, {"a", "transit", "root"},
	} {
		srv.CreateKey(c.name, hashivaulttest.KeyOptions{Namespace: c.namespace, Mount: c.mount})
		client := srv.Client(srv.RootToken())
		if c.namespace != "" {
			client.SetNamespace(c.namespace)
		}
		all = append(all, open(t, client, c.name, hashivault.Options{Mount: c.mount}))
	}
	all = append(all, memkek.New("x"))
	for i, w := range all {
		for j, other := range all[:len(all)-1] {
			if i == j {
				continue
			}
			if w.URI() == other.URI() {
				t.Errorf("two keys have the URI %q", w.URI())
			}
			_, err := other.Unwrap(t.Context(), mustWrap(t, w, newKey(), b), b)
			wantClass(t, "Unwrap of a neighbour's", err, kek.ErrCorrupt)
		}
	}
}

// What the URI says of the host is a name: another one, or another way to reach
// the server, changes nothing about what was wrapped.
func TestHostChangesNothingWrapped(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		b := binding("org")
		wrapped := mustWrap(t, f.kek, newKey(), b)
		other := open(t, f.client, "root", hashivault.Options{Host: "another.example.com"})
		if _, err := other.Unwrap(t.Context(), wrapped, b); err != nil {
			t.Error(err)
		}
		if f.kek.URI() == other.URI() {
			t.Error("the option has no effect")
		}
	})
}
