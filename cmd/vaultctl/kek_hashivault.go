package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/pflag"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
)

type hashiFlags struct {
	addresses []string
	tokens    []string
}

func (f *hashiFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.addresses, "hashivault-address", nil, "where the Vault is that URIs call HOST, `HOST=ADDRESS`; again for more. Default: VAULT_ADDR if that is its host")
	flags.StringArrayVar(&f.tokens, "hashivault-token-file", nil, "a file with the token for the Vault that URIs call HOST, `HOST=FILE`. Default: VAULT_TOKEN")
}

// hashiKey is what a hashivault:// URI says.
type hashiKey struct{ host, namespace, mount, name string }

func parseHashiURI(uri string) (hashiKey, error) {
	host, path, _ := strings.Cut(strings.TrimPrefix(uri, "hashivault://"), "/")
	k := hashiKey{host: host}
	var namespace, mount []string
	parts := strings.Split(path, "/")
	for len(parts) > 0 && strings.HasPrefix(parts[0], "ns=") {
		namespace = append(namespace, strings.TrimPrefix(parts[0], "ns="))
		parts = parts[1:]
	}
	if n := len(parts); host != "" && n >= 3 && parts[n-2] == "keys" {
		mount, k.name = parts[:n-2], parts[n-1]
	}
	k.namespace, k.mount = strings.Join(namespace, "/"), strings.Join(mount, "/")
	if k.name == "" || k.mount == "" {
		return k, usage("the KEK %q is not hashivault://HOST[/ns=NAMESPACE]…/MOUNT/keys/NAME", uri)
	}
	return k, nil
}

// hashiKEK opens a transit key. A token goes only to an address that the operator
// has named, never to one that comes of a URI.
func (a *app) hashiKEK(uri string) (func(context.Context) (kek.Wrapper, error), error) {
	k, err := parseHashiURI(uri)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (kek.Wrapper, error) {
		client, err := a.hashiClient(k.host)
		if err != nil {
			return nil, err
		}
		if client.ClearNamespace(); k.namespace != "" { // the environment's is not the URI's
			client.SetNamespace(k.namespace)
		}
		return hashivault.New(ctx, client, k.name, hashivault.Options{Mount: k.mount, Host: k.host})
	}, nil
}

func (a *app) hashiClient(host string) (*api.Client, error) {
	address, named := lookUp(a.flags.hashi.addresses, host)
	if !named {
		u, err := url.Parse(a.getenv("VAULT_ADDR"))
		if err != nil || u.Host != host {
			return nil, fmt.Errorf("VAULT_ADDR is not at %s: give --hashivault-address %s=ADDRESS", host, host)
		}
		address = u.String()
	}
	client, err := a.clouds.hashi(address)
	if err != nil {
		return nil, err
	}
	if file, ok := lookUp(a.flags.hashi.tokens, host); ok {
		token, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		client.SetToken(strings.TrimSpace(string(token)))
	}
	a.hide(client.Token())
	return client, nil
}

// lookUp finds NAME=VALUE among flags.
func lookUp(flags []string, name string) (value string, ok bool) {
	for _, f := range flags {
		if n, v, found := strings.Cut(f, "="); found && n == name {
			return v, true
		}
	}
	return "", false
}
