package hashivault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/embedvault/vault/kek"
	"github.com/hashicorp/vault/api"
)

// rule is a line of the table: what a text in an answer of status 400, or in an
// item of a batch, says.
type rule struct {
	text  string
	class error
}

// rules is the table for transit's own errors, which all have status 400. The
// first line that fits counts. Sources, in github.com/hashicorp/vault v1.13.1:
// sdk/helper/keysutil/policy.go, builtin/logical/transit/path_encrypt.go,
// path_decrypt.go and path_rewrap.go. The module integration/ holds each line
// against that server.
var rules = []rule{
	// It was not made by this key with this binding, or not at all by a key.
	{"message authentication failed", kek.ErrCorrupt}, // crypto/cipher's, and chacha20poly1305's
	{"invalid ciphertext", kek.ErrCorrupt},            // no prefix, version is too new, length, base64, …
	{"invalid key version", kek.ErrCorrupt},

	// The key's owner retired the version.
	{"disallowed by policy (too old)", kek.ErrDenied},
	{"no such key version", kek.ErrDenied},

	// The key is gone.
	{"encryption key not found", kek.ErrDenied},
	{"refusing to use soft-deleted key", kek.ErrDenied}, // OpenBao's
	{"unknown key type " + mustExist, kek.ErrDenied},    // see mustExist

	// It is another one of the same name now: derived, or no AEAD.
	{"missing 'context' for key derivation", kek.ErrDenied},
	{"provided for non-AEAD cipher suite", kek.ErrDenied},
	{"not supported for key type", kek.ErrDenied},
}

// classOfText returns the class by the table. What isn't in it says nothing
// about the key.
func classOfText(text string) error {
	for _, r := range rules {
		if strings.Contains(text, r.text) {
			return r.class
		}
	}
	return kek.ErrUnavailable
}

// backendMissing is of a 404 by a node that has the mount and hasn't loaded its
// engine, as a filtered one. (Vault's vault/router.go.)
const backendMissing = "route entry found, but backend is nil"

// classOf returns the class of an answer that is an error. token is the one that
// was sent.
func (k *KEK) classOf(ctx context.Context, r *api.ResponseError, token string) error {
	if r.RawError || r.Errors == nil {
		return kek.ErrUnavailable // not Vault's words: a proxy's, a load balancer's
	}
	switch r.StatusCode {
	case http.StatusBadRequest:
		return classOfText(words(r))
	case http.StatusForbidden:
		if k.tokenIsBad(ctx, r, token) {
			return kek.ErrUnavailable
		}
		return kek.ErrDenied
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		if strings.Contains(words(r), backendMissing) {
			return kek.ErrUnavailable
		}
		return kek.ErrDenied // no such key, no such mount, or a mount of another engine
	}
	// 412, 429, 472, 473, 500, 501 (not initialised), 502, 503 (sealed, standby).
	return kek.ErrUnavailable
}

func words(r *api.ResponseError) string { return strings.Join(r.Errors, "\n") }

// tokenIsBad reports whether a 403 was for the token and not for the key. Vault
// answers 403 to a token that has expired or was revoked. So the token that was
// refused, which the client may have replaced by now, is asked about itself: any
// valid token may, by the policy "default"; and one without that policy is
// refused by policy.
//
// If the question gets no clear answer, the words of the 403 decide.
func (k *KEK) tokenIsBad(ctx context.Context, refused *api.ResponseError, token string) bool {
	if saysBadToken(refused) {
		return true
	}
	lookup := request{method: http.MethodGet, path: "auth/token/lookup-self", token: &token}
	_, err := await(ctx, &k.left, func() (reply[struct{}], error) { return exchange[struct{}](ctx, k, lookup) })
	if err == nil {
		return false
	}
	if own := asResponse(err); own != nil && own.StatusCode == http.StatusForbidden && !own.RawError {
		switch {
		case saysBadToken(own), words(own) == "permission denied":
			return true
		case saysPolicy(own):
			return false
		}
	}
	return !saysPolicy(refused)
}

// saysBadToken: later servers say "invalid token" beside the denial (Vault's
// documentation, "Tokens", "Error responses"); "bad token" is lookup-self's.
func saysBadToken(r *api.ResponseError) bool {
	return strings.Contains(words(r), "invalid token") || strings.Contains(words(r), "bad token")
}

// saysPolicy reports whether a 403 is a policy's. Those are a list of errors,
// even if of one: "1 error occurred:\n\t* permission denied". To a token that is
// not valid 1.13 says "permission denied" and nothing else. (CheckToken and
// handleRequest in Vault's vault/request_handling.go.)
func saysPolicy(r *api.ResponseError) bool {
	return strings.Contains(words(r), "occurred:\n\t* ") && strings.Contains(words(r), "permission denied")
}

// failed puts an error of a call into its class, or into unavailable if ctx has
// ended. token is the one that was sent.
func (k *KEK) failed(ctx context.Context, err error, token string) error {
	class := kek.ErrUnavailable // network, TLS, DNS, time limits, answers that can't be read
	if r := asResponse(err); r != nil && ctx.Err() == nil {
		class = k.classOf(ctx, r, token)
	}
	switch ended := ctx.Err(); {
	case ended == nil:
		return fail(class, say(err))
	case errors.Is(err, ended):
		return fail(kek.ErrUnavailable, ended)
	default:
		return fmt.Errorf("%w: %w: %s", kek.ErrUnavailable, ended, say(err).text)
	}
}

// failedItem is the error of an item of a batch.
func failedItem(text string) error {
	return fail(classOfText(text), say(&api.ResponseError{StatusCode: http.StatusBadRequest, Errors: []string{text}}))
}
