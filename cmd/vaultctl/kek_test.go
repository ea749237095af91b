package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gcp "cloud.google.com/go/kms/apiv1"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/hashicorp/vault/api"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
	"github.com/embedvault/vault/kek/gcpkms/gcpkmstest"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/keyctx"
)

// roundTrip wraps and unwraps a key.
func roundTrip(t *testing.T, w kek.Wrapper) error {
	t.Helper()
	kc := keyctx.KeyContext{"organization_id": "org_01"}
	hash, err := kc.Hash()
	if err != nil {
		t.Fatal(err)
	}
	b := kek.Binding{KeyID: keyctx.KeyID{1}, ContextHash: hash, Purpose: keyctx.PurposeData, Version: 1, Context: kc}
	key := []byte(strings.Repeat("k", 32))
	wrapped, err := w.Wrap(t.Context(), key, b)
	if err != nil {
		return err
	}
	got, err := w.Unwrap(t.Context(), wrapped, b)
	if err == nil && string(got) != string(key) {
		t.Error("another key was unwrapped")
	}
	return err
}

// testApp is an app whose clouds are the fake servers, with this environment.
func testApp(t *testing.T, env map[string]string, args ...string) *app {
	t.Helper()
	a := newApp(strings.NewReader(""), &strings.Builder{}, &strings.Builder{}, func(name string) string { return env[name] })
	a.clouds = clouds{
		aws:   func(context.Context, string) (*kms.Client, error) { return nil, errors.New("no AWS here") },
		gcp:   func(context.Context) (*gcp.KeyManagementClient, error) { return nil, errors.New("no Google here") },
		azure: func(string) (*azkeys.Client, error) { return nil, errors.New("no Azure here") },
		hashi: func(address string) (*api.Client, error) { return nil, errors.New("no Vault here") },
	}
	root := a.root()
	if err := root.PersistentFlags().Parse(args); err != nil {
		t.Fatal(err)
	}
	return a
}

func openKEK(t *testing.T, a *app, uri string) (*lazyKEK, error) {
	t.Helper()
	o, err := a.newOpener()
	if err != nil {
		return nil, err
	}
	return o.open(uri)
}

// TestKEKURIs: the URI that each driver gives its KEK opens that KEK.
func TestKEKURIs(t *testing.T) {
	dir := t.TempDir()
	check := func(name string, a *app, uri string) {
		t.Helper()
		l, err := openKEK(t, a, uri)
		if err == nil {
			err = roundTrip(t, l)
		}
		if err != nil {
			t.Errorf("%s: %s: %v", name, uri, err)
		}
	}

	for _, name := range []string{"local", "eu.1"} {
		file := filepath.Join(dir, name)
		k, err := tinkkek.LoadOrCreate(file, tinkkek.Options{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		check("tinkkek", testApp(t, nil, "--keyset", name+"="+file), k.URI())
	}

	aws := awskmstest.New(t)
	key, multi := aws.CreateKey(awskmstest.KeyOptions{}), aws.CreateKey(awskmstest.KeyOptions{MultiRegion: true})
	a := testApp(t, nil)
	a.clouds.aws = func(_ context.Context, region string) (*kms.Client, error) {
		if region == "" {
			region = awskmstest.DefaultRegion
		}
		return aws.Client(region), nil
	}
	check("awskms", a, "aws-kms://"+key.ARN())
	check("awskms, any Region", a, "aws-kms://"+strings.Replace(multi.ARN(), ":"+multi.Region()+":", "::", 1))

	google := gcpkmstest.New(t)
	gkey := google.CreateKey("projects/my-project/locations/global/keyRings/ring/cryptoKeys/key")
	a = testApp(t, nil)
	a.clouds.gcp = func(context.Context) (*gcp.KeyManagementClient, error) { return google.Client(), nil }
	check("gcpkms", a, "gcp-kms://"+gkey.Name())

	checkAzure(t, dir, check)
	checkHashivault(t, dir, check)
}

func checkAzure(t *testing.T, dir string, check func(string, *app, string)) {
	srv := azurekvtest.New(t)
	key, err := srv.CreateKey("https://contoso.vault.azure.net/keys/root", azurekvtest.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := srv.CreateKey("https://signing.vault.azure.net/keys/sign", azurekvtest.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	pem := filepath.Join(dir, "signer.pem")
	writePublicKey(t, pem, signer.PublicKey())
	uri := "azure-kv://" + strings.TrimPrefix(key.ID(), "https://")
	for name, args := range map[string][]string{
		"azurekv, signed":   {"--azure-signing-key", signer.VersionID(), "--azure-verifying-keys", pem},
		"azurekv, unsigned": {"--azure-insecure-unsigned"},
	} {
		a := testApp(t, nil, args...)
		a.clouds.azure = srv.Client
		check(name, a, uri)
	}
}

func checkHashivault(t *testing.T, dir string, check func(string, *app, string)) {
	srv := hashivaulttest.New(t)
	srv.CreateKey("root", hashivaulttest.KeyOptions{Derived: true})
	srv.Mount("teams/a", "pay/transit")
	srv.CreateKey("deep", hashivaulttest.KeyOptions{Derived: true, Namespace: "teams/a", Mount: "pay/transit"})
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(srv.RootToken()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := func(address string) (*api.Client, error) {
		c := srv.Client("")
		return c, c.SetAddress(address)
	}
	host := strings.TrimPrefix(srv.URL(), "http://")

	a := testApp(t, map[string]string{"VAULT_ADDR": srv.URL()}, "--hashivault-token-file", host+"="+token)
	a.clouds.hashi = client
	check("hashivault", a, "hashivault://"+host+"/transit/keys/root")
	check("hashivault, namespace and mount", a, "hashivault://"+host+"/ns=teams/ns=a/pay/transit/keys/deep")

	a = testApp(t, nil, "--hashivault-address", "vault.example.com="+srv.URL(), "--hashivault-token-file", "vault.example.com="+token)
	a.clouds.hashi = client
	check("hashivault, by another name", a, "hashivault://vault.example.com/transit/keys/root")
}

// TestTokenStaysAtHome: a token is sent to no address that comes of a URI.
func TestTokenStaysAtHome(t *testing.T) {
	a := testApp(t, map[string]string{"VAULT_ADDR": "https://vault.example.com", "VAULT_TOKEN": "secret"})
	a.clouds.hashi = func(address string) (*api.Client, error) {
		t.Errorf("a client of %s was made", address)
		return nil, errors.New("no")
	}
	for _, uri := range []string{"hashivault://evil.example/transit/keys/root", "hashivault://vault.example.com:8200/transit/keys/root"} {
		l, err := openKEK(t, a, uri)
		if err != nil {
			t.Fatal(err)
		}
		if err := roundTrip(t, l); !errors.Is(err, kek.ErrUnavailable) {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

func TestKEKURIsRefused(t *testing.T) {
	a := testApp(t, nil)
	for _, uri := range []string{
		"", "nonsense", "aws-kms://", "aws-kms://alias/x", "gcp-kms://x", "azure-kv://host", "azure-kv:///keys/x",
		"hashivault://host", "hashivault://host/keys/x", "hashivault:///transit/keys/x", "hashivault://host/transit/keys/",
		"tink+aws-kms://arn", "mem-kek:x", "https://example.com", "vault-key:00",
		"tink-keyset:" + strings.Repeat("x", 600),
	} {
		if _, err := openKEK(t, a, uri); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v, want an error of usage", uri, err)
		}
	}
	if _, err := openKEK(t, testApp(t, nil), memkek.New("x").URI()); !errors.Is(err, errUsage) {
		t.Errorf("memkek: %v", err)
	}
}

// TestKEKThatCantBeOpened: its errors have a class, and it is not dialed by each key.
func TestKEKThatCantBeOpened(t *testing.T) {
	dials := 0
	l := &lazyKEK{uri: "x:y", dial: func(context.Context) (kek.Wrapper, error) {
		dials++
		return nil, hashivault.ErrOptions
	}}
	for range 3 {
		if err := roundTrip(t, l); !errors.Is(err, kek.ErrUnavailable) || !errors.Is(err, hashivault.ErrOptions) {
			t.Errorf("%v", err)
		}
	}
	if dials != 1 {
		t.Errorf("it was dialed %d times", dials)
	}
	other := &lazyKEK{uri: "x:z", dial: func(context.Context) (kek.Wrapper, error) { return memkek.New("y"), nil }}
	if err := roundTrip(t, other); !errors.Is(err, kek.ErrUnavailable) {
		t.Errorf("a KEK with another URI: %v", err)
	}
}
