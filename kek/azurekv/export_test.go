package azurekv

import "github.com/embedvault/vault/kek"

// For tests that make records themselves.
var (
	Digest     = digest
	SignedBody = signedBody
	AppendHead = appendHead
	Bound      = bound
	HashOf     = hashOf
)

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
