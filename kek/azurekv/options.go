package azurekv

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// ErrOptions is matched when what was given to [New] or [FetchVerifyingKey]
// can't be right: a malformed key identifier, options that contradict each other
// or the key. The text names the field. Nothing that a KMS does by itself
// matches it.
var ErrOptions = errors.New("invalid options")

// Options are the options of a KEK. The zero value is right for an oct-HSM key;
// an RSA key needs SigningKey and VerifyingKeys, or InsecureUnsigned. VerifyingKeys
// alone make a KEK of an RSA key that reads and is denied to wrap.
type Options struct {
	// SigningKey is the RSA key that signs what the wrapping key wraps, with its
	// version: "https://<vault>/keys/<name>/<version>". The version is
	// fixed, so that a new one signs nothing before its public key is pinned
	// wherever there are readers. For RSA keys.
	SigningKey string

	// SigningClient is the client of the signing key's vault. nil means the
	// wrapping key's client; then both keys must be in one vault.
	SigningClient *azkeys.Client

	// VerifyingKeys are the public keys whose signatures are taken. The signing
	// key's must be among them; those of earlier ones stay as long as anything
	// that they signed is to be read. Get them with [FetchVerifyingKey], once, and
	// keep them in your configuration: keys that were fetched at each start would
	// prove nothing. 2048, 3072 or 4096 bits. New copies them.
	VerifyingKeys []*rsa.PublicKey

	// InsecureUnsigned takes RSA wrappings without a signature, and makes them if
	// there is no SigningKey. What is lost: anyone who has the public key and
	// can write to the database can make wrapped keys that unwrap. (They would
	// still have to be named by a record's key ID, which commits to the key; but
	// whoever writes the record writes that too.) To move from unsigned to
	// signed, set SigningKey as well, rewrap everything, and take this away
	// again; a forged wrapping that is rewrapped in between gets a signature.
	InsecureUnsigned bool

	// HostSuffix is the DNS suffix of vaults in a cloud that this package doesn't
	// know, such as "vault.local.azurestack.external". A vault's host is one
	// label before it. "" means those of the public Azure clouds.
	HostSuffix string
}

// checked is what New makes of its arguments without any I/O.
type checked struct {
	key     keyID
	signing versionID // zero if there is none
	pinned  pinnedKeys
}

// signer returns what signs, nil if nothing does.
func (c checked) signer(client *azkeys.Client, o Options) *signer {
	if c.signing.version == "" {
		return nil
	}
	if o.SigningClient != nil {
		client = o.SigningClient
	}
	return &signer{client: client, id: c.signing, pinned: c.pinned}
}

// check validates everything that can be without asking Key Vault.
func (o Options) check(client *azkeys.Client, key string) (checked, error) {
	id, err := o.keyOf(client, key)
	if err != nil {
		return checked{}, err
	}
	if id.version != "" {
		return checked{}, fmt.Errorf("%w: the key has a version: leave it off, since the newest one wraps", ErrOptions)
	}
	c := checked{key: id.keyID}
	if c.pinned, err = pin(o.VerifyingKeys); err != nil {
		return checked{}, err
	}
	c.signing, err = o.checkSigning(c.key)
	return c, err
}

// keyOf checks the arguments of every function that takes a key.
func (o Options) keyOf(client *azkeys.Client, key string) (versionID, error) {
	if client == nil {
		return versionID{}, fmt.Errorf("%w: the client is nil", ErrOptions)
	}
	if o.HostSuffix != "" && !validSuffix(o.HostSuffix) {
		return versionID{}, fmt.Errorf("%w: HostSuffix %.100q is not a DNS suffix in lower case", ErrOptions, o.HostSuffix)
	}
	id, err := parseKey(key, o.HostSuffix)
	if err != nil {
		return versionID{}, fmt.Errorf("%w: the key: %w", ErrOptions, err)
	}
	return id, nil
}

func (o Options) checkSigning(key keyID) (versionID, error) {
	if o.SigningKey == "" {
		if o.SigningClient != nil {
			return versionID{}, fmt.Errorf("%w: SigningClient is given and SigningKey is not", ErrOptions)
		}
		return versionID{}, nil
	}
	id, err := parseKey(o.SigningKey, o.HostSuffix)
	switch {
	case err != nil:
		return versionID{}, fmt.Errorf("%w: SigningKey: %w", ErrOptions, err)
	case id.version == "":
		return versionID{}, fmt.Errorf("%w: SigningKey has no version", ErrOptions)
	case id.keyID == key:
		return versionID{}, fmt.Errorf("%w: SigningKey is the wrapping key itself: a key must not do both", ErrOptions)
	case o.SigningClient == nil && id.host != key.host:
		return versionID{}, fmt.Errorf("%w: SigningKey is in another vault and SigningClient is nil", ErrOptions)
	case len(o.VerifyingKeys) == 0:
		return versionID{}, fmt.Errorf("%w: SigningKey is given and VerifyingKeys is empty", ErrOptions)
	}
	return id, nil
}

// validSuffix reports whether s is at least two DNS labels in lower case.
func validSuffix(s string) bool {
	labels := strings.Split(s, ".")
	if len(labels) < 2 || len(s) > 189 { // with a label and its dot: at most 253
		return false
	}
	for _, l := range labels {
		if !validLabel(l) {
			return false
		}
	}
	return true
}
