package gcpkms_test

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"net"
	"strconv"
	"strings"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/internal/vectors"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
	"github.com/embedvault/vault/keyctx"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// vector is a vector of gcpkms_v1.json. Valid: Wrap of Unwrapped sends what the
// fields say and, given the answer that they say, returns Wrapped; Unwrap the
// other way round. Corrupt: Unwrap refuses Wrapped without a call, and the fields
// of answers are empty.
type vector struct {
	Name   string         `json:"name"`
	Result vectors.Result `json:"result"`
	vectors.Key
	Binding vectors.Hex `json:"binding"`
	URI     string      `json:"uri"`

	KeyName          string      `json:"key_name"`     // EncryptRequest.name, DecryptRequest.name
	VersionName      string      `json:"version_name"` // EncryptResponse.name
	KeyVersion       uint64      `json:"key_version,string"`
	AAD              vectors.Hex `json:"additional_authenticated_data"`
	AADCRC32C        uint32      `json:"additional_authenticated_data_crc32c"`
	PlaintextCRC32C  uint32      `json:"plaintext_crc32c"`
	Ciphertext       vectors.Hex `json:"ciphertext"`
	CiphertextCRC32C uint32      `json:"ciphertext_crc32c"`

	Wrapped   vectors.Hex `json:"wrapped"`
	Unwrapped vectors.Hex `json:"unwrapped"`
}

// TestVectors checks the driver against the committed vectors, and the vectors
// against themselves.
func TestVectors(t *testing.T) {
	vs := must(vectors.Read[vector]("gcpkms_v1.json"))(t)
	names, results := map[string]bool{}, map[vectors.Result]int{}
	for _, v := range vs {
		if names[v.Name] {
			t.Errorf("two vectors are called %q", v.Name)
		}
		names[v.Name] = true
		results[v.Result]++
		t.Run(v.Name, func(t *testing.T) {
			v.checkKey(t)
			fixed := &fixedServer{v: v}
			k := must(gcpkms.New(t.Context(), fixed.start(t), v.KeyName, gcpkms.Options{SkipLookup: true}))(t)
			if k.URI() != v.URI {
				t.Errorf("the URI is %q, want %q", k.URI(), v.URI)
			}
			switch v.Result {
			case vectors.Valid:
				v.checkValid(t, k)
			case vectors.Corrupt:
				_, err := k.Unwrap(t.Context(), v.Wrapped, v.bound())
				wantClass(t, err, kek.ErrCorrupt)
				if fixed.calls != 0 || k.WrappedVersion(v.Wrapped) != "" {
					t.Errorf("%d calls were made; version %q", fixed.calls, k.WrappedVersion(v.Wrapped))
				}
			default:
				t.Errorf("unknown result %q", v.Result)
			}
		})
	}
	if results[vectors.Valid] < 5 || results[vectors.Corrupt] < 10 {
		t.Errorf("too few vectors: %v", results)
	}
}

func (v vector) bound() kek.Binding {
	return kek.Binding{KeyID: keyctx.KeyID(v.KeyID), ContextHash: keyctx.Hash(v.ContextHash),
		Purpose: keyctx.Purpose(v.Purpose), Version: v.Version, Context: v.Context}
}

// checkKey computes again what follows from the context and its key.
func (v vector) checkKey(t *testing.T) {
	t.Helper()
	hash := must(keyctx.KeyContext(v.Context).Hash())(t)
	info := append([]byte("vault/v1/kid"), hash[:]...)
	info = append(info, v.Purpose)
	info = binary.BigEndian.AppendUint32(info, v.Version)
	id := must(hkdf.Expand(sha256.New, v.ContextKey, string(info), 32))(t)
	if !bytes.Equal(hash[:], v.ContextHash) || !bytes.Equal(id, v.KeyID) {
		t.Errorf("context hash %x, key ID %x", hash, id)
	}
	if b := v.bound().AppendBytes(nil); !bytes.Equal(b, v.Binding) || v.URI != "gcp-kms://"+v.KeyName {
		t.Errorf("binding %x, URI %q", b, v.URI)
	}
}

func (v vector) checkValid(t *testing.T, k *gcpkms.KEK) {
	t.Helper()
	sum := func(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
	if !bytes.Equal(v.AAD, v.Binding) || sum(v.AAD) != v.AADCRC32C || sum(v.Unwrapped) != v.PlaintextCRC32C || sum(v.Ciphertext) != v.CiphertextCRC32C {
		t.Error("the vector's checksums or associated data are wrong")
	}
	if want := v.KeyName + "/cryptoKeyVersions/" + strconv.FormatUint(v.KeyVersion, 10); v.VersionName != want {
		t.Errorf("the version's name is %q, want %q", v.VersionName, want)
	}
	wrapped, err := k.Wrap(t.Context(), v.Unwrapped, v.bound())
	if err != nil || !bytes.Equal(wrapped, v.Wrapped) {
		t.Errorf("wrapped %x, error %v", wrapped, err)
	}
	got, err := k.Unwrap(t.Context(), v.Wrapped, v.bound())
	if err != nil || !bytes.Equal(got, v.Unwrapped) {
		t.Errorf("unwrapped %d bytes, error %v", len(got), err)
	}
	if got := k.WrappedVersion(v.Wrapped); got != strconv.FormatUint(v.KeyVersion, 10) {
		t.Errorf("the version is %q", got)
	}
}

// fixedServer answers to what a vector says with what it says, and to nothing
// else.
type fixedServer struct {
	kmspb.UnimplementedKeyManagementServiceServer
	v     vector
	calls int
}

func (s *fixedServer) start(t testing.TB) *kms.KeyManagementClient {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	g := grpc.NewServer()
	kmspb.RegisterKeyManagementServiceServer(g, s)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return clientOf(t, l.Addr().String(), insecure.NewCredentials())
}

func sumIs(got *wrapperspb.Int64Value, want uint32) bool {
	return got != nil && got.GetValue() == int64(want)
}

func (s *fixedServer) Encrypt(_ context.Context, r *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	s.calls++
	if r.GetName() != s.v.KeyName || !bytes.Equal(r.GetPlaintext(), s.v.Unwrapped) || !bytes.Equal(r.GetAdditionalAuthenticatedData(), s.v.AAD) ||
		!sumIs(r.GetPlaintextCrc32C(), s.v.PlaintextCRC32C) || !sumIs(r.GetAdditionalAuthenticatedDataCrc32C(), s.v.AADCRC32C) {
		return nil, status.Error(codes.Internal, "not the vector's request")
	}
	return &kmspb.EncryptResponse{Name: s.v.VersionName, Ciphertext: s.v.Ciphertext, CiphertextCrc32C: wrapperspb.Int64(int64(s.v.CiphertextCRC32C)),
		VerifiedPlaintextCrc32C: true, VerifiedAdditionalAuthenticatedDataCrc32C: true}, nil
}

func (s *fixedServer) Decrypt(_ context.Context, r *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	s.calls++
	if r.GetName() != s.v.KeyName || !bytes.Equal(r.GetCiphertext(), s.v.Ciphertext) || !bytes.Equal(r.GetAdditionalAuthenticatedData(), s.v.AAD) ||
		!sumIs(r.GetCiphertextCrc32C(), s.v.CiphertextCRC32C) || !sumIs(r.GetAdditionalAuthenticatedDataCrc32C(), s.v.AADCRC32C) {
		return nil, status.Error(codes.Internal, "not the vector's request")
	}
	return &kmspb.DecryptResponse{Plaintext: s.v.Unwrapped, PlaintextCrc32C: wrapperspb.Int64(int64(s.v.PlaintextCRC32C))}, nil
}

// A wrapped key of a vector's is no longer than it has to be.
func TestOverhead(t *testing.T) {
	vs := must(vectors.Read[vector]("gcpkms_v1.json"))(t)
	for _, v := range vs {
		if v.Result == vectors.Valid && (len(v.Wrapped) != 13+len(v.Ciphertext) || !strings.HasPrefix(v.URI, "gcp-kms://projects/")) {
			t.Errorf("%s: %d bytes for a ciphertext of %d", v.Name, len(v.Wrapped), len(v.Ciphertext))
		}
	}
}
