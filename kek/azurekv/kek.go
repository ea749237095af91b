package azurekv

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
)

var (
	_ kek.Rewrapper     = (*KEK)(nil)
	_ kek.Checker       = (*KEK)(nil)
	_ kek.VersionTeller = (*KEK)(nil)
)

// KEK is a key-encryption key in Azure Key Vault or a Managed HSM. It is safe for
// concurrent use and needs no closing.
type KEK struct {
	client   *azkeys.Client
	key      keyID
	writes   byte    // the format that Wrap makes; formatNone: it only reads
	signer   *signer // of formatSigned
	pinned   pinnedKeys
	unsigned bool // unsigned RSA wrappings are taken

	latest atomic.Pointer[wrappingKey] // the version that wrapped last; a cache
}

// New returns the KEK that is the given key: "https://<vault>/keys/<name>",
// in lower case, without a version. client must be of that vault. New asks for
// the key once, which takes the permission "get". A key that exists and can't be
// used is no error, and nor is one whose newest version is of a type that can't
// wrap as the options say: the KEK then reads what it once wrapped, and Wrap is
// denied (see [KEK.Check]).
//
// New also asks for the signing key, for 5 seconds at most, and says so if its
// public key is not among the pinned ones. If it can't be had, New goes on: only
// Wrap needs it, and asks again.
//
// The KEK keeps client and [Options.SigningClient], and nothing else of what New
// is given.
//
// Errors match [ErrOptions], or one of the classes of kek.
func New(ctx context.Context, client *azkeys.Client, key string, o Options) (*KEK, error) {
	c, err := o.check(client, key)
	if err != nil {
		return nil, fmt.Errorf("azurekv: open: %w", err)
	}
	k := &KEK{client: client, key: c.key, pinned: c.pinned, unsigned: o.InsecureUnsigned, signer: c.signer(client, o)}
	if err := k.open(ctx); err != nil {
		return nil, fmt.Errorf("azurekv: open %s: %w", c.key, err)
	}
	return k, nil
}

// open asks Key Vault what the key is, and checks the options against it.
func (k *KEK) open(ctx context.Context) error {
	got, err := getKey(ctx, k.client, versionID{keyID: k.key})
	if err != nil {
		return err
	}
	k.writes = k.formatFor(got.kind)
	if k.writes == formatNone && !k.mayRead() {
		return fmt.Errorf("%w: the key is of type %.20q; an RSA key needs SigningKey and VerifyingKeys, or else InsecureUnsigned", ErrOptions, string(got.kty))
	}
	if k.signer == nil {
		return nil
	}
	return k.signer.try(ctx)
}

// formatFor returns the format that Wrap makes with a key of this kind.
func (k *KEK) formatFor(t kind) byte {
	switch {
	case k.signer != nil:
		return formatSigned
	case t == kindSymmetric:
		return formatSymmetric
	case k.unsigned:
		return formatUnsigned
	}
	return formatNone
}

// mayRead reports whether there may be anything that the KEK could read if the
// key's newest version is not symmetric: what was signed; or what an earlier
// version, that was symmetric, has wrapped. Vaults have RSA keys only; it takes a
// Managed HSM for the others.
func (k *KEK) mayRead() bool {
	_, suffix, _ := strings.Cut(k.key.host, ".")
	return len(k.pinned) > 0 || !strings.HasPrefix(suffix, "vault.")
}

// URI implements [kek.Wrapper]: "azure-kv://<vault>/keys/<name>".
func (k *KEK) URI() string { return k.key.uri() }

// WrappedVersion implements [kek.VersionTeller]: the 32 hexadecimal digits of
// Key Vault's version, and how it was wrapped: ":unsigned", ":symmetric", or
// ":signed:" and the start of the signing key's hash. So what was wrapped in
// another way than Wrap does now is told from what is current, not only what an
// older version wrapped.
func (k *KEK) WrappedVersion(wrapped []byte) string {
	r, err := parse(wrapped)
	if err != nil {
		return ""
	}
	return tokenOf(r.version, r.format, r.signing)
}

// current is what WrappedVersion says of what Wrap makes with this version. While
// the signing key isn't known, or if nothing can be wrapped, nothing is current,
// so that nobody takes old wrappings for new ones.
func (k *KEK) current(version string) string {
	var signing [hashLen]byte
	if k.signer != nil {
		if found := k.signer.found.Load(); found != nil {
			signing = found.hash
		}
	}
	return tokenOf(version, k.writes, signing)
}

func tokenOf(version string, format byte, signing [hashLen]byte) string {
	switch format {
	case formatSigned:
		return version + ":signed:" + hex.EncodeToString(signing[:8])
	case formatUnsigned:
		return version + ":unsigned"
	case formatSymmetric:
		return version + ":symmetric"
	}
	return version + ":nothing"
}

// Format prints the URI and nothing else, whatever the verb: the struct leads to
// a credential.
func (k *KEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.URI()) }
