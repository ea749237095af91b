package recorded_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
)

const azureVault = "go-cdk.vault.azure.net"

// azure is a vault of ours, with the recordings' name, whose answers to unwrapKey
// are recorded ones once there are any.
type azure struct {
	kek      *azurekv.KEK
	recorded []exchange
}

func recordedAzure(t *testing.T) *azure {
	t.Helper()
	srv := azurekvtest.New(t)
	key, err := srv.CreateKey("https://"+azureVault+"/keys/test1", azurekvtest.RSA2048)
	ok(t, err)
	a := &azure{}
	options := srv.ClientOptions()
	inner := options.Transport
	options.Transport = transport(func(r *http.Request) (*http.Response, error) {
		if len(a.recorded) == 0 || !strings.HasSuffix(r.URL.Path, "/unwrapkey") {
			return inner.Do(r)
		}
		next := a.recorded[0]
		a.recorded = a.recorded[1:]
		return next.response(r), nil
	})
	client, err := azkeys.NewClient("https://"+azureVault, srv.Credential(azurekvtest.App), options)
	ok(t, err)
	a.kek, err = azurekv.New(t.Context(), client, key.ID(), azurekv.Options{InsecureUnsigned: true})
	ok(t, err)
	return a
}

// What Key Vault says to a ciphertext that was tampered with. It was recorded of
// decrypt, which is the same operation as unwrapKey with another name.
func TestAzureBadParameter(t *testing.T) {
	a := recordedAzure(t)
	wrapped, err := a.kek.Wrap(t.Context(), newKey(), binding(t))
	ok(t, err)
	n := 0
	for _, e := range exchanges(t, "azurekeyvault", "TestConformance/TestDecryptMalformedError.replay") {
		if !strings.Contains(e.Request.URL, "/decrypt") || e.Response.StatusCode != http.StatusBadRequest {
			continue
		}
		n++
		a.recorded = []exchange{e}
		_, err = a.kek.Unwrap(t.Context(), wrapped, binding(t))
		wantClass(t, "Unwrap", err, kek.ErrCorrupt)
		var answer *azcore.ResponseError
		if !errors.As(err, &answer) || answer.ErrorCode != "BadParameter" {
			t.Errorf("%v doesn't wrap the SDK's error", err)
		}
	}
	if n == 0 {
		t.Fatal("nothing was recorded")
	}
}

// The challenge by which Key Vault asks for a token, and then its answer: the
// SDK takes it up, with the recorded headers, and the driver sees only the end.
func TestAzureChallenge(t *testing.T) {
	const name = "TestConformance/TestAs/verify_As_function.replay"
	a := recordedAzure(t)
	wrapped, err := a.kek.Wrap(t.Context(), newKey(), binding(t))
	ok(t, err)
	a.recorded = exchanges(t, "azurekeyvault", name)
	if len(a.recorded) != 2 || a.recorded[0].Response.StatusCode != http.StatusUnauthorized {
		t.Fatalf("recorded are %d answers", len(a.recorded))
	}
	_, err = a.kek.Unwrap(t.Context(), wrapped, binding(t))
	wantClass(t, "Unwrap", err, kek.ErrCorrupt)
	if len(a.recorded) != 0 {
		t.Errorf("%d recorded answers were not asked for", len(a.recorded))
	}
}

// The challenge alone: the token that was sent isn't taken.
func TestAzureUnauthorized(t *testing.T) {
	a := recordedAzure(t)
	wrapped, err := a.kek.Wrap(t.Context(), newKey(), binding(t))
	ok(t, err)
	challenge := exchanges(t, "azurekeyvault", "TestConformance/TestAs/verify_As_function.replay")[0]
	a.recorded = []exchange{challenge, challenge, challenge}
	_, err = a.kek.Unwrap(t.Context(), wrapped, binding(t))
	wantClass(t, "Unwrap", err, kek.ErrUnavailable)
}

// A real answer with what isn't a key: a text of 21 bytes, under a version that
// isn't the one that was asked.
func TestAzureDecrypt(t *testing.T) {
	a := recordedAzure(t)
	wrapped, err := a.kek.Wrap(t.Context(), newKey(), binding(t))
	ok(t, err)
	all := exchanges(t, "azurekeyvault", "TestConformance/TestEncryptDecrypt.replay")
	a.recorded = all[len(all)-1:]
	_, err = a.kek.Unwrap(t.Context(), wrapped, binding(t))
	wantClass(t, "Unwrap", err, kek.ErrCorrupt)
}
