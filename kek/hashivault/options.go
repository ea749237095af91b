package hashivault

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/embedvault/vault/keyctx"
	"github.com/hashicorp/vault/api"
)

// ErrOptions is matched when [New] is given what can't be right: no client, a
// name outside the alphabet, an address that no URI can be made of. Nothing was
// asked of the server, and the error matches no class of package kek. The text
// names what is wrong.
var ErrOptions = errors.New("invalid options")

// Options are a KEK's options. The zero value is good where every process
// reaches Vault by the same address.
type Options struct {
	// Mount is the path that the transit secrets engine is mounted at, of one or
	// several elements: "transit" (the default), "teams/payments/transit". It is
	// part of the URI.
	Mount string

	// Host is what the URI says instead of the client's address: a host name in
	// lower case or an IP address, with or without a port. Set it where processes
	// reach the same Vault by different addresses (a load balancer, an agent on
	// localhost), to any name that stays: the URI is stored beside every key. It
	// is never connected to.
	//
	// It is required where the host of the address doesn't say which Vault it is:
	// a Unix socket, or an address with a path (one gateway before several).
	Host string
}

const (
	defaultMount = "transit"
	scheme       = "hashivault://"

	// namespaceMark stands before each element of a namespace in the URI. No
	// element has a "=", so a namespace can't be taken for a part of the mount.
	namespaceMark = "ns="
)

// element is an element of a path: Vault's own alphabet for the names of keys
// (framework.GenericNameRegex in its sdk), held to mounts and namespaces too.
// There is nothing in it that a URL, a proxy or a policy could read in two ways.
var element = regexp.MustCompile(`^[0-9A-Za-z_](?:[0-9A-Za-z_.-]*[0-9A-Za-z_])?$`)

// host is a host name or an IPv4 address, or an IPv6 address in brackets, and
// maybe a port.
var host = regexp.MustCompile(`^(?:[0-9a-z](?:[0-9a-z.-]*[0-9a-z])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$`)

// target is where a key is, all of it checked.
type target struct {
	host      string
	namespace string // "" or elements joined by "/"
	mount     string
	name      string
}

// newTarget checks everything that is needed to reach the key and to name it.
func newTarget(client *api.Client, key string, o Options) (target, error) {
	if client == nil {
		return target{}, fmt.Errorf("hashivault: %w: the client is nil", ErrOptions)
	}
	t := target{host: o.Host, namespace: client.Namespace(), mount: o.Mount, name: key}
	if t.mount == "" {
		t.mount = defaultMount
	}
	if t.host == "" {
		host, err := addressHost(client)
		if err != nil {
			return target{}, err
		}
		t.host = host
	}
	switch {
	case !validElement(key):
		return target{}, fmt.Errorf("hashivault: %w: the key's name %.100q %s", ErrOptions, key, alphabet)
	case !validPath(t.mount):
		return target{}, fmt.Errorf("hashivault: %w: Mount: an element of %.100q %s", ErrOptions, t.mount, alphabet)
	case t.namespace != "" && !validPath(t.namespace):
		return target{}, fmt.Errorf("hashivault: %w: the client's namespace: an element of %.100q %s", ErrOptions, t.namespace, alphabet)
	case t.namespace == "root":
		return target{}, fmt.Errorf("hashivault: %w: the client's namespace is \"root\": leave it empty, which is the same", ErrOptions)
	case !validHost(t.host):
		return target{}, fmt.Errorf("hashivault: %w: Host: %.100q is not a host name in lower case or an IP address, with or without a port", ErrOptions, t.host)
	case !keyctx.ValidURI(t.uri()):
		return target{}, fmt.Errorf("hashivault: %w: the URI has %d bytes, more than %d", ErrOptions, len(t.uri()), keyctx.MaxURILen)
	}
	return t, nil
}

const alphabet = `is not of A-Z a-z 0-9 _ . - without "..", starting and ending with a letter, a digit or _`

// addressHost returns the host of the client's address, if that alone says which
// Vault it is. It is lower case since host names are case-insensitive: that is no
// cleaning of what somebody wrote as a URI.
func addressHost(client *api.Client) (string, error) {
	// To the client the address of a socket is "http://localhost".
	if strings.HasPrefix(client.CloneConfig().Address, "unix://") {
		return "", fmt.Errorf("hashivault: %w: Host: it must be set, since the client's address is a Unix socket", ErrOptions)
	}
	u, err := url.Parse(client.Address())
	if err != nil { // which NewClient and SetAddress let nobody have
		return "", fmt.Errorf("hashivault: %w: the client's address is no URL", ErrOptions)
	}
	if strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("hashivault: %w: Host: it must be set, since the client's address has a path", ErrOptions)
	}
	return strings.ToLower(u.Host), nil
}

func validElement(s string) bool { return element.MatchString(s) && !strings.Contains(s, "..") }

func validHost(s string) bool { return host.MatchString(s) && !strings.Contains(s, "..") }

func validPath(s string) bool {
	for e := range strings.SplitSeq(s, "/") {
		if !validElement(e) {
			return false
		}
	}
	return true
}

// uri is the KEK's URI.
//
// SPEC: docs/SPEC.md, "HashiCorp Vault".
func (t target) uri() string {
	var b strings.Builder
	b.WriteString(scheme + t.host)
	if t.namespace != "" {
		for e := range strings.SplitSeq(t.namespace, "/") {
			b.WriteString("/" + namespaceMark + e)
		}
	}
	b.WriteString("/" + t.mount + "/keys/" + t.name)
	return b.String()
}

// path is the path of an operation on the key, below /v1/.
func (t target) path(op string) string { return t.mount + "/" + op + "/" + t.name }
