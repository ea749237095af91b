package azurekv_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
)

// echo is a proxy that answers every POST with an error that has the request in
// it, as some do.
type echo struct {
	*http.Client
	status int
	form   string // %s is the request's body
}

func (p echo) Do(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost || req.ContentLength <= 0 {
		return p.Client.Do(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(p.form, body, req.Header.Get("Authorization"))
	return &http.Response{
		StatusCode: p.status, Status: http.StatusText(p.status), Request: req, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(text)),
	}, nil
}

// Nothing that a server or a proxy sends finds its way into an error's text, and
// with it the key, the token or the wrapped bytes that were in the request.
func TestNoSecretsInErrors(t *testing.T) {
	for _, m := range modes {
		e := newEnv(t, m)
		key := secret()
		wrapped := wrap(t, e.kek, key)
		for _, p := range []echo{
			{status: 400, form: "%s %s"},
			{status: 403, form: `{"error":{"code":"Forbidden","message":%q,"innererror":{"code":%q}}}`},
			{status: 404, form: `{"error":{"code":%q,"message":%q}}`},
			{status: 500, form: "<Code>%s</Code> %s"},
			{status: 200, form: "%s %s"},
			{status: 200, form: `{"kid":%q,"value":%q}`},
			{status: 503, form: strings.Repeat("x", 1<<20) + "%s %s"},
		} {
			p.Client = e.srv.HTTPClient()
			o := &azkeys.ClientOptions{ClientOptions: policy.ClientOptions{Transport: p, Retry: policy.RetryOptions{MaxRetries: -1}}}
			client := must(azkeys.NewClient(strings.TrimSuffix(e.key.ID(), "/keys/vault-root"), e.srv.Credential(azurekvtest.App), o))(t)
			hostile := *e
			hostile.client = client
			k := hostile.open(t)
			_, err := k.Wrap(t.Context(), key, binding(t))
			wantNoSecrets(t, err, key, wrapped)
			wantNoSecrets(t, unwrapErr(t, k, wrapped), key, wrapped)
		}
	}
}

func wantNoSecrets(t *testing.T, err error, key, wrapped []byte) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	if len(err.Error()) > 8<<10 {
		t.Errorf("the error's text has %d bytes", len(err.Error()))
	}
	for _, secret := range [][]byte{key, wrapped[len(wrapped)-64:]} {
		for _, form := range []string{string(secret), hex.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret)[2:20], fmt.Sprint(secret[:8])} {
			if strings.Contains(fmt.Sprintf("%v %+v %q", err, err, err), form) {
				t.Errorf("a secret is in the error: %.300q", err.Error())
			}
		}
	}
	for _, word := range []string{"Bearer", "org_4711", `"value"`, "alg"} {
		if strings.Contains(err.Error(), word) {
			t.Errorf("%q is in the error: %.300q", word, err.Error())
		}
	}
}

// A key of another length is refused without a call, and not printed.
func TestOtherLengths(t *testing.T) {
	e := newEnv(t, symmetric)
	before := e.srv.Calls("")
	for _, n := range []int{0, 16, 31, 33, 4096} {
		_, err := e.kek.Wrap(t.Context(), make([]byte, n), binding(t))
		wantClass(t, err, kek.ErrCorrupt)
	}
	if n := e.srv.Calls("") - before; n != 0 {
		t.Errorf("%d calls", n)
	}
}

// An answer that belongs to another request unwraps to another key, which only
// the binding inside tells from the right one. (Where there is a signature
// instead, the key's ID tells: the keyring's business.)
func TestSwappedAnswer(t *testing.T) {
	for _, m := range []mode{unsigned, symmetric} {
		e := newEnv(t, m)
		other := binding(t)
		other.Version++
		wrapped := wrap(t, e.kek, secret())
		var payload []byte
		restore := e.srv.Inject(azurekvtest.WithValue(func(v []byte) []byte { payload = append([]byte(nil), v...); return v }))
		wrappedOther, err := e.kek.Wrap(t.Context(), secret(), other)
		ok(t, err)
		_, err = e.kek.Unwrap(t.Context(), wrappedOther, other)
		ok(t, err)
		restore()
		defer e.srv.Inject(azurekvtest.WithValue(func([]byte) []byte { return payload }))()
		err = unwrapErr(t, e.kek, wrapped)
		if err == nil {
			t.Fatal("it was taken")
		}
		wantClass(t, err, kek.ErrCorrupt)
		var re interface{ Timeout() bool }
		if errors.As(err, &re) {
			t.Error("it is an SDK error")
		}
	}
}
