//go:build live

package azurekv_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/kektest"
)

// Live tests run the suite against real keys, some hundred calls each:
//
//	export AZUREKV_TOKEN=$(az account get-access-token --resource https://vault.azure.net --query accessToken -o tsv)
//	export AZUREKV_KEY=https://NAME.vault.azure.net/keys/vault-root
//	export AZUREKV_ANOTHER_KEY=https://NAME.vault.azure.net/keys/another      # optional
//	export AZUREKV_SIGNING_KEY=https://NAME.vault.azure.net/keys/vault-sign   # for RSA keys; without it they are unsigned
//	GOWORK=off go test -tags live -run TestLive ./...
//
// For a Managed HSM the resource is https://managedhsm.azure.net and there is no
// signing key. The token needs get, wrapKey, unwrapKey (sign) on the keys; they
// are not rotated, disabled or changed.
const (
	liveToken   = "AZUREKV_TOKEN"
	liveKey     = "AZUREKV_KEY"
	liveAnother = "AZUREKV_ANOTHER_KEY"
	liveSigning = "AZUREKV_SIGNING_KEY"
)

// staticToken is a token of the az command's.
type staticToken string

func (s staticToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(s), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestLive(t *testing.T) {
	key := os.Getenv(liveKey)
	if os.Getenv(liveToken) == "" || key == "" {
		t.Skipf("%s and %s are not set", liveToken, liveKey)
	}
	h := kektest.Harness{
		Costly: true,
		New:    func(t testing.TB) kek.Wrapper { return openLive(t, key) },
		Peer:   func(t testing.TB, _ kek.Wrapper) kek.Wrapper { return openLive(t, key) },
	}
	if another := os.Getenv(liveAnother); another != "" {
		h.Another = func(t testing.TB) kek.Wrapper { return openLive(t, another) }
	}
	kektest.Run(t, h)
}

func openLive(t testing.TB, key string) *azurekv.KEK {
	t.Helper()
	vault, _, _ := strings.Cut(key, "/keys/")
	client := must(azkeys.NewClient(vault, staticToken(os.Getenv(liveToken)), nil))(t)
	o := azurekv.Options{InsecureUnsigned: true}
	if signing := os.Getenv(liveSigning); signing != "" {
		id, pemKey, err := azurekv.FetchVerifyingKey(t.Context(), client, signing, azurekv.Options{})
		ok(t, err)
		o = azurekv.Options{SigningKey: id, VerifyingKeys: must(azurekv.ParseVerifyingKeys(pemKey))(t)}
	}
	return must(azurekv.New(t.Context(), client, key, o))(t)
}
