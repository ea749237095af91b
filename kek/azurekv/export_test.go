package azurekv

import (
	"context"

	"github.com/embedvault/vault/kek"
)

// For tests that make records themselves.
var (
	Digest     = digest
	SignedBody = signedBody
	AppendHead = appendHead
	Bound      = bound
	HashOf     = hashOf
)

// Await is await of a key.
func Await(ctx context.Context, call func() ([]byte, error), late func([]byte)) ([]byte, error) {
	return await(ctx, call, late)
}

// UnwrapFailed is what becomes of the SDK's error of an unwrapKey.
func (k *KEK) UnwrapFailed(ctx context.Context, err error) error {
	return failed(ctx, call{opUnwrap, k.key}, err)
}

// Parsed is what a record says.
type Parsed struct {
	Format                                byte
	Version                               string
	Ciphertext, Wrapping, Signing, Signed []byte
	Signature                             []byte
}

// Parse parses wrapped bytes.
func Parse(wrapped []byte) (Parsed, error) {
	r, err := parse(wrapped)
	if err != nil {
		return Parsed{}, err
	}
	p := Parsed{Format: r.format, Version: r.version, Ciphertext: r.ciphertext}
	if r.format == formatSigned {
		p.Wrapping, p.Signing, p.Signed, p.Signature = r.wrapping[:], r.signing[:], r.body, r.signature
	}
	return p, nil
}

// Message is what a signature of the record is over, before it is hashed.
func (p Parsed) Message(b kek.Binding) []byte {
	m := b.AppendBytes([]byte(signatureLabel))
	m = append(m, p.Wrapping...)
	m = append(m, p.Signing...)
	return append(m, p.Signed...)
}
