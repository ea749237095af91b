package awskms

import (
	"fmt"
	"strconv"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// The formats: the first byte of what was wrapped. The rest is KMS's
// CiphertextBlob.
//
// SPEC: docs/SPEC.md, "KEK drivers".
const (
	formatPairs = 0x01 // the encryption context has the key context's own pairs
	formatHash  = 0x02 // it has the hash alone
)

// The pairs of the encryption context that are the binding. A key context can't
// have pairs of these names: its reserved ones are others.
const (
	pairKeyID   = "vault:key-id"
	pairHash    = "vault:context-hash"
	pairPurpose = "vault:purpose"
	pairVersion = "vault:version"
)

// maxEncryptionContext is how large an encryption context may be, in bytes of
// its JSON without white space; a larger one goes by the hash alone. KMS has a
// limit that is commonly given as 8,192 bytes. The documents that we know don't
// say how it is measured, and the JSON is the longest of the likely measures.
// The limit is part of format 1: a reader refuses what a writer can't have made.
const maxEncryptionContext = 8192

// encryptionContext maps a binding to the encryption context of a format.
func encryptionContext(b kek.Binding, format byte) (map[string]string, error) {
	m := make(map[string]string, len(b.Context)+4)
	for k, v := range b.Context {
		switch k {
		case pairKeyID, pairHash, pairPurpose, pairVersion:
			// No valid key context has such a pair. It must not replace the binding's,
			// and replacing it would bind two contexts alike.
			return nil, fmt.Errorf("%w: the key context has the pair %q, which is this driver's", kek.ErrCorrupt, k)
		}
		if format == formatPairs {
			m[k] = v
		}
	}
	m[pairKeyID] = b.KeyID.String()
	m[pairHash] = b.ContextHash.String()
	m[pairPurpose] = strconv.FormatUint(uint64(b.Purpose), 10)
	m[pairVersion] = strconv.FormatUint(uint64(b.Version), 10)
	if format == formatPairs && jsonSize(m) > maxEncryptionContext {
		return nil, fmt.Errorf("%w: no key context of this size was ever wrapped with its pairs", kek.ErrCorrupt)
	}
	return m, nil
}

// formatFor chooses the format to wrap in and returns its encryption context.
func (k *KEK) formatFor(b kek.Binding) (format byte, m map[string]string, err error) {
	if !k.options.OmitPairs {
		if m, err = encryptionContext(b, formatPairs); err == nil {
			return formatPairs, m, nil
		}
	}
	m, err = encryptionContext(b, formatHash) // fails as well if a pair's name is at fault
	return formatHash, m, err
}

// jsonSize returns the length of m as JSON without white space, in which only
// quotes and backslashes are escaped. Key contexts have no control characters.
func jsonSize(m map[string]string) int {
	n := 1 + len(m) // braces, and commas between
	for k, v := range m {
		n += len(`"":""`) + escapedLen(k) + escapedLen(v)
	}
	return n
}

func escapedLen(s string) int {
	n := len(s)
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			n++
		}
	}
	return n
}

// unpack takes wrapped bytes apart. It reads nothing but the format byte: the
// blob is KMS's.
func unpack(wrapped []byte) (format byte, blob []byte, err error) {
	if len(wrapped) < 2 || len(wrapped) > keyctx.MaxWrappedLen || wrapped[0] != formatPairs && wrapped[0] != formatHash {
		return 0, nil, fmt.Errorf("%w: not of a format that this KEK makes", kek.ErrCorrupt)
	}
	return wrapped[0], wrapped[1:], nil
}

// pack puts wrapped bytes together.
func pack(format byte, blob []byte) ([]byte, error) {
	if n := len(blob); n < 1 || n >= keyctx.MaxWrappedLen {
		return nil, fmt.Errorf("%w: KMS answered with a ciphertext of %d bytes", kek.ErrCorrupt, n)
	}
	return append([]byte{format}, blob...), nil
}
