package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/kek"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
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

// maxAnswer is how much of an answer gRPC takes, in bytes. Cloud KMS's have some
// kilobytes at most; the SDK's own limit is 2 GiB.
const maxAnswer = 1 << 20

// ask makes a call of the client's with a limited answer. What fails before Cloud
// KMS answered is marked as [unheard]. set is what the client has for this call:
// gax lets a call's options of gRPC replace the client's instead of adding to them.
func ask[R any](set []gax.CallOption, call func(...gax.CallOption) (R, error)) (R, error) {
	var s gax.CallSettings
	for _, o := range set {
		o.Resolve(&s)
	}
	var from peer.Peer
	r, err := call(gax.WithGRPCOptions(append(slices.Clone(s.GRPC), grpc.MaxCallRecvMsgSize(maxAnswer), grpc.Peer(&from))...))
	if err != nil && !heard(err, from) {
		err = &unheard{err}
	}
	return r, err
}

// encrypt has plaintext encrypted under the key's primary version, and returns
// the version's number. What it is given it neither keeps nor changes.
func (k *KEK) encrypt(ctx context.Context, plaintext, aad []byte) (version uint64, ciphertext []byte, err error) {
	resp, err := await(ctx, k.calls, plaintext, func(plaintext []byte) (*kmspb.EncryptResponse, error) {
		return ask(k.client.CallOptions.Encrypt, func(opts ...gax.CallOption) (*kmspb.EncryptResponse, error) {
			return k.client.Encrypt(ctx, &kmspb.EncryptRequest{
				Name:                              k.name,
				Plaintext:                         plaintext,
				PlaintextCrc32C:                   checksumOf(plaintext),
				AdditionalAuthenticatedData:       aad,
				AdditionalAuthenticatedDataCrc32C: checksumOf(aad),
			}, opts...)
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
	resp, err := await(ctx, k.calls, ciphertext, func(ciphertext []byte) (*kmspb.DecryptResponse, error) {
		return ask(k.client.CallOptions.Decrypt, func(opts ...gax.CallOption) (*kmspb.DecryptResponse, error) {
			return k.client.Decrypt(ctx, &kmspb.DecryptRequest{
				Name:                              k.name,
				Ciphertext:                        ciphertext,
				CiphertextCrc32C:                  checksumOf(ciphertext),
				AdditionalAuthenticatedData:       aad,
				AdditionalAuthenticatedDataCrc32C: checksumOf(aad),
			}, opts...)
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
	key, err := await(ctx, k.calls, nil, func([]byte) (*kmspb.CryptoKey, error) {
		return ask(k.client.CallOptions.GetCryptoKey, func(opts ...gax.CallOption) (*kmspb.CryptoKey, error) {
			return k.client.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: k.name}, opts...)
		})
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
