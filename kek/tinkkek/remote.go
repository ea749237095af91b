package tinkkek

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// FromAEAD returns the KEK that a is. uri is a's own, such as
// "aws-kms://arn:aws:kms:…"; the KEK's is "tink+" + uri, so that no other driver
// is ever given what this one wrapped. It does no I/O.
//
// A [tink.AEAD] knows no ctx: each call runs in a goroutine of its own, and
// Wrap and Unwrap return when ctx ends while it goes on. Give a's client a time
// limit, or a KMS that never answers will gather goroutines.
//
// Errors are sorted by [Options.Classify], if it is given and returns a class;
// else by what they are known to be: by the codes and the HTTP status of the
// SDKs that Tink's integrations use, in methods of the error or, where they have
// none, in its text. An error that is known as nothing counts as
// [kek.ErrUnavailable]. It says nothing about the key, so it must not drop what
// is cached, as denied would, nor be taken for good, as corrupt would; it must
// be tried again. For an a in this process use [ClassifyLocal].
//
// The first Wrap makes sure that a can't decrypt with other associated data, at
// the cost of one more call. Some integrations ignore it, such as Tink's for
// HashiCorp Vault with its default options and a key that isn't derived; those
// wrap nothing, and the error matches [kek.ErrCorrupt].
func FromAEAD(uri string, a tink.AEAD, o Options) (*KEK, error) {
	if a == nil {
		return nil, fmt.Errorf("tinkkek: %w: the AEAD is nil", ErrOptions)
	}
	return FromAEADWithContext(uri, withoutContext{a}, o)
}

// FromAEADWithContext is [FromAEAD] for an AEAD that takes a ctx. It too runs in
// a goroutine, since not every one that takes a ctx heeds it.
func FromAEADWithContext(uri string, a tink.AEADWithContext, o Options) (*KEK, error) {
	o, err := o.forRemote()
	switch {
	case err != nil:
		return nil, err
	case a == nil:
		return nil, fmt.Errorf("tinkkek: %w: the AEAD is nil", ErrOptions)
	case uri == "" || !keyctx.ValidURI(remotePrefix+uri):
		return nil, fmt.Errorf("tinkkek: %w: the URI is not 1 to %d bytes of printable ASCII without space",
			ErrOptions, keyctx.MaxURILen-len(remotePrefix))
	case strings.HasPrefix(uri, remotePrefix):
		return nil, fmt.Errorf("tinkkek: %w: the URI starts with %q already; give the AEAD's own", ErrOptions, remotePrefix)
	}
	return &KEK{uri: remotePrefix + uri, engine: &remote{aead: a, classify: o.Classify}}, nil
}

// FromKMSClient returns the KEK that client's key keyURI is, as [FromAEAD]
// does. Tink's registry is not asked.
func FromKMSClient(client registry.KMSClient, keyURI string, o Options) (*KEK, error) {
	if client == nil {
		return nil, fmt.Errorf("tinkkek: %w: the KMS client is nil", ErrOptions)
	}
	if !client.Supported(keyURI) {
		return nil, fmt.Errorf("tinkkek: %w: the KMS client doesn't support the key %.200q", ErrOptions, keyURI)
	}
	a, err := client.GetAEAD(keyURI)
	if err != nil {
		return nil, fmt.Errorf("tinkkek: open the key %.200q: %w", keyURI, err)
	}
	return FromAEAD(keyURI, a, o)
}

// withoutContext is an AEAD that has no ctx to heed.
type withoutContext struct{ aead tink.AEAD }

func (w withoutContext) EncryptWithContext(_ context.Context, plaintext, ad []byte) ([]byte, error) {
	return w.aead.Encrypt(plaintext, ad)
}

func (w withoutContext) DecryptWithContext(_ context.Context, ciphertext, ad []byte) ([]byte, error) {
	return w.aead.Decrypt(ciphertext, ad)
}

// remote is the engine of AEADs.
type remote struct {
	aead     tink.AEADWithContext
	classify func(error) error
	binds    atomic.Bool // it is known not to ignore associated data
}

func (r *remote) encrypt(ctx context.Context, plaintext, ad []byte) ([]byte, error) {
	ciphertext, err := r.call(ctx, r.aead.EncryptWithContext, plaintext, ad)
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	if err := r.checkBinds(ctx, ciphertext, ad); err != nil {
		return nil, err
	}
	return ciphertext, nil
}

func (r *remote) decrypt(ctx context.Context, ciphertext, ad []byte) ([]byte, error) {
	key, err := r.call(ctx, r.aead.DecryptWithContext, ciphertext, ad)
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	return key, nil
}

// call makes a call with copies, which it may keep on using after ctx has ended,
// and zeroes them after it.
func (r *remote) call(ctx context.Context, f func(ctx context.Context, in, ad []byte) ([]byte, error), in, ad []byte) ([]byte, error) {
	in = slices.Clone(in)
	return await(ctx, func() ([]byte, error) {
		defer func() { clear(in) }()
		out, err := f(ctx, in, slices.Clone(ad))
		// A copy, also on success: out may be a part of in, or of what a foreign
		// AEAD keeps.
		return slices.Clone(out), err
	}, func(out []byte) { clear(out) })
}

// checkBinds makes sure once that the AEAD heeds its associated data.
func (r *remote) checkBinds(ctx context.Context, ciphertext, ad []byte) error {
	if r.binds.Load() {
		return nil
	}
	other := slices.Clone(ad)
	other[len(other)-1] ^= 1
	key, err := r.call(ctx, r.aead.DecryptWithContext, ciphertext, other)
	clear(key)
	if err == nil {
		return fmt.Errorf("%w: the AEAD ignores its associated data", kek.ErrCorrupt)
	}
	if ctx.Err() != nil {
		return fail(kek.ErrUnavailable, ctx.Err())
	}
	// An outage proves nothing; the next Wrap tries again. Any other error does,
	// or says that it may not decrypt anyway.
	if class, known := classify(err, r.classify); !known || class != kek.ErrUnavailable {
		r.binds.Store(true)
	}
	return nil
}

// failed puts an error into its class, or into unavailable if ctx has ended.
func (r *remote) failed(ctx context.Context, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w: %w: %v", kek.ErrUnavailable, ctxErr, err)
	}
	class, _ := classify(err, r.classify)
	return fail(class, err)
}

// probe is what check encrypts, and its associated data, which is no binding's.
var probe = []byte("vault/v1/check")

func (r *remote) check(ctx context.Context) (kek.Status, error) {
	ciphertext, err := r.encrypt(ctx, probe, probe)
	if err == nil {
		var got []byte
		got, err = r.decrypt(ctx, ciphertext, probe)
		if err == nil && !bytes.Equal(got, probe) {
			err = fmt.Errorf("%w: the AEAD decrypts to something else than it encrypted", kek.ErrCorrupt)
		}
	}
	if errors.Is(err, kek.ErrDenied) {
		return kek.Status{Reason: reason(err)}, nil
	}
	return kek.Status{Usable: err == nil}, err
}

// version: an AEAD's ciphertext is its own business.
func (r *remote) version([]byte) string { return "" }
