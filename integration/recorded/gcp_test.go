package recorded_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
	"github.com/google/go-replayers/grpcreplay"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const recordedKey = "projects/go-cloud-test-216917/locations/global/keyRings/test/cryptoKeys/password"

// player gives the recorded answers of Cloud KMS to the recorded questions.
type player struct {
	t   *testing.T
	kms kmspb.KeyManagementServiceClient
}

func play(t *testing.T, name string) player {
	t.Helper()
	replayer, err := grpcreplay.NewReplayer(filepath.Join(recordings(t, "gcpkms"), filepath.FromSlash(name)), nil)
	ok(t, err)
	conn, err := replayer.Connection()
	ok(t, err)
	t.Cleanup(func() { _, _ = conn.Close(), replayer.Close() })
	return player{t: t, kms: kmspb.NewKeyManagementServiceClient(conn)}
}

func (p player) encrypt(plaintext, aad string) *kmspb.EncryptResponse {
	p.t.Helper()
	r, err := p.kms.Encrypt(p.t.Context(), &kmspb.EncryptRequest{Name: recordedKey, Plaintext: []byte(plaintext), AdditionalAuthenticatedData: []byte(aad)})
	ok(p.t, err)
	return r
}

func (p player) decrypt(ciphertext []byte, aad string) (*kmspb.DecryptResponse, error) {
	p.t.Helper()
	return p.kms.Decrypt(p.t.Context(), &kmspb.DecryptRequest{Name: recordedKey, Ciphertext: ciphertext, AdditionalAuthenticatedData: []byte(aad)})
}

// cloud is a Cloud KMS with prepared answers.
type cloud struct {
	kmspb.UnimplementedKeyManagementServiceServer
	encrypted *kmspb.EncryptResponse
	decrypted *kmspb.DecryptResponse
	err       error // Decrypt's
}

func (c *cloud) GetCryptoKey(_ context.Context, r *kmspb.GetCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	return &kmspb.CryptoKey{
		Name: r.Name, Purpose: kmspb.CryptoKey_ENCRYPT_DECRYPT,
		Primary: &kmspb.CryptoKeyVersion{
			Name: r.Name + "/cryptoKeyVersions/29", State: kmspb.CryptoKeyVersion_ENABLED,
			Algorithm: kmspb.CryptoKeyVersion_GOOGLE_SYMMETRIC_ENCRYPTION,
		},
	}, nil
}

func (c *cloud) Encrypt(context.Context, *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	return c.encrypted, nil
}

func (c *cloud) Decrypt(context.Context, *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	return c.decrypted, c.err
}

// open returns the recorded key as a KEK of that cloud.
func (c *cloud) open(t *testing.T) *gcpkms.KEK {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	srv := grpc.NewServer()
	kmspb.RegisterKeyManagementServiceServer(srv, c)
	go func() { _ = srv.Serve(ln) }() // ends with Stop
	t.Cleanup(srv.Stop)
	client, err := kms.NewKeyManagementClient(t.Context(), option.WithEndpoint(ln.Addr().String()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	ok(t, err)
	t.Cleanup(func() { _ = client.Close() })
	k, err := gcpkms.New(t.Context(), client, recordedKey, gcpkms.Options{})
	ok(t, err)
	return k
}

// verified is the recorded answer as it would be to a question with checksums:
// the driver sends them, and whoever recorded it didn't.
func verified(r *kmspb.EncryptResponse) *kmspb.EncryptResponse {
	r.VerifiedPlaintextCrc32C, r.VerifiedAdditionalAuthenticatedDataCrc32C = true, true
	return r
}

// A real ciphertext and the checksums of real answers.
func TestGCPEncryptAndDecrypt(t *testing.T) {
	p := play(t, "TestAdditionalAuthenticatedData.replay")
	encrypted := p.encrypt("a secret", "sample AAD")
	decrypted, err := p.decrypt(encrypted.Ciphertext, "sample AAD")
	ok(t, err)

	// As it was recorded, nothing says that the key arrived whole.
	_, err = (&cloud{encrypted: encrypted}).open(t).Wrap(t.Context(), newKey(), binding(t))
	wantClass(t, "Wrap without a verified checksum", err, kek.ErrUnavailable)

	k := (&cloud{encrypted: verified(encrypted), decrypted: decrypted}).open(t)
	wrapped, err := k.Wrap(t.Context(), newKey(), binding(t))
	ok(t, err)
	if v := k.WrappedVersion(wrapped); v != "29" {
		t.Errorf("the version is %q", v)
	}
	_, err = k.Unwrap(t.Context(), wrapped, binding(t)) // its checksum is right; it is a text of 8 bytes
	wantClass(t, "Unwrap of a text", err, kek.ErrCorrupt)
}

// What Cloud KMS says to other associated data, and to what is no ciphertext.
func TestGCPDecryptionFailed(t *testing.T) {
	p := play(t, "TestAdditionalAuthenticatedData.replay")
	encrypted := p.encrypt("a secret", "sample AAD")
	_, err := p.decrypt(encrypted.Ciphertext, "sample AAD")
	ok(t, err)
	_, otherAAD := p.decrypt(encrypted.Ciphertext, "different AAD")
	_, malformed := play(t, "TestConformance/TestAs/verify_As_function.replay").decrypt([]byte("malformed cipher message"), "")
	for name, recorded := range map[string]error{"other associated data": otherAAD, "malformed": malformed} {
		if status.Code(recorded) != codes.InvalidArgument {
			t.Fatalf("%s: recorded is %v", name, recorded)
		}
		k := (&cloud{encrypted: verified(encrypted), err: recorded}).open(t)
		wrapped, err := k.Wrap(t.Context(), newKey(), binding(t))
		ok(t, err)
		_, err = k.Unwrap(t.Context(), wrapped, binding(t))
		wantClass(t, name, err, kek.ErrCorrupt)
	}
}
