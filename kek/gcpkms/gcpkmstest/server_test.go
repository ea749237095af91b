package gcpkmstest_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"sync"
	"testing"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const name = "projects/my-project/locations/global/keyRings/ring/cryptoKeys/key"

func encrypt(c *kms.KeyManagementClient, plaintext, aad []byte) ([]byte, error) {
	resp, err := c.Encrypt(context.Background(), &kmspb.EncryptRequest{Name: name, Plaintext: plaintext, AdditionalAuthenticatedData: aad})
	return resp.GetCiphertext(), err
}

func decrypt(c *kms.KeyManagementClient, ciphertext, aad []byte) ([]byte, error) {
	resp, err := c.Decrypt(context.Background(), &kmspb.DecryptRequest{Name: name, Ciphertext: ciphertext, AdditionalAuthenticatedData: aad})
	return resp.GetPlaintext(), err
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: got %v, %v; want %v", what, got, err, want)
	}
}

func TestEncryptDecrypt(t *testing.T) {
	srv := gcpkmstest.New(t)
	key, c := srv.CreateKey(name), srv.Client()
	old, err := encrypt(c, []byte("secret"), []byte("aad"))
	wantCode(t, "encrypt", err, codes.OK)
	key.Rotate()
	got, err := decrypt(c, old, []byte("aad"))
	if err != nil || string(got) != "secret" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err = decrypt(c, old, []byte("other"))
	wantCode(t, "other associated data", err, codes.InvalidArgument)
	for i := range old {
		bad := bytes.Clone(old)
		bad[i] ^= 1
		_, err = decrypt(c, bad, []byte("aad"))
		wantCode(t, fmt.Sprintf("byte %d changed", i), err, codes.InvalidArgument)
		_, err = decrypt(c, old[:i], []byte("aad"))
		wantCode(t, fmt.Sprintf("the first %d bytes", i), err, codes.InvalidArgument)
	}
	key.SetState(1, kmspb.CryptoKeyVersion_DESTROYED)
	key.SetState(1, kmspb.CryptoKeyVersion_ENABLED)
	_, err = decrypt(c, old, []byte("aad"))
	wantCode(t, "destroyed", err, codes.FailedPrecondition)
	key.SetPrimary(1)
	_, err = encrypt(c, nil, nil)
	wantCode(t, "primary destroyed", err, codes.FailedPrecondition)
	key.SetPrimary(99)
	key.SetState(99, kmspb.CryptoKeyVersion_DISABLED)
	key.Delete()
	key.Disable()
	_, err = encrypt(c, nil, nil)
	wantCode(t, "deleted", err, codes.NotFound)
}

func TestLimitsAndChecksums(t *testing.T) {
	srv := gcpkmstest.New(t)
	srv.CreateKeyWith(name, gcpkmstest.KeyOptions{Protection: kmspb.ProtectionLevel_HSM})
	c := srv.Client()
	_, err := encrypt(c, make([]byte, 8<<10), nil)
	wantCode(t, "8 KiB", err, codes.OK)
	_, err = encrypt(c, make([]byte, 8<<10), []byte{1})
	wantCode(t, "a byte more", err, codes.InvalidArgument)
	_, err = c.Encrypt(t.Context(), &kmspb.EncryptRequest{Name: name, Plaintext: []byte("a"), PlaintextCrc32C: wrapperspb.Int64(1)})
	wantCode(t, "a wrong checksum", err, codes.InvalidArgument)
	resp, err := c.Encrypt(t.Context(), &kmspb.EncryptRequest{Name: name})
	if err != nil || resp.GetVerifiedPlaintextCrc32C() || resp.GetVerifiedAdditionalAuthenticatedDataCrc32C() {
		t.Errorf("without checksums: %v, %v", resp, err)
	}
}

func TestPrincipals(t *testing.T) {
	srv := gcpkmstest.New(t)
	key := srv.CreateKey(name)
	c, err := srv.ClientAs("app")
	if err != nil {
		t.Fatal(err)
	}
	_, err = encrypt(c, nil, nil)
	wantCode(t, "a stranger", err, codes.PermissionDenied)
	key.Grant("app", gcpkmstest.RoleEncrypter)
	ciphertext, err := encrypt(c, nil, nil)
	wantCode(t, "an encrypter", err, codes.OK)
	_, err = decrypt(c, ciphertext, nil)
	wantCode(t, "an encrypter decrypts", err, codes.PermissionDenied)
	key.Grant("app", gcpkmstest.PermissionDecrypt)
	_, err = decrypt(c, ciphertext, nil)
	wantCode(t, "with the permission", err, codes.OK)
	key.Revoke("app")
	_, err = decrypt(c, ciphertext, nil)
	wantCode(t, "all revoked", err, codes.PermissionDenied)
	if api, ok := apierror.FromError(err); !ok || api.Reason() != "IAM_PERMISSION_DENIED" {
		t.Errorf("details: %v", err)
	}
	want := []string{"app Encrypt PermissionDenied", "app Encrypt OK", "app Decrypt PermissionDenied", "app Decrypt OK", "app Decrypt PermissionDenied"}
	for i, call := range srv.Calls() {
		if got := fmt.Sprint(call.Principal, " ", call.Method, " ", call.Code); got != want[i] || call.Resource != name {
			t.Errorf("call %d is %q of %q, want %q", i, got, call.Resource, want[i])
		}
	}
	if srv.Count("Decrypt") != 3 || srv.Count("") != len(want) {
		t.Errorf("counts: %d, %d", srv.Count("Decrypt"), srv.Count(""))
	}
}

func TestThrottleIsEven(t *testing.T) {
	srv := gcpkmstest.New(t)
	srv.CreateKey(name)
	for _, percent := range []int{0, 1, 33, 50, 100} {
		srv.Throttle(percent)
		refused := 0
		for range 100 {
			if _, err := encrypt(srv.Client(), nil, nil); status.Code(err) == codes.ResourceExhausted {
				refused++
			}
		}
		if refused != percent {
			t.Errorf("%d of 100 refused, want %d", refused, percent)
		}
	}
}

func TestSlow(t *testing.T) {
	srv := gcpkmstest.New(t)
	srv.CreateKey(name)
	srv.Latency(20 * time.Millisecond)
	start := time.Now()
	_, err := encrypt(srv.Client(), nil, nil)
	if took := time.Since(start); err != nil || took < 20*time.Millisecond {
		t.Errorf("it took %v: %v", took, err)
	}
	srv.Latency(0)
	restore := srv.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err = srv.Client().GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: name}); err == nil || ctx.Err() == nil {
		t.Errorf("hanging: %v", err)
	}
	done := make(chan error)
	go func() {
		_, err := encrypt(srv.Client(), nil, nil)
		done <- err
	}()
	for srv.Count("Encrypt") < 2 {
		time.Sleep(time.Millisecond)
	}
	restore()
	wantCode(t, "after it", <-done, codes.OK)
}

// Close ends what hangs, and may be called twice, and at once with calls.
func TestClose(t *testing.T) {
	srv, err := gcpkmstest.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	srv.CreateKey(name)
	srv.Hang()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := srv.Client().Encrypt(ctx, &kmspb.EncryptRequest{Name: name})
			if err == nil || ctx.Err() != nil {
				t.Errorf("a call that hung: %v", err)
			}
		})
	}
	for srv.Count("") < 4 {
		time.Sleep(time.Millisecond)
	}
	srv.Close()
	srv.Close()
	wg.Wait()
}

func ExampleServer() {
	srv, err := gcpkmstest.NewServer()
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	key := srv.CreateKey("projects/my-project/locations/global/keyRings/ring/cryptoKeys/key")

	key.Disable()
	_, err = srv.Client().Encrypt(context.Background(), &kmspb.EncryptRequest{Name: key.Name()})
	fmt.Println(status.Code(err))
	for _, call := range srv.Calls() {
		fmt.Println(call.Principal, call.Method, call.Code)
	}
	// Output:
	// FailedPrecondition
	// owner@gcpkmstest.iam.gserviceaccount.com Encrypt FailedPrecondition
}
