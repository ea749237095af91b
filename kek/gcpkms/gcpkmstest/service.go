package gcpkmstest

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"hash/crc32"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// service is the API.
type service struct {
	kmspb.UnimplementedKeyManagementServiceServer
	server *Server
}

// find returns the key if the caller has the permission. The server's lock is
// held.
func (s *Server) find(ctx context.Context, name, permission string) (*cryptoKey, error) {
	principal := principalOf(ctx)
	k := s.keys[name]
	if k == nil {
		// Only who may see all keys of the ring learns that there is none.
		if principal == Owner {
			return nil, errNotFound(name)
		}
		return nil, errPermission(permission, name)
	}
	if !k.permissions(principal)[permission] {
		return nil, errPermission(permission, name)
	}
	return k, nil
}

func (s service) GetCryptoKey(ctx context.Context, req *kmspb.GetCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	k, err := s.server.find(ctx, req.GetName(), PermissionGet)
	if err != nil {
		return nil, err
	}
	return k.describe(), nil
}

// What may be encrypted, in bytes. EncryptRequest in
// google/cloud/kms/v1/service.proto.
const (
	maxSoftware = 64 << 10 // of plaintext and associated data, each
	maxHSM      = 8 << 10  // of both together
)

func (s service) Encrypt(ctx context.Context, req *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	k, err := s.server.find(ctx, req.GetName(), PermissionEncrypt)
	if err != nil {
		return nil, err
	}
	plaintext, aad := req.GetPlaintext(), req.GetAdditionalAuthenticatedData()
	if err := verify("plaintext", req.GetPlaintextCrc32C(), plaintext); err != nil {
		return nil, err
	}
	if err := verify("additional_authenticated_data", req.GetAdditionalAuthenticatedDataCrc32C(), aad); err != nil {
		return nil, err
	}
	if len(plaintext) > maxSoftware || len(aad) > maxSoftware ||
		k.options.Protection == kmspb.ProtectionLevel_HSM && len(plaintext)+len(aad) > maxHSM {
		return nil, errTooLarge()
	}
	if err := k.usable(k.primary); err != nil {
		return nil, err
	}
	ciphertext, err := k.seal(plaintext, aad)
	if err != nil {
		return nil, err
	}
	return &kmspb.EncryptResponse{
		Name: k.versionName(k.primary), Ciphertext: ciphertext, CiphertextCrc32C: checksum(ciphertext),
		VerifiedPlaintextCrc32C:                   req.GetPlaintextCrc32C() != nil,
		VerifiedAdditionalAuthenticatedDataCrc32C: req.GetAdditionalAuthenticatedDataCrc32C() != nil,
		ProtectionLevel:                           k.options.Protection,
	}, nil
}

func (s service) Decrypt(ctx context.Context, req *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	k, err := s.server.find(ctx, req.GetName(), PermissionDecrypt)
	if err != nil {
		return nil, err
	}
	ciphertext, aad := req.GetCiphertext(), req.GetAdditionalAuthenticatedData()
	if err := verify("ciphertext", req.GetCiphertextCrc32C(), ciphertext); err != nil {
		return nil, err
	}
	if err := verify("additional_authenticated_data", req.GetAdditionalAuthenticatedDataCrc32C(), aad); err != nil {
		return nil, err
	}
	if k.options.Purpose != kmspb.CryptoKey_ENCRYPT_DECRYPT {
		return nil, errPurpose(k)
	}
	version, plaintext, err := k.open(ciphertext, aad)
	if err != nil {
		return nil, err
	}
	return &kmspb.DecryptResponse{
		Plaintext: plaintext, PlaintextCrc32C: checksum(plaintext),
		UsedPrimary: version == k.primary, ProtectionLevel: k.options.Protection,
	}, nil
}

// usable returns an error if a version can't be used now.
func (k *cryptoKey) usable(version int) error {
	switch {
	case k.options.Purpose != kmspb.CryptoKey_ENCRYPT_DECRYPT:
		return errPurpose(k)
	case version == 0:
		return errNoPrimary(k)
	case k.versions[version-1].state != kmspb.CryptoKeyVersion_ENABLED:
		return errState(k.versionName(version), k.versions[version-1].state)
	}
	return nil
}

// A ciphertext of this server is
//
//	u8 0x0a ‖ key's UID (16) ‖ u64 version ‖ nonce (12) ‖ AES-256-GCM ciphertext ‖ tag (16)
//
// with what stands before the nonce, and the caller's associated data, as
// associated data. Google doesn't publish its own form.
const headerLen = 1 + 16 + 8

func (k *cryptoKey) seal(plaintext, aad []byte) ([]byte, error) {
	header := append([]byte{0x0a}, k.uid[:]...)
	header = binary.BigEndian.AppendUint64(header, uint64(k.primary))
	gcm, err := newGCM(k.versions[k.primary-1].key)
	if err != nil {
		return nil, err
	}
	sealed := gcm.Seal(nil, nil, plaintext, append(bytes.Clone(header), aad...))
	return append(header, sealed...), nil
}

func (k *cryptoKey) open(ciphertext, aad []byte) (version int, plaintext []byte, err error) {
	if len(ciphertext) < headerLen || ciphertext[0] != 0x0a {
		return 0, nil, errCiphertext()
	}
	if !bytes.Equal(ciphertext[1:17], k.uid[:]) {
		return 0, nil, errWrongKey()
	}
	n := binary.BigEndian.Uint64(ciphertext[17:headerLen])
	if n == 0 || n > uint64(len(k.versions)) {
		return 0, nil, errCiphertext()
	}
	version = int(n)
	if err := k.usable(version); err != nil {
		return 0, nil, err
	}
	gcm, err := newGCM(k.versions[version-1].key)
	if err != nil {
		return 0, nil, err
	}
	plaintext, err = gcm.Open(nil, nil, ciphertext[headerLen:], append(bytes.Clone(ciphertext[:headerLen]), aad...))
	if err != nil {
		return 0, nil, errCiphertext()
	}
	return version, plaintext, nil
}

func newGCM(key [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(b, castagnoli)))
}

// verify checks a checksum of a request, if there is one.
func verify(field string, sum *wrapperspb.Int64Value, b []byte) error {
	if sum != nil && sum.GetValue() != checksum(b).GetValue() {
		return errChecksum(field)
	}
	return nil
}
