package azurekv

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
)

// scheme is that of the URIs of this package's KEKs.
const scheme = "azure-kv://"

// suffixes are the DNS suffixes of Key Vault and Managed HSM in the Azure clouds:
// https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#dns-suffixes-for-object-identifiers
var suffixes = []string{
	"vault.azure.net", "managedhsm.azure.net",
	"vault.azure.cn", "managedhsm.azure.cn",
	"vault.usgovcloudapi.net", "managedhsm.usgovcloudapi.net",
}

const (
	versionLen = 16  // bytes
	maxNameLen = 127 // of a key: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules#microsoftkeyvault
)

// keyID is a key without its version. Both fields come from the caller's
// configuration and were checked; neither is ever taken from data.
type keyID struct {
	host, name string
}

func (id keyID) String() string { return "https://" + id.host + "/keys/" + id.name }

// uri returns the KEK's URI.
func (id keyID) uri() string { return scheme + id.host + "/keys/" + id.name }

// versionID is a key and one of its versions, 32 lower-case hexadecimal digits,
// or none.
type versionID struct {
	keyID
	version string
}

func (id versionID) String() string { return id.keyID.String() + "/" + id.version }

// parseKey parses a key's identifier, with or without a version. It takes one
// spelling of each and refuses all others, as Key Vault's identifiers are
// case-insensitive and a KEK must have one URI.
func parseKey(s, suffix string) (versionID, error) {
	rest, ok := strings.CutPrefix(s, "https://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 3 || len(parts) > 4 || parts[1] != "keys" {
		return versionID{}, fmt.Errorf("%.200q is not https://<vault>/keys/<name>, in lower case", s)
	}
	id := versionID{keyID: keyID{parts[0], parts[2]}}
	if !validHost(id.host, suffix) {
		return versionID{}, fmt.Errorf("%.200q is not a vault's host name, in lower case; for other clouds see Options.HostSuffix", id.host)
	}
	if !validName(id.name) {
		return versionID{}, fmt.Errorf("the key's name %.200q is not 1 to %d bytes of a-z 0-9 - (names are case-insensitive: write it in lower case)", id.name, maxNameLen)
	}
	if len(parts) == 4 {
		if id.version = parts[3]; !validVersion(id.version) {
			return versionID{}, fmt.Errorf("the key's version %.200q is not 32 lower-case hexadecimal digits", id.version)
		}
	}
	return id, nil
}

// validHost reports whether host is one label before the suffix, or before one
// of Azure's if that is "". So no port, no user, no address, no trailing dot.
func validHost(host, suffix string) bool {
	allowed := suffixes
	if suffix != "" {
		allowed = []string{suffix}
	}
	for _, s := range allowed {
		if label, ok := strings.CutSuffix(host, "."+s); ok {
			return validLabel(label)
		}
	}
	return false
}

func validLabel(l string) bool {
	return len(l) <= 63 && validName(l) && l[0] != '-' && l[len(l)-1] != '-'
}

func validName(name string) bool {
	if len(name) == 0 || len(name) > maxNameLen {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func validVersion(v string) bool {
	b, err := hex.DecodeString(v)
	return err == nil && len(b) == versionLen && hex.EncodeToString(b) == v
}

var (
	errNoKID      = errors.New("the answer doesn't say which key it is of")
	errAnotherKey = errors.New("the answer is of another key")
)

// versionOf returns the version in a kid of Key Vault's, which must be a kid of
// this key. It compares; it follows nothing. An answer without one is as if
// there were no answer.
func (id keyID) versionOf(kid *azkeys.ID) (string, error) {
	if kid == nil || *kid == "" {
		return "", fail(kek.ErrUnavailable, errNoKID)
	}
	s, prefix := string(*kid), id.String()+"/"
	if len(s) != len(prefix)+2*versionLen || !strings.EqualFold(s[:len(prefix)], prefix) || !validVersion(s[len(prefix):]) {
		return "", fail(kek.ErrCorrupt, errAnotherKey)
	}
	return s[len(prefix):], nil
}

// match checks that a kid is this key and this version.
func (id versionID) match(kid *azkeys.ID) error {
	version, err := id.versionOf(kid)
	if err == nil && version != id.version {
		err = fail(kek.ErrCorrupt, errAnotherKey)
	}
	return err
}
