package azurekv_test

import (
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
)

// TestKeyIdentifiers: one spelling of each key is taken, and everything else is
// refused before any call.
func TestKeyIdentifiers(t *testing.T) {
	srv := azurekvtest.New(t)
	client := must(srv.Client(host))(t)
	for _, id := range []string{
		"", "/", "https://", "vault-root", "https://" + host, "https://" + host + "/", "https://" + host + "/keys", "https://" + host + "/keys/",
		rootID + "/", rootID + "//", rootID + "/0123456789abcdef0123456789abcdef", // a version
		rootID + "/0123456789ABCDEF0123456789abcdef", rootID + "/latest", rootID + "/../x", rootID + "?api-version=1", rootID + "#x", rootID + " ", rootID + "\n", rootID + "\x00",
		"http://" + host + "/keys/vault-root", "HTTPS://" + host + "/keys/vault-root", " " + rootID, "azure-kv://" + host + "/keys/vault-root", "//" + host + "/keys/vault-root",
		"https://" + host + "/secrets/vault-root", "https://" + host + "/Keys/vault-root", "https://" + host + "//keys/vault-root", "https://" + host + "/keys//vault-root",
		"https://" + host + "/keys/Vault-Root", "https://" + host + "/keys/vault_root", "https://" + host + "/keys/vault.root", "https://" + host + "/keys/..", "https://" + host + "/keys/%2e%2e",
		"https://" + host + "/keys/a%2fb", "https://" + host + "/keys/a%2Fb", "https://" + host + "/keys/a\\b", "https://" + host + "/keys/a;b", "https://" + host + "/keys/cl\u00e9",
		"https://" + host + "/keys/" + strings.Repeat("a", 128),
		"https://Contoso.vault.azure.net/keys/vault-root", "https://" + host + "./keys/vault-root", "https://" + host + ":443/keys/vault-root", "https://" + host + ":8443/keys/vault-root",
		"https://user@" + host + "/keys/vault-root", "https://user:pw@" + host + "/keys/vault-root", "https://evil.example@" + host + "/keys/vault-root",
		"https://evil.example/keys/vault-root", "https://" + host + ".evil.example/keys/vault-root", "https://evilvault.azure.net/keys/vault-root", "https://vault.azure.net/keys/vault-root",
		"https://.vault.azure.net/keys/vault-root", "https://a.b.vault.azure.net/keys/vault-root", "https://-a.vault.azure.net/keys/vault-root", "https://a-.vault.azure.net/keys/vault-root",
		"https://" + strings.Repeat("a", 64) + ".vault.azure.net/keys/vault-root",
		"https://127.0.0.1/keys/vault-root", "https://2130706433/keys/vault-root", "https://[::1]/keys/vault-root", "https://localhost/keys/vault-root", "https://169.254.169.254/keys/vault-root",
		"https://contoso.vault.azure.net%2eevil.example/keys/vault-root", "https://cont\u043eso.vault.azure.net/keys/vault-root", strings.Repeat("https://", 10000),
	} {
		_, err := azurekv.New(t.Context(), client, id, azurekv.Options{InsecureUnsigned: true})
		wantError(t, err, azurekv.ErrOptions)
		if err != nil && len(err.Error()) > 1<<10 {
			t.Errorf("the error for %.50q has %d bytes", id, len(err.Error()))
		}
		_, _, err = azurekv.FetchVerifyingKey(t.Context(), client, strings.TrimSuffix(id, "/0123456789abcdef0123456789abcdef")+"/", azurekv.Options{})
		wantError(t, err, azurekv.ErrOptions)
	}
	if n := srv.Calls(""); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

func TestHosts(t *testing.T) {
	srv := azurekvtest.New(t)
	for h, suffix := range map[string]string{
		"contoso.vault.azure.net": "", "contoso.managedhsm.azure.net": "", "c0-n.vault.azure.cn": "", "contoso.vault.usgovcloudapi.net": "",
		"contoso.vault.stack.example": "vault.stack.example",
	} {
		id := "https://" + h + "/keys/" + strings.Repeat("a", 127)
		must(srv.CreateKey(id, azurekvtest.AES256))(t)
		client := must(srv.Client(h))(t)
		k := must(azurekv.New(t.Context(), client, id, azurekv.Options{HostSuffix: suffix}))(t)
		if want := "azure-kv" + strings.TrimPrefix(id, "https"); k.URI() != want {
			t.Errorf("URI %q, want %q", k.URI(), want)
		}
	}
	client := must(srv.Client(host))(t)
	for _, suffix := range []string{"x", ".vault.azure.net", "vault.azure.net.", "Vault.azure.net", "*.azure.net", "a..b", "a.b:443", strings.Repeat("a.", 100) + "b", "vault.stack.example"} {
		_, err := azurekv.New(t.Context(), client, rootID, azurekv.Options{HostSuffix: suffix, InsecureUnsigned: true})
		wantError(t, err, azurekv.ErrOptions)
	}
}

// Key Vault's names are case-insensitive, and it answers with the spelling that a
// key was made with.
func TestAnswerInOtherCase(t *testing.T) {
	e := newEnv(t, symmetric)
	key := secret()
	defer e.srv.Inject(azurekvtest.OfAnotherKey("https://Contoso.ManagedHSM.Azure.Net/keys/Vault-Root/" + e.key.Version()))()
	wantOpens(t, e.kek, wrap(t, e.kek, key), key)
}

// A client of another vault than the key's is found out at once: the host is
// compared, never followed.
func TestClientOfAnotherVault(t *testing.T) {
	e := newEnv(t, unsigned)
	must(e.srv.CreateKey("https://other.vault.azure.net/keys/vault-root", azurekvtest.RSA2048))(t)
	other := must(e.srv.Client("other.vault.azure.net"))(t)
	_, err := azurekv.New(t.Context(), other, rootID, e.options)
	if err == nil {
		t.Fatal("it was taken")
	}
}

func TestHostileKeyIDs(t *testing.T) {
	for _, m := range []mode{unsigned, symmetric} {
		e := newEnv(t, m)
		wrapped := wrap(t, e.kek, secret())
		id, v := e.key.ID(), e.key.Version()
		for _, kid := range []string{
			"x", id, id + "/", id + "/" + v + "/", id + "/" + v[:31], id + "/" + v + "0", id + "/" + strings.ToUpper(v) + "g", id + "x/" + v, "http" + strings.TrimPrefix(id, "https") + "/" + v,
			strings.Replace(id, "/keys/", "/secrets/", 1) + "/" + v, strings.Replace(id, "contoso", "evil", 1) + "/" + v, strings.Replace(id, "contoso", "contoso.evil", 1) + "/" + v,
			id + "/" + strings.Repeat("0", 32), strings.Repeat("a", 1<<16), "\x00", id + "/../x/" + v, strings.Replace(id, "k", "\u212a", 1) + "/" + v,
		} {
			restore := e.srv.Inject(azurekvtest.OfAnotherKey(kid))
			if err := unwrapErr(t, e.kek, wrapped); err == nil {
				t.Errorf("kid %.100q was taken", kid)
			} else {
				wantClass(t, err, kek.ErrCorrupt)
			}
			restore()
		}
	}
}
