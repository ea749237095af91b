package azurekv_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
)

// rewriteChallenge is a man in the middle who asks for tokens in his own way, if
// he has one.
type rewriteChallenge struct {
	*http.Client
	value string
}

func (r *rewriteChallenge) Do(req *http.Request) (*http.Response, error) {
	resp, err := r.Client.Do(req)
	if err == nil && r.value != "" && resp.Header.Get("WWW-Authenticate") != "" {
		resp.Header.Set("WWW-Authenticate", r.value)
	}
	return resp, err
}

// canned is a proxy that answers every POST by itself.
type canned struct {
	*http.Client
	status int
	header http.Header
	body   string
	url    string // of the request that it says it answers; "" is the true one
}

func (p canned) Do(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost || req.ContentLength <= 0 {
		return p.Client.Do(req)
	}
	resp := &http.Response{StatusCode: p.status, Request: req, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(p.body))}
	if p.header != nil {
		resp.Header = p.header
	}
	if p.url != "" {
		u, err := url.Parse(p.url)
		if err != nil {
			return nil, err
		}
		resp.Request = &http.Request{Method: req.Method, URL: u}
	}
	return resp, nil
}

// through returns e with a client that goes through a proxy.
func through(t *testing.T, e *env, p canned) *env {
	t.Helper()
	p.Client = e.srv.HTTPClient()
	o := &azkeys.ClientOptions{ClientOptions: policy.ClientOptions{Transport: p, Retry: policy.RetryOptions{MaxRetries: -1}}}
	proxied := *e
	proxied.client = must(azkeys.NewClient("https://"+host, e.srv.Credential(azurekvtest.App), o))(t)
	proxied.kek = proxied.open(t)
	return &proxied
}

// keyVaultSays is Key Vault's form of an error.
const keyVaultSays = `{"error":{"code":"Forbidden","message":"no","innererror":{"code":"KeyDisabled"}}}`

// Only what has Key Vault's form is Key Vault's word about the key; proxies have
// error codes too, and azcore finds them wherever they are.
func TestAnswersOfProxies(t *testing.T) {
	e := newEnv(t, unsigned)
	wrapped := wrap(t, e.kek, secret())
	for name, c := range map[string]struct {
		proxy canned
		class error
	}{
		"Key Vault's":                 {canned{status: 403, body: keyVaultSays}, kek.ErrDenied},
		"an inner code of a bad form": {canned{status: 403, body: `{"error":{"code":"Forbidden","innererror":"x"}}`}, kek.ErrDenied},
		"XML of a gateway":            {canned{status: 403, body: `<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`}, kek.ErrUnavailable},
		"HTML":                        {canned{status: 404, body: `<html><code>Not</code></html>`}, kek.ErrUnavailable},
		"flat JSON":                   {canned{status: 403, body: `{"code":"RequestBlocked","message":"blocked by policy"}`}, kek.ErrUnavailable},
		"OData":                       {canned{status: 400, body: `{"odata.error":{"code":"BadParameter"}}`}, kek.ErrUnavailable},
		"a code in a header":          {canned{status: 403, header: http.Header{"X-Ms-Error-Code": {"Blocked"}}}, kek.ErrUnavailable},
		"a code that is a text":       {canned{status: 403, body: `{"error":{"code":"this is blocked"}}`}, kek.ErrUnavailable},
		"a number":                    {canned{status: 400, body: `{"error":{"code":400}}`}, kek.ErrUnavailable},
		"endless":                     {canned{status: 403, body: keyVaultSays + strings.Repeat(" ", 1<<20)}, kek.ErrUnavailable},
	} {
		err := unwrapErr(t, through(t, e, c.proxy).kek, wrapped)
		if got := kek.Class(err); got != c.class {
			t.Errorf("%s: got %v, want %v", name, err, c.class)
		}
	}
}

// A redirect ends at somebody else's, who may be a Key Vault.
func TestAnswersFromElsewhere(t *testing.T) {
	e := newEnv(t, unsigned)
	wrapped := wrap(t, e.kek, secret())
	for to, class := range map[string]error{
		rootID + "/v/unwrapkey": kek.ErrDenied,
		"https://" + strings.ToUpper(host) + ":443/keys/Vault-Root/v/unwrapkey": kek.ErrDenied,
		"https://other.vault.azure.net/keys/vault-root/v/unwrapkey":             kek.ErrUnavailable,
		"https://" + host + ".evil.example/keys/vault-root/v/unwrapkey":         kek.ErrUnavailable,
		"http://" + host + "/keys/vault-root/v/unwrapkey":                       kek.ErrUnavailable,
		"https://" + host + "/keys/vault-rooted/v/unwrapkey":                    kek.ErrUnavailable,
		"https://" + host + "/keys/other/v/unwrapkey":                           kek.ErrUnavailable,
		"https://" + host + "/secrets/vault-root":                               kek.ErrUnavailable,
		"https://" + host: kek.ErrUnavailable,
	} {
		err := unwrapErr(t, through(t, e, canned{status: 403, body: keyVaultSays, url: to}).kek, wrapped)
		if got := kek.Class(err); got != class {
			t.Errorf("%s: got %v, want %v", to, err, class)
		}
	}
}

// A credential asks servers too, Key Vaults among them. What they answer is not
// about the key, which was never asked.
func TestAnswersToTheCredential(t *testing.T) {
	e := newEnv(t, signed)
	wrapped := wrap(t, e.kek, secret())
	ours := must(http.NewRequestWithContext(t.Context(), http.MethodGet, rootID, nil))(t)
	for _, re := range []*azcore.ResponseError{
		{StatusCode: 403, ErrorCode: "Forbidden"},
		{StatusCode: 404, ErrorCode: "SecretNotFound"},
		{StatusCode: 400, ErrorCode: "BadParameter"},
		{StatusCode: 403, ErrorCode: "Forbidden", RawResponse: &http.Response{
			StatusCode: 403, Request: ours, Body: io.NopCloser(strings.NewReader(keyVaultSays)),
		}},
	} {
		restore := e.srv.Credential(azurekvtest.App).Fail(fmt.Errorf("getting the client secret: %w", re))
		for name, call := range calls(e.kek, wrapped, binding(t)) {
			err := call(t.Context())
			wantClass(t, err, kek.ErrUnavailable)
			var got *azcore.ResponseError
			if !errors.As(err, &got) {
				t.Errorf("%s: the SDK's error is not wrapped: %v", name, err)
			}
		}
		restore()
	}
}

// azidentity's error has the body of the token endpoint's answer in it, and a
// proxy there may repeat the request, which has the application's secret in it.
func TestTextOfCredentials(t *testing.T) {
	e := newEnv(t, unsigned)
	wrapped := wrap(t, e.kek, secret())
	const echoed = "<html>blocked: client_id=x&client_secret=hunter2-very-secret</html>"
	defer e.srv.Credential(azurekvtest.App).Fail(entraError("AADSTS7000222 AADSTS7000222 " + echoed))()
	for name, call := range calls(e.kek, wrapped, binding(t)) {
		text := call(t.Context()).Error()
		if strings.Contains(text, "secret") {
			t.Errorf("%s: the text has the token request in it: %s", name, text)
		}
		if !strings.Contains(text, "no token (azurekv_test.entraError, AADSTS7000222)") {
			t.Errorf("%s: the text doesn't say why: %s", name, text)
		}
	}
}

// The SDK's own error is there for those who need to know more.
func TestSDKErrorIsWrapped(t *testing.T) {
	e := newEnv(t, signed)
	wrapped := wrap(t, e.kek, secret())
	e.key.Disable()
	err := unwrapErr(t, e.kek, wrapped)
	var re *azcore.ResponseError
	if !errors.As(err, &re) || re.StatusCode != http.StatusForbidden || !strings.Contains(re.Error(), "KeyDisabled") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(err.Error(), "403 Forbidden KeyDisabled") {
		t.Errorf("the text doesn't say why: %v", err)
	}
}

// A credential may be made of anything, of a KEK too.
func TestForeignErrorsOfOurClasses(t *testing.T) {
	e := newEnv(t, signed)
	wrapped := wrap(t, e.kek, secret())
	for _, class := range []error{kek.ErrDenied, kek.ErrCorrupt, kek.ErrUnavailable} {
		restore := e.srv.Credential(azurekvtest.App).Fail(fmt.Errorf("token: %w", class))
		wantClass(t, unwrapErr(t, e.kek, wrapped), kek.ErrUnavailable)
		restore()
	}
}

// So it is if ctx has ended meanwhile, which decides about the class.
func TestSDKErrorIsWrappedWhenContextHasEnded(t *testing.T) {
	e := newEnv(t, unsigned)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	re := &azcore.ResponseError{StatusCode: 403}
	err := e.kek.UnwrapFailed(ctx, fmt.Errorf("call: %w", re))
	wantClass(t, err, kek.ErrUnavailable)
	wantError(t, err, context.Canceled, re)
	err = e.kek.UnwrapFailed(ctx, fmt.Errorf("call: %w", kek.ErrDenied))
	wantClass(t, err, kek.ErrUnavailable)
	wantError(t, err, context.Canceled)
}
