package gcpkms

import (
	"context"
	"fmt"
	"io"
	"strconv"

	kms "cloud.google.com/go/kms/apiv1"
	"github.com/embedvault/vault/kek"
)

var (
	_ kek.Rewrapper     = (*KEK)(nil)
	_ kek.Checker       = (*KEK)(nil)
	_ kek.VersionTeller = (*KEK)(nil)
)

// scheme starts a URI.
const scheme = "gcp-kms://"

// keyLen is the length of every key that is wrapped.
const keyLen = 32

// KEK is a key of Google Cloud KMS. It is made by [New], is safe for concurrent
// use, keeps nothing but the client and the key's name, and needs no closing.
//
// The errors of its methods match exactly one of [kek.ErrDenied],
// [kek.ErrUnavailable] and [kek.ErrCorrupt], and wrap the SDK's own error,
// usually an *apierror.APIError. The package's documentation says which class
// what belongs to.
type KEK struct {
	client *kms.KeyManagementClient
	calls  *calls
	name   string // of the key, of nameForm
}

// URI implements [kek.Wrapper]: "gcp-kms://" and the name of the key.
func (k *KEK) URI() string { return scheme + k.name }

// Wrap implements [kek.Wrapper]: one call of Encrypt, under the key's primary
// version. It takes keys of 32 bytes; others are refused as corrupt.
func (k *KEK) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	wrapped, err := k.wrap(ctx, key, b)
	if err != nil {
		return nil, fmt.Errorf("gcpkms: wrap with %s: %w", k.URI(), err)
	}
	return wrapped, nil
}

func (k *KEK) wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	if len(key) != keyLen {
		return nil, fmt.Errorf("%w: a key of %d bytes, want %d", kek.ErrCorrupt, len(key), keyLen)
	}
	version, ciphertext, err := k.encrypt(ctx, key, b.AppendBytes(nil))
	if err != nil {
		return nil, err
	}
	return assemble(version, ciphertext), nil
}

// Unwrap implements [kek.Wrapper]: one call of Decrypt, of this key whatever is
// in wrapped. Bytes that [KEK.Wrap] can't have made are refused without a call.
func (k *KEK) Unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	key, err := k.unwrap(ctx, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("gcpkms: unwrap of %d bytes with %s: %w", len(wrapped), k.URI(), err)
	}
	return key, nil
}

func (k *KEK) unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, ended(err, nil)
	}
	_, ciphertext, err := parse(wrapped)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kek.ErrCorrupt, err)
	}
	key, err := k.decrypt(ctx, ciphertext, b.AppendBytes(nil))
	if err != nil {
		return nil, err
	}
	if n := len(key); n != keyLen {
		clear(key)
		return nil, fmt.Errorf("%w: it holds %d bytes, want %d", kek.ErrCorrupt, n, keyLen)
	}
	return key, nil
}

// Rewrap implements [kek.Rewrapper]. Cloud KMS can't encrypt anew without
// showing the key: it is decrypted and encrypted through this process, two
// calls, and zeroed. Who rewraps needs the permission to decrypt.
func (k *KEK) Rewrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	key, err := k.unwrap(ctx, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("gcpkms: rewrap of %d bytes with %s: %w", len(wrapped), k.URI(), err)
	}
	defer clear(key)
	rewrapped, err := k.wrap(ctx, key, b)
	if err != nil {
		return nil, fmt.Errorf("gcpkms: rewrap with %s: %w", k.URI(), err)
	}
	return rewrapped, nil
}

// WrappedVersion implements [kek.VersionTeller]: the number of the key's version
// under which wrapped was made, in decimal, or "" if it isn't of this package's
// format.
func (k *KEK) WrappedVersion(wrapped []byte) string {
	version, _, err := parse(wrapped)
	if err != nil {
		return ""
	}
	return strconv.FormatUint(version, 10)
}

// Format prints the URI and nothing else, whatever the verb, of a KEK or of what
// points to one: the struct leads to the client and its credentials.
func (k KEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.URI()) }
