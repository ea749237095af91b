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
	{"unknown key type " + mustExist, kek.ErrDenied}, // see mustExist

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

// classOf returns the class of an answer that is an error.
func (k *KEK) classOf(ctx context.Context, r *api.ResponseError) error {
	if r.RawError || r.Errors == nil {
		return kek.ErrUnavailable // not Vault's words: a proxy's, a load balancer's
	}
	switch r.StatusCode {
	case http.StatusBadRequest:
		return classOfText(strings.Join(r.Errors, "\n"))
	case http.StatusForbidden:
		if k.tokenIsBad(ctx, r) {
			return kek.ErrUnavailable
		}
		return kek.ErrDenied
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return kek.ErrDenied // no such key, no such mount, or a mount of another engine
	}
	// 412, 429, 472, 473, 500, 501 (not initialised), 502, 503 (sealed, standby).
	return kek.ErrUnavailable
}

// tokenIsBad reports whether a 403 was for the token and not for the key. Vault
// answers 403 to a token that has expired or was revoked, and 1.13 says no more
// than "permission denied" to both. So the token is asked about itself: any
// valid token may, by the policy "default"; and one without that policy is
// refused in other words, as a list of errors.
//
// If the question gets no clear answer, the key is denied: that was an answer.
func (k *KEK) tokenIsBad(ctx context.Context, r *api.ResponseError) bool {
	if saysBadToken(r) {
		return true
	}
	var nothing struct{}
	lookup := k.client.NewRequest(http.MethodGet, "/v1/auth/token/lookup-self")
	lookup.WrapTTL = ""
	//lint:ignore SA1019 As in request.
	response, err := k.client.RawRequestWithContext(ctx, lookup)
	if response != nil && response.Body != nil {
		defer response.Body.Close()
	}
	if err == nil {
		_ = decode(response.Body, &nothing) // lets the connection be used again
		return false
	}
	own := asResponse(err)
	if own == nil || own.StatusCode != http.StatusForbidden || own.RawError {
		return false
	}
	return saysBadToken(own) || len(own.Errors) == 1 && own.Errors[0] == "permission denied"
}

// saysBadToken: later servers say "invalid token" beside the denial (Vault's
// documentation, "Tokens", "Error responses"); "bad token" is lookup-self's.
func saysBadToken(r *api.ResponseError) bool {
	text := strings.Join(r.Errors, "\n")
	return strings.Contains(text, "invalid token") || strings.Contains(text, "bad token")
}

// failed puts an error of a call into its class, or into unavailable if ctx has
// ended.
func (k *KEK) failed(ctx context.Context, err error, hide params) error {
	said := said{text: k.clip(err, hide), err: err}
	class := kek.ErrUnavailable // network, TLS, DNS, time limits, answers that can't be read
	if r := asResponse(err); r != nil && ctx.Err() == nil {
		class = k.classOf(ctx, r)
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w: %w: %s", kek.ErrUnavailable, ctxErr, said.text)
	}
	return fail(class, said)
}

// failedItem is the error of an item of a batch.
func (k *KEK) failedItem(text string, hide params) error {
	err := &api.ResponseError{StatusCode: http.StatusBadRequest, Errors: []string{text}}
	return fail(classOfText(text), said{text: k.clip(err, hide), err: err})
}

// said is an error whose text is cut and cleaned; the error itself is there for
// errors.As.
type said struct {
	text string
	err  error
}

func (s said) Error() string { return s.text }
func (s said) Unwrap() error { return s.err }

// How much of a foreign error's text is looked at, and repeated, in bytes.
const (
	maxLook = 4 << 10
	maxText = 400
)

// clip returns what may be repeated of an error's text: not much, on one line,
// and nothing that was sent.
func (k *KEK) clip(err error, hide params) string {
	text := err.Error()
	if r := asResponse(err); r != nil {
		text = fmt.Sprintf("the server answers %d", r.StatusCode)
		if r.RawError {
			text += ", and not in Vault's form"
		} else if len(r.Errors) > 0 {
			text += ": " + strings.Join(r.Errors, "; ")
		}
	}
	text = text[:min(len(text), maxLook)]
	if hide.contains(text) || repeats(text, k.client.Token()) {
		return "an error whose text repeats what was sent"
	}
	text = text[:min(len(text), maxLook-128)] // not the start of a secret that was cut
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// fail returns an error of the class, and of that class alone, that wraps cause.
// A cause that matches another class as well is quoted and not wrapped.
func fail(class, cause error) error {
	for _, other := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if other != class && errors.Is(cause, other) {
			return fmt.Errorf("%w: %v", class, cause)
		}
	}
	return fmt.Errorf("%w: %w", class, cause)
}
