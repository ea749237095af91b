package azurekvtest_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
)

const id = "https://contoso.vault.azure.net/keys/k"

func setup(t *testing.T) (*azurekvtest.Server, *azurekvtest.Key, *azkeys.Client) {
	t.Helper()
	srv := azurekvtest.New(t)
	key, err := srv.CreateKey(id, azurekvtest.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	client, err := srv.Client("contoso.vault.azure.net")
	if err != nil {
		t.Fatal(err)
	}
	return srv, key, client
}

func wrap(client *azkeys.Client, version string) (azkeys.WrapKeyResponse, error) {
	return client.WrapKey(context.Background(), "k", version, azkeys.KeyOperationParameters{
		Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: []byte("some key"),
	}, nil)
}

// wantStatus checks the status and code of an SDK error; 0 is success.
func wantStatus(t *testing.T, err error, status int, code string) {
	t.Helper()
	var re *azcore.ResponseError
	switch {
	case status == 0 && err != nil:
		t.Errorf("got %v", err)
	case status != 0 && (!errors.As(err, &re) || re.StatusCode != status || re.ErrorCode != code):
		t.Errorf("got %v, want %d %s", err, status, code)
	}
}

func TestOperations(t *testing.T) {
	srv, key, client := setup(t)
	first := key.Version()
	if err := key.Rotate(); err != nil {
		t.Fatal(err)
	}
	wrapped, err := wrap(client, "")
	wantStatus(t, err, 0, "")
	if wrapped.KID.Name() != "k" || wrapped.KID.Version() != key.Version() || string(*wrapped.KID) != key.VersionID() {
		t.Errorf("kid %q", *wrapped.KID)
	}
	unwrap := func(version string) ([]byte, error) {
		r, err := client.UnwrapKey(t.Context(), "k", version, azkeys.KeyOperationParameters{
			Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: wrapped.Result,
		}, nil)
		return r.Result, err
	}
	got, err := unwrap(key.Version())
	wantStatus(t, err, 0, "")
	if !bytes.Equal(got, []byte("some key")) {
		t.Errorf("got %q", got)
	}
	_, err = unwrap(first)
	wantStatus(t, err, http.StatusBadRequest, "BadParameter")
	_, err = unwrap("0123456789abcdef0123456789abcdef")
	wantStatus(t, err, http.StatusNotFound, "KeyNotFound")

	versions := 0
	for pager := client.NewListKeyPropertiesVersionsPager("k", nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		wantStatus(t, err, 0, "")
		versions += len(page.Value)
	}
	if versions != 2 {
		t.Errorf("%d versions, want 2", versions)
	}
	if n := srv.Calls(azurekvtest.UnwrapKey); n != 3 {
		t.Errorf("%d calls of unwrapKey, want 3", n)
	}
	log := srv.Log()
	if e := log[0]; e.Operation != "KeyWrap" || e.Identity != azurekvtest.App || e.Key != id || e.Status != 200 || e.Result != "OK" || e.CallerIP == "" {
		t.Errorf("logged %+v", e)
	}
	if e := log[2]; e.Operation != "KeyUnwrap" || e.Key != id+"/"+first || e.Status != 400 || e.Result != "Bad Request" {
		t.Errorf("logged %+v", e)
	}
}

// Names are the whole of what is asked: a vault has no other vault's keys.
func TestVaultsAreApart(t *testing.T) {
	srv, _, _ := setup(t)
	other, err := srv.Client("other.vault.azure.net")
	if err != nil {
		t.Fatal(err)
	}
	_, err = wrap(other, "")
	wantStatus(t, err, http.StatusNotFound, "KeyNotFound")
	if _, err := srv.CreateKey(id, azurekvtest.RSA2048); err == nil {
		t.Error("a second key of the name was made")
	}
	for _, bad := range []string{"", "k", "http://contoso.vault.azure.net/keys/k", id + "/v", "https://contoso.vault.azure.net/keys/K"} {
		if _, err := srv.CreateKey(bad, azurekvtest.RSA2048); err == nil {
			t.Errorf("%q: made", bad)
		}
	}
	if _, err := srv.CreateKey(id+"2", "RSA-512"); err == nil {
		t.Error("a key of 512 bits was made")
	}
}

func TestDenyIsForOnePrincipal(t *testing.T) {
	srv, key, app := setup(t)
	reader, err := srv.ClientAs("reader", "contoso.vault.azure.net")
	if err != nil {
		t.Fatal(err)
	}
	restore := key.Deny("reader", azurekvtest.WrapKey)
	_, err = wrap(reader, "")
	wantStatus(t, err, http.StatusForbidden, "Forbidden")
	_, err = wrap(app, "")
	wantStatus(t, err, 0, "")
	_, err = reader.GetKey(t.Context(), "k", "", nil)
	wantStatus(t, err, 0, "")
	restore()
	_, err = wrap(reader, "")
	wantStatus(t, err, 0, "")
}

// Faults are spread evenly, counted, and taken back.
func TestFaultsAreCounted(t *testing.T) {
	srv, _, client := setup(t)
	failures := func(n int) (failed int) {
		for range n {
			if _, err := wrap(client, ""); err != nil {
				failed++
			}
		}
		return failed
	}
	restore := srv.Inject(azurekvtest.Throttled(25))
	if n := failures(40); n != 10 {
		t.Errorf("25 of 100: %d of 40 failed", n)
	}
	restore()
	restore()
	if n := failures(5); n != 0 {
		t.Errorf("restored: %d failed", n)
	}
	defer srv.Inject(azurekvtest.Fault{Times: 3, Drop: true})()
	if n := failures(10); n != 3 {
		t.Errorf("3 times: %d failed", n)
	}
	defer srv.Inject(azurekvtest.Fault{Op: azurekvtest.Sign, Status: 500})()
	defer srv.Inject(azurekvtest.Fault{Key: id + "x", Status: 500})()
	if n := failures(3); n != 0 {
		t.Errorf("faults of others: %d failed", n)
	}
}

func TestDelay(t *testing.T) {
	srv, _, client := setup(t)
	defer srv.Inject(azurekvtest.Fault{Delay: 50 * time.Millisecond})()
	start := time.Now()
	_, err := wrap(client, "")
	wantStatus(t, err, 0, "")
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("it took %v", took)
	}
}

// The challenge passes azkeys' check of the resource, which is not switched off;
// a client with another host name than the certificate's gets nowhere.
func TestCertificateAndChallenge(t *testing.T) {
	srv, _, _ := setup(t)
	for host, good := range map[string]bool{
		"contoso.vault.azure.net": true, "contoso.managedhsm.azure.net": true, "contoso.vault.azure.cn": true,
		"contoso.evil.example": false, "127.0.0.1": false,
	} {
		client, err := srv.Client(host)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.GetKey(t.Context(), "nothing", "", nil)
		var re *azcore.ResponseError
		if got := errors.As(err, &re) && re.ErrorCode == "KeyNotFound"; got != good {
			t.Errorf("%s: %v", host, err)
		}
	}
}

// Close ends what hangs, and may be called twice.
func TestCloseEndsWhatHangs(t *testing.T) {
	srv, err := azurekvtest.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := srv.CreateKey(id, azurekvtest.RSA2048); err != nil {
		t.Fatal(err)
	}
	client, err := srv.Client("contoso.vault.azure.net")
	if err != nil {
		t.Fatal(err)
	}
	srv.Inject(azurekvtest.Fault{Hang: true})
	done := make(chan error, 1)
	go func() { _, err := wrap(client, ""); done <- err }()
	time.Sleep(20 * time.Millisecond)
	srv.Close()
	srv.Close()
	select {
	case err := <-done:
		if err == nil {
			t.Error("it was answered")
		}
	case <-time.After(10 * time.Second):
		t.Error("it hangs on")
	}
}
