package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/kek"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// operation is a method of the API.
type operation int

const (
	opEncrypt operation = iota + 1
	opDecrypt
	opLookup
)

// errTransit is about answers, or questions, that were changed on their way. It
// says nothing about the key, so its class is unavailable, and the call may be
// repeated, as Google's guidelines want it:
// https://cloud.google.com/kms/docs/data-integrity-guidelines
var errTransit = errors.New("damaged on its way")

// encrypt has plaintext encrypted under the key's primary version, and returns
// the version's number. What it is given it neither keeps nor changes.
func (k *KEK) encrypt(ctx context.Context, plaintext, aad []byte) (version uint64, ciphertext []byte, err error) {
	// The call may outlive this function by a moment, and the caller is about to
	// zero its own.
	plaintext = slices.Clone(plaintext)
	resp, err := await(ctx, func() (*kmspb.EncryptResponse, error) {
		defer clear(plaintext)
		return k.client.Encrypt(ctx, &kmspb.EncryptRequest{
			Name:                              k.name,
			Plaintext:                         plaintext,
			PlaintextCrc32C:                   checksumOf(plaintext),
			AdditionalAuthenticatedData:       aad,
			AdditionalAuthenticatedDataCrc32C: checksumOf(aad),
		})
	}, func(*kmspb.EncryptResponse) {})
	if err != nil {
		return 0, nil, k.failed(ctx, opEncrypt, err)
	}
	return k.encrypted(resp)
}

// encrypted checks an answer.
func (k *KEK) encrypted(resp *kmspb.EncryptResponse) (version uint64, ciphertext []byte, err error) {
	ciphertext = resp.GetCiphertext()
	switch {
	case !resp.GetVerifiedPlaintextCrc32C():
		return 0, nil, fmt.Errorf("%w: the key was %w: its checksum didn't arrive", kek.ErrUnavailable, errTransit)
	case !resp.GetVerifiedAdditionalAuthenticatedDataCrc32C():
		return 0, nil, fmt.Errorf("%w: the binding was %w: its checksum didn't arrive", kek.ErrUnavailable, errTransit)
	case !matches(resp.GetCiphertextCrc32C(), ciphertext):
		return 0, nil, fmt.Errorf("%w: the ciphertext was %w", kek.ErrUnavailable, errTransit)
	}
	version, ok := versionOf(resp.GetName(), k.name)
	if !ok {
		return 0, nil, fmt.Errorf("%w: the answer is not about a version of this key", kek.ErrCorrupt)
	}
	if n := len(ciphertext); n == 0 || n > maxCiphertext {
		return 0, nil, fmt.Errorf("%w: the ciphertext has %d bytes, want 1 to %d", kek.ErrCorrupt, n, maxCiphertext)
	}
	return version, ciphertext, nil
}

// decrypt has ciphertext decrypted. Cloud KMS finds the version by itself. The
// result is the caller's.
func (k *KEK) decrypt(ctx context.Context, ciphertext, aad []byte) ([]byte, error) {
	ciphertext = slices.Clone(ciphertext)
	resp, err := await(ctx, func() (*kmspb.DecryptResponse, error) {
		return k.client.Decrypt(ctx, &kmspb.DecryptRequest{
			Name:                              k.name,
			Ciphertext:                        ciphertext,
			CiphertextCrc32C:                  checksumOf(ciphertext),
			AdditionalAuthenticatedData:       aad,
			AdditionalAuthenticatedDataCrc32C: checksumOf(aad),
		})
	}, func(resp *kmspb.DecryptResponse) { clear(resp.GetPlaintext()) })
	if err != nil {
		return nil, k.failed(ctx, opDecrypt, err)
	}
	plaintext := resp.GetPlaintext()
	if !matches(resp.GetPlaintextCrc32C(), plaintext) {
		clear(plaintext)
		return nil, fmt.Errorf("%w: the key was %w", kek.ErrUnavailable, errTransit)
	}
	return plaintext, nil
}

// lookup asks for the key itself.
func (k *KEK) lookup(ctx context.Context) (*kmspb.CryptoKey, error) {
	key, err := await(ctx, func() (*kmspb.CryptoKey, error) {
		return k.client.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: k.name})
	}, func(*kmspb.CryptoKey) {})
	if err != nil {
		return nil, k.failed(ctx, opLookup, err)
	}
	if key.GetName() != k.name {
		return nil, fmt.Errorf("%w: the answer is about another key", kek.ErrCorrupt)
	}
	return key, nil
}

// checksumOf is a checksum in the form of the API, which has no unsigned
// integers.
func checksumOf(b []byte) *wrapperspb.Int64Value { return wrapperspb.Int64(int64(crc32c(b))) }

// matches reports whether an answer's checksum is there and right.
func matches(sum *wrapperspb.Int64Value, b []byte) bool {
	return sum != nil && sum.GetValue() == int64(crc32c(b))
}
