package awskms

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/embedvault/vault/kek"
)

var (
	_ kek.Rewrapper = (*KEK)(nil)
	_ kek.Checker   = (*KEK)(nil)
)

// scheme starts the URIs.
const scheme = "aws-kms://"

// keyLen is the length of a context key, the only thing that is wrapped.
const keyLen = 32

// KEK is a key-encryption key in AWS KMS. It is safe for concurrent use and
// needs no closing.
type KEK struct {
	client  *kms.Client
	options Options         // without grant tokens
	tokens  func() []string // grant tokens: fmt prints what is in fields, or behind pointers, and asks no Format there
	calls   *calls
	key     name // the key's ARN, taken apart
	arn     string
	uri     string
}

// New returns the KEK that a KMS key is. key is a key ARN, an alias ARN, a key ID
// or an alias name ("alias/vault"); it is looked up once, by DescribeKey, and
// the KEK keeps to the key that was found: an alias that is pointed elsewhere
// later changes nothing. The key must be a symmetric encryption key
// (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT). It may be disabled: then Check says so.
//
// The client stays the caller's, with its credentials, endpoint, retries and
// time limits; its Region must be the key's. It needs kms:DescribeKey.
//
// An error about the arguments or the kind of key matches [ErrOptions]; any
// other has a class of package kek.
func New(ctx context.Context, client *kms.Client, key string, o Options) (*KEK, error) {
	if client == nil {
		return nil, fmt.Errorf("awskms: %w: the client is nil", ErrOptions)
	}
	n, err := parseName(key)
	if err != nil {
		return nil, fmt.Errorf("awskms: %w", err)
	}
	tokens := slices.Clone(o.GrantTokens)
	o.GrantTokens = nil
	k := &KEK{client: client, options: o, tokens: func() []string { return tokens }, calls: new(calls), arn: key}
	if err := k.pin(ctx, n); err != nil {
		return nil, fmt.Errorf("awskms: look up the key %s: %w", key, err)
	}
	return k, nil
}

// pin looks up the key that n names and makes it k's for good.
func (k *KEK) pin(ctx context.Context, n name) error {
	meta, err := k.describe(ctx)
	if err != nil {
		return err
	}
	found, ok := parseKeyARN(aws.ToString(meta.Arn))
	switch {
	case !ok:
		return fmt.Errorf("%w: KMS answered with what is no key ARN", kek.ErrCorrupt)
	case !n.names(found):
		return fmt.Errorf("%w: KMS answered with another key, %s", kek.ErrCorrupt, found.arn())
	case meta.KeySpec != types.KeySpecSymmetricDefault || meta.KeyUsage != types.KeyUsageTypeEncryptDecrypt:
		return fmt.Errorf("%w: %s is a key of spec %.40q for %.40q, want %s for %s", ErrOptions, found.arn(),
			meta.KeySpec, meta.KeyUsage, types.KeySpecSymmetricDefault, types.KeyUsageTypeEncryptDecrypt)
	case k.options.AnyRegion && !found.multiRegion():
		return fmt.Errorf("%w: AnyRegion needs a multi-Region key, and %s is none", ErrOptions, found.arn())
	}
	k.key, k.arn, k.uri = found, found.arn(), found.uri(k.options.AnyRegion)
	return nil
}

// URI implements [kek.Wrapper]: "aws-kms://" and the key's ARN, without the
// Region if [Options.AnyRegion] is set.
func (k *KEK) URI() string { return k.uri }

// Wrap implements [kek.Wrapper]. It takes keys of 32 bytes only.
func (k *KEK) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	wrapped, err := k.wrap(ctx, key, b)
	if err != nil {
		return nil, fmt.Errorf("awskms: wrap with %s: %w", k.uri, err)
	}
	return wrapped, nil
}

func (k *KEK) wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	if len(key) != keyLen {
		return nil, fmt.Errorf("%w: a key of %d bytes, want %d", kek.ErrCorrupt, len(key), keyLen)
	}
	format, pairs, err := k.formatFor(b)
	if err != nil {
		return nil, err
	}
	out, err := k.encrypt(ctx, key, pairs)
	if err != nil {
		return nil, k.failed(ctx, err, b, key)
	}
	if err := k.answered(out.KeyId); err != nil {
		return nil, err
	}
	return pack(format, out.CiphertextBlob)
}

// Unwrap implements [kek.Wrapper]. It reads both formats, whatever the options.
// The call names the KEK's own key, never one that the wrapped bytes name.
func (k *KEK) Unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	key, err := k.unwrap(ctx, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("awskms: unwrap of %d bytes with %s: %w", len(wrapped), k.uri, err)
	}
	return key, nil
}

func (k *KEK) unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	format, blob, err := unpack(wrapped)
	if err != nil {
		return nil, err
	}
	pairs, err := encryptionContext(b, format)
	if err != nil {
		return nil, err
	}
	out, err := k.decrypt(ctx, blob, pairs)
	if err != nil {
		return nil, k.refused(ctx, err, b, blob, func() bool { return k.mayDecrypt(ctx, pairs) })
	}
	err = k.answered(out.KeyId)
	if err == nil && len(out.Plaintext) != keyLen {
		err = fmt.Errorf("%w: it holds %d bytes, want %d", kek.ErrCorrupt, len(out.Plaintext), keyLen)
	}
	if err != nil {
		clear(out.Plaintext)
		return nil, err
	}
	return out.Plaintext, nil
}

// Rewrap implements [kek.Rewrapper] by ReEncrypt: the key isn't seen outside
// KMS. It reads both formats and makes the one that the options say. KMS keeps
// old key material for ever, so rotation never makes a rewrap needed.
func (k *KEK) Rewrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	rewrapped, err := k.rewrap(ctx, wrapped, b)
	if err != nil {
		return nil, fmt.Errorf("awskms: rewrap of %d bytes with %s: %w", len(wrapped), k.uri, err)
	}
	return rewrapped, nil
}

func (k *KEK) rewrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	from, blob, err := unpack(wrapped)
	if err != nil {
		return nil, err
	}
	source, err := encryptionContext(b, from)
	if err != nil {
		return nil, err
	}
	to, destination, err := k.formatFor(b)
	if err != nil {
		return nil, err
	}
	out, err := k.reEncrypt(ctx, blob, source, destination)
	if err != nil {
		return nil, k.refused(ctx, err, b, blob, func() bool { return k.mayReEncrypt(ctx, source, destination) })
	}
	if err := k.answered(out.KeyId); err != nil {
		return nil, err
	}
	if err := k.answeredFrom(out.SourceKeyId); err != nil {
		return nil, err
	}
	return pack(to, out.CiphertextBlob)
}

// answered checks that an answer is of k's key.
func (k *KEK) answered(arn *string) error {
	switch {
	case arn == nil: // an empty answer, of a proxy maybe: KMS always says it
		return fmt.Errorf("%w: the answer doesn't say which key was used", kek.ErrUnavailable)
	case *arn != k.arn:
		return fmt.Errorf("%w: the answer is of another key", kek.ErrCorrupt)
	}
	return nil
}

// answeredFrom is answered for the key that ReEncrypt decrypted with. KMS
// documents it as the one "used to originally encrypt the data", which for a
// multi-Region key may be the replica of another Region.
func (k *KEK) answeredFrom(arn *string) error {
	if n, ok := parseKeyARN(aws.ToString(arn)); ok && n.sameKey(k.key) {
		return nil
	}
	return k.answered(arn)
}

// Format prints the URI and nothing else, whatever the verb, of a KEK or of what
// points to one: the struct leads to grant tokens and credentials.
func (k KEK) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.uri) }
