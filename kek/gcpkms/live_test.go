//go:build live

package gcpkms_test

import (
	"os"
	"testing"

	kms "cloud.google.com/go/kms/apiv1"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/gcpkms"
	"github.com/embedvault/vault/kek/kektest"
)

// The suite against Google Cloud KMS itself:
//
//	VAULT_LIVE_GCP_KEY=projects/…/cryptoKeys/…  VAULT_LIVE_GCP_OTHER_KEY=… \
//	go test -tags live -run TestLive .
//
// with Application Default Credentials of a principal that has
// roles/cloudkms.cryptoKeyEncrypterDecrypter on both keys (the second one may be
// left out). It makes some hundred calls and changes neither key. A key in a
// location or with a name that has "eu" in it fails one check of the suite's,
// which looks for that value in errors.
func TestLive(t *testing.T) {
	name, other := os.Getenv("VAULT_LIVE_GCP_KEY"), os.Getenv("VAULT_LIVE_GCP_OTHER_KEY")
	if name == "" {
		t.Skip("VAULT_LIVE_GCP_KEY is not set")
	}
	client := must(kms.NewKeyManagementClient(t.Context()))(t)
	t.Cleanup(func() { _ = client.Close() })
	with := func(name string) func(testing.TB) kek.Wrapper {
		return func(t testing.TB) kek.Wrapper {
			return must(gcpkms.New(t.Context(), client, name, gcpkms.Options{}))(t)
		}
	}
	h := kektest.Harness{
		New:    with(name),
		Peer:   func(t testing.TB, _ kek.Wrapper) kek.Wrapper { return with(name)(t) },
		Costly: true,
	}
	if other != "" {
		h.Another = with(other)
	}
	kektest.Run(t, h)
}
