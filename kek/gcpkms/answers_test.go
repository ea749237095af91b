package gcpkms_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"slices"
	"strings"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Answers that are damaged (unavailable: ask again) or can't be right (corrupt).
func TestAnswers(t *testing.T) {
	unavailable, corrupt := kek.ErrUnavailable, kek.ErrCorrupt
	other := ring + "other/cryptoKeyVersions/1"
	for _, c := range []struct {
		name         string
		tamper       gcpkmstest.Tampering
		wrap, unwrap error // nil: it works, there is nothing to see
	}{
		{"garbage", gcpkmstest.Garbage, unavailable, unavailable},
		{"truncated", gcpkmstest.Truncate, unavailable, unavailable},
		{"empty", gcpkmstest.Empty, unavailable, unavailable},
		{"wrong checksum", gcpkmstest.BadChecksum, unavailable, unavailable},
		{"no checksum", gcpkmstest.NoChecksum, unavailable, unavailable},
		{"a bit flipped", gcpkmstest.FlippedBit, unavailable, unavailable},
		{"unverified", gcpkmstest.Unverified, unavailable, nil},
		{"plaintext verified only", unverified(true, false), unavailable, nil},
		{"binding verified only", unverified(false, true), unavailable, nil},
		{"a checksum that isn't 32 bits", hugeChecksum, unavailable, unavailable},

		{"another key's name", gcpkmstest.Named(other), corrupt, nil},
		{"another key's name that starts like ours", gcpkmstest.Named(keyName + "2/cryptoKeyVersions/1"), corrupt, nil},
		{"the key's own name", gcpkmstest.Named(keyName), corrupt, nil},
		{"no name", gcpkmstest.Named(""), corrupt, nil},
		{"version 0", gcpkmstest.Named(keyName + "/cryptoKeyVersions/0"), corrupt, nil},
		{"version 01", gcpkmstest.Named(keyName + "/cryptoKeyVersions/01"), corrupt, nil},
		{"version +1", gcpkmstest.Named(keyName + "/cryptoKeyVersions/+1"), corrupt, nil},
		{"version -1", gcpkmstest.Named(keyName + "/cryptoKeyVersions/-1"), corrupt, nil},
		{"version 1/1", gcpkmstest.Named(keyName + "/cryptoKeyVersions/1/1"), corrupt, nil},
		{"a version of 65 bits", gcpkmstest.Named(keyName + "/cryptoKeyVersions/18446744073709551616"), corrupt, nil},
		{"a version of 64 bits", gcpkmstest.Named(keyName + "/cryptoKeyVersions/18446744073709551615"), nil, nil},

		{"nothing", gcpkmstest.Resized(0), corrupt, corrupt},
		{"31 bytes", gcpkmstest.Resized(31), nil, corrupt},
		{"33 bytes", gcpkmstest.Resized(33), nil, corrupt},
		{"as much as fits", gcpkmstest.Resized(4096 - 13), nil, corrupt},
		{"a byte more", gcpkmstest.Resized(4096 - 12), corrupt, corrupt},
		{"half a MiB", gcpkmstest.Resized(1 << 19), corrupt, corrupt},
		{"more than is read", gcpkmstest.Resized(1 << 20), unavailable, unavailable},
		{"8 MiB", gcpkmstest.Resized(8 << 20), unavailable, unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			b := bindingOf(t)
			wrapped := wrap(t, f.kek, secret(), b)
			restore := f.srv.Tamper(c.tamper)
			_, err := f.kek.Wrap(t.Context(), secret(), b)
			wantClass(t, err, c.wrap)
			_, err = f.kek.Unwrap(t.Context(), wrapped, b)
			wantClass(t, err, c.unwrap)
			restore()
			if _, err = f.kek.Unwrap(t.Context(), wrapped, b); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// A large answer is refused by the length in front of it, and not received.
func TestLargeAnswerIsNotReceived(t *testing.T) {
	f := newFixture(t)
	b := bindingOf(t)
	wrapped := wrap(t, f.kek, secret(), b)
	defer f.srv.Tamper(gcpkmstest.Resized(32 << 20))()
	_, err := f.kek.Unwrap(t.Context(), wrapped, b)
	wantClass(t, err, kek.ErrUnavailable)
	wantCode(t, "Unwrap", err, codes.ResourceExhausted)
}

// What the client has been given for its calls stays, options of gRPC too.
func TestClientsCallOptionsStay(t *testing.T) {
	srv := gcpkmstest.New(t)
	srv.CreateKey(keyName)
	client := must(srv.ClientAs(gcpkmstest.Owner))(t)
	var header metadata.MD
	set := []gax.CallOption{gax.WithGRPCOptions(grpc.Header(&header))}
	client.CallOptions = &kms.KeyManagementCallOptions{Encrypt: set, Decrypt: set, GetCryptoKey: set}
	k := open(t, client, keyName)
	b := bindingOf(t)
	check := func(method string) {
		t.Helper()
		if len(header) == 0 {
			t.Errorf("%s without the client's option", method)
		}
		header = nil
	}
	check("GetCryptoKey")
	wrapped := wrap(t, k, secret(), b)
	check("Encrypt")
	must(k.Unwrap(t.Context(), wrapped, b))(t)
	check("Decrypt")
}

func unverified(plaintext, aad bool) gcpkmstest.Tampering {
	return func(_ string, _, resp proto.Message) (any, error) {
		if r, ok := resp.(*kmspb.EncryptResponse); ok {
			r.VerifiedPlaintextCrc32C, r.VerifiedAdditionalAuthenticatedDataCrc32C = plaintext, aad
		}
		return resp, nil
	}
}

// hugeChecksum is right in its lower 32 bits.
func hugeChecksum(_ string, _, resp proto.Message) (any, error) {
	switch r := resp.(type) {
	case *kmspb.EncryptResponse:
		r.CiphertextCrc32C.Value |= 1 << 32
	case *kmspb.DecryptResponse:
		r.PlaintextCrc32C.Value |= 1 << 32
	}
	return resp, nil
}

// The answer to a call about another key is seen by its name.
func TestAnswerForAnotherKey(t *testing.T) {
	f := newFixture(t)
	b := bindingOf(t)
	other := open(t, f.srv.Client(), f.srv.CreateKey(ring+"other").Name())
	defer f.srv.Tamper(gcpkmstest.Swapped())()
	wrap(t, other, secret(), b)
	_, err := f.kek.Wrap(t.Context(), secret(), b)
	wantClass(t, err, kek.ErrCorrupt)
}

// The checksums of the request are sent, and those that don't match are refused
// there: what arrived wrong is not wrapped.
func TestChecksumsAreSent(t *testing.T) {
	f := newFixture(t)
	b, key := bindingOf(t), secret()
	var n int
	defer f.srv.Tamper(func(_ string, req, resp proto.Message) (any, error) {
		switch r := req.(type) {
		case *kmspb.EncryptRequest:
			n++
			if r.GetPlaintextCrc32C() == nil || r.GetAdditionalAuthenticatedDataCrc32C() == nil {
				t.Error("Encrypt without checksums")
			}
			if !slices.Equal(r.GetAdditionalAuthenticatedData(), b.AppendBytes(nil)) || !slices.Equal(r.GetPlaintext(), key) {
				t.Error("Encrypt of something else")
			}
		case *kmspb.DecryptRequest:
			n++
			if r.GetCiphertextCrc32C() == nil || r.GetAdditionalAuthenticatedDataCrc32C() == nil {
				t.Error("Decrypt without checksums")
			}
		}
		return resp, nil
	})()
	wantOpens(t, f.kek, wrap(t, f.kek, key, b), b, key)
	if n != 2 {
		t.Errorf("%d calls were seen", n)
	}
}

// What Wrap can't have made costs no call.
func TestMalformedCostsNoCall(t *testing.T) {
	f := newFixture(t)
	b := bindingOf(t)
	wrapped := wrap(t, f.kek, secret(), b)
	f.srv.ForgetCalls()
	bad := [][]byte{nil, {}, {1}, make([]byte, 13), make([]byte, 4096), make([]byte, 1<<20), slices.Concat(wrapped, wrapped), wrapped[1:]}
	for i := range len(wrapped) * 8 {
		flipped := slices.Clone(wrapped)
		flipped[i/8] ^= 1 << (i % 8)
		bad = append(bad, flipped)
	}
	for n := range wrapped {
		bad = append(bad, wrapped[:n], append(slices.Clone(wrapped), make([]byte, n+1)...))
	}
	for _, w := range bad {
		_, err := f.kek.Unwrap(t.Context(), w, b)
		wantClass(t, err, kek.ErrCorrupt)
		if got := f.kek.WrappedVersion(w); got != "" {
			t.Errorf("it tells the version %q", got)
		}
	}
	for _, key := range [][]byte{nil, {}, make([]byte, 31), make([]byte, 33), make([]byte, 1<<20)} {
		_, err := f.kek.Wrap(t.Context(), key, b)
		wantClass(t, err, kek.ErrCorrupt)
	}
	if n := f.srv.Count(""); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

// The version in front is told as it is; a database writer can change it, with
// the checksum, and reaches nothing by it.
func TestWrappedVersion(t *testing.T) {
	f := newFixture(t)
	b, key := bindingOf(t), secret()
	first := wrap(t, f.kek, key, b)
	f.key.Rotate()
	second := wrap(t, f.kek, key, b)
	rewrapped := must(f.kek.Rewrap(t.Context(), first, b))(t)
	for wrapped, want := range map[string]string{string(first): "1", string(second): "2", string(rewrapped): "2"} {
		if got := f.kek.WrappedVersion([]byte(wrapped)); got != want {
			t.Errorf("version %q, want %q", got, want)
		}
	}
	forged := relabel(first, 2)
	if got := f.kek.WrappedVersion(forged); got != "2" {
		t.Fatalf("the forged version is %q", got)
	}
	wantOpens(t, f.kek, forged, b, key)
	for _, c := range f.srv.Calls() {
		if c.Resource != keyName {
			t.Errorf("a call about %q", c.Resource)
		}
	}
}

// A server that repeats what it was sent, or says anything else, makes no error
// that tells it on.
func TestNothingSecretInErrors(t *testing.T) {
	log.SetOutput(io.Discard)
	key, b := secret(), bindingOf(t)
	for _, message := range []string{
		string(key), fmt.Sprintf("%q", key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key),
		"Bearer ya29." + strings.Repeat("Ab3_", 50), strings.Repeat("long ", 1<<10), strings.Repeat("x", 6<<10), "\x1b[31m\nforged line\r\n", "\u202e", "",
	} {
		for _, code := range []codes.Code{codes.PermissionDenied, codes.Internal, codes.InvalidArgument} {
			f := newFixture(t)
			wrapped := wrap(t, f.kek, key, b)
			f.srv.Fail("", status.Error(code, message+" "+base64.StdEncoding.EncodeToString(wrapped)))
			_, wrapErr := f.kek.Wrap(t.Context(), key, b)
			_, unwrapErr := f.kek.Unwrap(t.Context(), wrapped, b)
			for _, err := range []error{wrapErr, unwrapErr} {
				wantQuiet(t, err, key, wrapped, b)
			}
		}
	}
}

func wantQuiet(t testing.TB, err error, key, wrapped []byte, b kek.Binding) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	text := fmt.Sprintf("%v %+v", err, err)
	if len(text) > 4<<10 {
		t.Errorf("the text has %d bytes", len(text))
	}
	for _, secret := range []string{
		string(key[:8]), hex.EncodeToString(key[:8]), base64.StdEncoding.EncodeToString(key[:6]), base64.RawURLEncoding.EncodeToString(key[:6]),
		fmt.Sprintf("%q", key)[1:12], base64.StdEncoding.EncodeToString(wrapped[:6]), "ya29", "\x1b", "\n", "\u202e", b.Context["organization_id"],
	} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in %q", secret, text)
		}
	}
}
