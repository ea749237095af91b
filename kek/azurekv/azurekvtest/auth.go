package azurekvtest

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// App is the principal that [Server.Client] calls as.
const App = "app"

// tenant is in the challenge; the credential isn't asked whether it is theirs.
const tenant = "00000000-0000-0000-0000-000000000001"

// Credential is an identity with tokens of this server's, in place of one of
// azidentity's. It is safe for concurrent use.
type Credential struct {
	s         *Server
	principal string

	// Guarded by s.mu.
	fails   error
	expired bool
}

// Credential returns the credential of a principal, the same one each time.
func (s *Server) Credential(principal string) *Credential {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.creds[principal]
	if c == nil {
		c = &Credential{s: s, principal: principal}
		s.creds[principal] = c
	}
	return c
}

// GetToken implements [azcore.TokenCredential].
func (c *Credential) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if err := ctx.Err(); err != nil {
		return azcore.AccessToken{}, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.fails != nil {
		return azcore.AccessToken{}, c.fails
	}
	token := rand.Text()
	c.s.tokens[token] = c
	return azcore.AccessToken{Token: token, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// Fail lets no new token be had, as when the client secret is wrong or the
// application was deleted, until restore is called. Tokens that were given out
// are taken back, so that the client asks.
func (c *Credential) Fail(err error) (restore func()) {
	return c.set(func() { c.fails = err; c.takeBack() }, func() { c.fails = nil })
}

// Expire has the server refuse every token of the principal's as expired, as when
// a clock is wrong, until restore is called.
func (c *Credential) Expire() (restore func()) {
	return c.set(func() { c.expired = true }, func() { c.expired = false })
}

func (c *Credential) set(on, off func()) (restore func()) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	on()
	return func() {
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		off()
	}
}

// takeBack is called with s.mu held.
func (c *Credential) takeBack() {
	for token, of := range c.s.tokens {
		if of == c {
			delete(c.s.tokens, token)
		}
	}
}

// Client returns a client of a vault, "contoso.vault.azure.net", that calls as
// [App], and doesn't retry.
func (s *Server) Client(host string) (*azkeys.Client, error) { return s.ClientAs(App, host) }

// ClientAs returns a client that calls as the principal, and doesn't retry.
func (s *Server) ClientAs(principal, host string) (*azkeys.Client, error) {
	o := s.ClientOptions()
	o.Retry = policy.RetryOptions{MaxRetries: -1}
	return azkeys.NewClient("https://"+host, s.Credential(principal), o)
}

// ClientOptions returns options of a client that leads to the server and has
// the SDK's defaults in all else, retries included.
func (s *Server) ClientOptions() *azkeys.ClientOptions {
	return &azkeys.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: s.HTTPClient()}}
}

// authenticate finds out who asks. Whoever has no token is challenged, as azkeys
// expects before its first request: it sends that without a token and a body.
func (s *Server) authenticate(r *http.Request) (*Credential, *Answer) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	cred := s.tokens[token]
	expired := cred != nil && cred.expired
	s.mu.Unlock()
	switch {
	case !ok:
		// The text is of the traffic that gocloud.dev recorded
		// (secrets/azurekeyvault/testdata).
		return nil, challenge(r.Host, "AKV10000: Request is missing a Bearer or PoP token.")
	case cred == nil:
		return nil, challenge(r.Host, "the token is not of this server")
	case expired:
		// The status is documented, the text is ours:
		// https://learn.microsoft.com/azure/key-vault/general/rest-error-codes#the-token-is-expired
		return nil, challenge(r.Host, "the token is expired")
	}
	return cred, nil
}

// challenge is a 401 with the header by which azkeys learns where to get a token
// and for what. Its form is of the traffic that gocloud.dev recorded; the
// resource is the vault's host without its first label, which azkeys verifies.
func challenge(host, message string) *Answer {
	_, resource, _ := strings.Cut(host, ".")
	a := failure(http.StatusUnauthorized, "Unauthorized", "", message)
	a.Header.Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/`+tenant+`", resource="https://`+resource+`"`)
	return &a
}
