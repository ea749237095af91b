package tinkkek

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

var (
	_ kek.Rewrapper     = (*KEK)(nil)
	_ kek.Checker       = (*KEK)(nil)
	_ kek.VersionTeller = (*KEK)(nil)
)

const (
	// format is the first byte of everything that was wrapped.
	format = 0x01

	keysetScheme = "tink-keyset:" // of the URIs of keysets
	remotePrefix = "tink+"        // of the URIs of AEADs
)

// KEK is a key-encryption key made of Tink. It is safe for concurrent use and
// needs no closing.
type KEK struct {
	uri    string
	engine engine
}

// engine encrypts and decrypts. Its errors have a class. It returns when ctx
// ends, keeps and changes nothing of what it is given, and returns what nobody
// else holds.
type engine interface {
	encrypt(ctx context.Context, plaintext, ad []byte) ([]byte, error)
	decrypt(ctx context.Context, ciphertext, ad []byte) ([]byte, error)
	check(ctx context.Context) (kek.Status, error)
	version(ciphertext []byte) string
}

// URI implements [kek.Wrapper]: "tink-keyset:" and the name of the keyset, or
// "tink+" and the AEAD's own URI.
func (k *KEK) URI() string { return k.uri }

// Wrap implements [kek.Wrapper]. A KEK of a keyset file looks at the file first:
// it wraps with the primary key that the file has now. If the file is gone,
// can't be read, or holds another keyset, it wraps nothing (the error matches
// [kek.ErrUnavailable]), since the process would be the last to know the key.
func (k *KEK) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	wrapped, err := k.wrap(ctx, key, b)
	if err != nil {
		return nil, fmt.Errorf("tinkkek: wrap with %s: %w", k.uri, err)
	}
	return wrapped, nil
}

func (k *KEK) wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fail(kek.ErrUnavailable, err)
	}
	ciphertext, err := k.engine.encrypt(ctx, key, b.AppendBytes(nil))
	if err != nil {
		return nil, err
	}
	if n := 1 + len(ciphertext); n < 2 || n > keyctx.MaxWrappedLen {
		return nil, fmt.Errorf("%w: the AEAD's ciphertext has %d bytes", kek.ErrCorrupt, len(ciphertext))
	}
	return append([]byte{format}, ciphertext...), nil
}

// Unwrap implements [kek.Wrapper]. A KEK of a keyset file reads the file again
// if wrapped names a key that it doesn't know and the file has changed: another
// process may have rotated the keyset.
func (k *KEK) Unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	key, err := k.unwrap(ctx, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("tinkkek: unwrap of %d bytes with %s: %w", len(wrapped), k.uri, err)
	}
	return key, nil
}

func (k *KEK) unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fail(kek.ErrUnavailable, err)
	}
	if len(wrapped) < 2 || len(wrapped) > keyctx.MaxWrappedLen || wrapped[0] != format {
		return nil, fmt.Errorf("%w: not of a format that this KEK makes", kek.ErrCorrupt)
	}
	key, err := k.engine.decrypt(ctx, wrapped[1:], b.AppendBytes(nil))
	if err == nil && len(key) == 0 {
		err = fmt.Errorf("%w: it holds an empty key", kek.ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}

// Rewrap implements [kek.Rewrapper]. Tink has no such operation: the key is
// unwrapped and wrapped in this process, and zeroed.
func (k *KEK) Rewrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	key, err := k.unwrap(ctx, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("tinkkek: rewrap of %d bytes with %s: %w", len(wrapped), k.uri, err)
	}
	defer clear(key)
	rewrapped, err := k.wrap(ctx, key, b)
	if err != nil {
		return nil, fmt.Errorf("tinkkek: rewrap with %s: %w", k.uri, err)
	}
	return rewrapped, nil
}

// Check implements [kek.Checker]. PrimaryVersion of a keyset is the ID of its
// primary key, in decimal. An AEAD has no such question: it is asked to encrypt
// and decrypt a few bytes that are no key.
func (k *KEK) Check(ctx context.Context) (kek.Status, error) {
	if err := ctx.Err(); err != nil {
		return kek.Status{}, fmt.Errorf("tinkkek: check of %s: %w", k.uri, fail(kek.ErrUnavailable, err))
	}
	status, err := k.engine.check(ctx)
	if err != nil {
		return kek.Status{}, fmt.Errorf("tinkkek: check of %s: %w", k.uri, err)
	}
	return status, nil
}

// WrappedVersion implements [kek.VersionTeller]: the Tink ID, in decimal, of the
// key that wrapped it, also if that is not in the keyset, so that a rewrap finds out
// that it is lost rather than take it for current. Where the keyset has keys whose
// ciphertexts have no prefix, only keys that are there are told. What another AEAD
// wrapped tells nothing.
func (k *KEK) WrappedVersion(wrapped []byte) string {
	if len(wrapped) < 2 || wrapped[0] != format {
		return ""
	}
	return k.engine.version(wrapped[1:])
}

// Format prints the URI and nothing else, whatever the verb: the struct leads
// to the keys.
func (k *KEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.uri) }

// fail returns an error of the class, and of that class alone, that wraps cause.
// A cause that matches another class as well is quoted and not wrapped.
func fail(class, cause error) error {
	for _, other := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if other != class && errors.Is(cause, other) {
			return fmt.Errorf("%w: %v", class, cause)
		}
	}
	return fmt.Errorf("%w: %w", class, cause)
}
