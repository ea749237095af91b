package recorded_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
)

// recordedAWS is a KMS whose Encrypt and Decrypt are recorded answers. DescribeKey
// was not recorded: its answer is made here, for the key of the recordings.
func recordedAWS(t testing.TB, encrypt, decrypt exchange) *awskms.KEK {
	t.Helper()
	var encrypted struct{ KeyId string }
	ok(t, json.Unmarshal(encrypt.Response.Body, &encrypted))
	client := kms.New(kms.Options{
		Region:           strings.Split(encrypted.KeyId, ":")[3],
		Credentials:      credentials.NewStaticCredentialsProvider("id", "secret", ""),
		RetryMaxAttempts: 1,
		HTTPClient: transport(func(r *http.Request) (*http.Response, error) {
			switch r.Header.Get("X-Amz-Target") {
			case "TrentService.Encrypt":
				return encrypt.response(r), nil
			case "TrentService.Decrypt":
				return decrypt.response(r), nil
			}
			var described exchange
			described.Response.StatusCode = http.StatusOK
			described.Response.Header = http.Header{"Content-Type": {"application/x-amz-json-1.1"}}
			described.Response.Body = fmt.Appendf(nil, `{"KeyMetadata":{"Arn":%q,"KeyId":%q,"Enabled":true,"KeyState":"Enabled",`+
				`"KeyUsage":"ENCRYPT_DECRYPT","KeySpec":"SYMMETRIC_DEFAULT","EncryptionAlgorithms":["SYMMETRIC_DEFAULT"]}}`,
				encrypted.KeyId, encrypted.KeyId[strings.LastIndex(encrypted.KeyId, "/")+1:])
			return described.response(r), nil
		}),
	})
	k, err := awskms.New(t.Context(), client, encrypted.KeyId, awskms.Options{})
	ok(t, err)
	return k
}

// calls returns the recorded calls of an operation.
func calls(t testing.TB, name, operation string) []exchange {
	t.Helper()
	var found []exchange
	for _, e := range exchanges(t, "awskms", name) {
		if e.Request.Header.Get("X-Amz-Target") == "TrentService."+operation {
			found = append(found, e)
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no %s", name, operation)
	}
	return found
}

// A real ciphertext is taken, and what isn't a key is not, although KMS gave it.
func TestAWSEncryptAndDecrypt(t *testing.T) {
	const name = "TestConformance/TestEncryptDecrypt.replay"
	encrypt, decrypt := calls(t, name, "Encrypt")[0], calls(t, name, "Decrypt")[0]
	k := recordedAWS(t, encrypt, decrypt)
	wrapped, err := k.Wrap(t.Context(), newKey(), binding(t))
	ok(t, err)
	var real struct{ CiphertextBlob []byte }
	ok(t, json.Unmarshal(encrypt.Response.Body, &real))
	if !bytes.HasSuffix(wrapped, real.CiphertextBlob) {
		t.Error("the wrapped key doesn't end with KMS's ciphertext")
	}
	// It was recorded with a text of 21 bytes.
	_, err = k.Unwrap(t.Context(), wrapped, binding(t))
	wantClass(t, "Unwrap of a text", err, kek.ErrCorrupt)
}

// The answer of another key, as KMS gives it to whoever names that key.
func TestAWSAnswerOfAnotherKey(t *testing.T) {
	const name = "TestConformance/TestMultipleKeys.replay"
	encrypts, decrypts := calls(t, name, "Encrypt"), calls(t, name, "Decrypt")
	k := recordedAWS(t, encrypts[0], decrypts[1])
	wrapped, err := k.Wrap(t.Context(), newKey(), binding(t))
	ok(t, err)
	_, err = k.Unwrap(t.Context(), wrapped, binding(t))
	wantClass(t, "Unwrap", err, kek.ErrCorrupt)
}

// What KMS says to a ciphertext that was tampered with.
func TestAWSInvalidCiphertext(t *testing.T) {
	encrypt := calls(t, "TestConformance/TestEncryptDecrypt.replay", "Encrypt")[0]
	for _, name := range []string{"TestConformance/TestDecryptMalformedError.replay", "TestConformance/TestAs/verify_As_function.replay"} {
		for _, decrypt := range calls(t, name, "Decrypt") {
			k := recordedAWS(t, encrypt, decrypt)
			wrapped, err := k.Wrap(t.Context(), newKey(), binding(t))
			ok(t, err)
			_, err = k.Unwrap(t.Context(), wrapped, binding(t))
			wantClass(t, name, err, kek.ErrCorrupt)
			var invalid *types.InvalidCiphertextException
			if !errors.As(err, &invalid) {
				t.Errorf("%s: %v doesn't wrap the SDK's error", name, err)
			}
		}
	}
}
