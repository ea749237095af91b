package azurekv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/embedvault/vault/kek"
)

// operation is what was asked of Key Vault.
type operation string

const (
	opGet    operation = "get"
	opWrap   operation = "wrapKey"
	opUnwrap operation = "unwrapKey"
	opSign   operation = "sign"
)

// answer is an error that Key Vault answered with: a status, a code, and often a
// code inside: {"error":{"code":"Forbidden","innererror":{"code":"KeyDisabled"}}}.
// https://github.com/Azure/azure-sdk-for-go/blob/main/sdk/security/keyvault/TROUBLESHOOTING.md
type answer struct {
	status      int
	code, inner string
}

// The sorting of answers. Sources:
//   - https://learn.microsoft.com/azure/key-vault/general/rest-error-codes
//   - https://learn.microsoft.com/azure/key-vault/general/common-error-codes
//   - https://github.com/Azure/azure-sdk-for-go/blob/main/sdk/security/keyvault/TROUBLESHOOTING.md
//
// A status without a code is not Key Vault's, which always gives one: a proxy or
// a web application firewall answered, and that says nothing about the key.
func (a answer) class(op operation) error {
	if a.code == "" {
		return kek.ErrUnavailable
	}
	switch a.status {
	case http.StatusBadRequest:
		return a.classOfBadRequest(op)
	case http.StatusForbidden:
		// Disabled, expired, no permission (ForbiddenByPolicy, ForbiddenByRbac,
		// AccessDenied, KeyOperationForbidden). The vault's firewall too
		// (ForbiddenByFirewall, ForbiddenByConnection): it is one of the means by
		// which the owner of a vault shuts someone out.
		return kek.ErrDenied
	case http.StatusNotFound:
		return kek.ErrDenied // KeyNotFound; of one version: see unwrapFailed
	case http.StatusConflict:
		if a.inner == "ObjectIsBeingDeleted" || a.inner == "ObjectIsDeletedButRecoverable" {
			return kek.ErrDenied
		}
	}
	// 401 after the challenge was met: the token is expired, of a clock that is
	// wrong, or of another tenant (AKV10032). 408, 429, 5xx, other conflicts, and
	// whatever else there may be.
	return kek.ErrUnavailable
}

// classOfBadRequest: recorded traffic has BadParameter for a ciphertext that
// doesn't decrypt. For the other operations it means that the key is of a type
// that can't do what is asked.
func (a answer) classOfBadRequest(op operation) error {
	switch {
	case a.code != "BadParameter":
		return kek.ErrUnavailable
	case op == opUnwrap:
		return kek.ErrCorrupt
	}
	return kek.ErrDenied
}

// deniedByEntra are the error codes with which Microsoft Entra ID refuses a token
// because the application was removed from the tenant or disabled there, which
// is how a customer shuts out a multi-tenant application:
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
// Wrong and expired secrets, outages and clocks are none of them. Microsoft warns
// there that codes may change: one that isn't known counts as unavailable.
var deniedByEntra = map[string]bool{
	"AADSTS700016":  true, // not found in the directory
	"AADSTS7000112": true, // disabled
	"AADSTS7000229": true, // no service principal in the tenant
}

var entraCode = regexp.MustCompile(`\bAADSTS[0-9]{4,8}\b`)

// classOf returns the class of an SDK error.
func classOf(op operation, err error) error {
	if a, ok := answerIn(err); ok {
		return a.class(op)
	}
	// An error of a credential says that it must not be tried again by having
	// this method; errors of the network don't have it. azidentity's has no other
	// way to tell than its text.
	var credential interface{ NonRetriable() }
	if errors.As(err, &credential) {
		return classOfToken(err.Error())
	}
	return kek.ErrUnavailable
}

// classOfToken: denied if Entra ID said so, and said nothing else. (A chain of
// credentials has an error for each.)
func classOfToken(text string) error {
	codes := entraCode.FindAllString(text[:min(len(text), maxRead)], -1)
	other := func(code string) bool { return !deniedByEntra[code] }
	if len(codes) == 0 || slices.ContainsFunc(codes, other) {
		return kek.ErrUnavailable
	}
	return kek.ErrDenied
}

// answerIn finds Key Vault's answer in an SDK error.
func answerIn(err error) (answer, bool) {
	var re *azcore.ResponseError
	if !errors.As(err, &re) {
		return answer{}, false
	}
	a := answer{status: re.StatusCode, code: word(re.ErrorCode)}
	if re.RawResponse == nil {
		return a, true
	}
	body, readErr := runtime.Payload(re.RawResponse) // it was read before, and kept
	if readErr != nil || len(body) > maxRead {
		return a, true
	}
	var doc struct {
		Error struct {
			Inner struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &doc) == nil {
		a.inner = word(doc.Error.Inner.Code)
	}
	return a, true
}

// notFound reports whether Key Vault said that there is no such key or version.
func notFound(err error) bool {
	a, ok := answerIn(err)
	return ok && a.status == http.StatusNotFound && a.code != ""
}

const (
	maxRead = 64 << 10 // of what a server sent, in bytes
	maxText = 512      // of a foreign error's text in ours
)

// word returns s if it looks like an error code, and else a placeholder: a
// server may send anything.
func word(s string) string {
	if s == "" || validWord.MatchString(s) {
		return s
	}
	return "unreadable-code"
}

var validWord = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// sdkError wraps an SDK error and has a text of its own, because the SDK's has
// the whole response in it, of any length, and a proxy may echo the request,
// which has the key in it.
type sdkError struct {
	text string
	err  error // nil if it must not be found: see fail
}

func (e *sdkError) Error() string { return e.text }
func (e *sdkError) Unwrap() error { return e.err }

// textOf returns what to say of an SDK error.
func textOf(err error) string {
	if a, ok := answerIn(err); ok {
		return strings.TrimSpace(fmt.Sprintf("Key Vault answered %d %s %s", a.status, orNone(a.code), a.inner))
	}
	text := err.Error()
	cut := len(text) > maxText
	text = strings.ToValidUTF8(text[:min(len(text), maxText)], "")
	text = strings.Join(strings.Fields(text), " ") // on one line
	if cut {
		text += "…"
	}
	return text
}

func orNone(code string) string {
	if code == "" {
		return "(no code)"
	}
	return code
}

// failed puts an error of the SDK into its class, or into unavailable if ctx has
// ended.
func failed(ctx context.Context, op operation, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return fmt.Errorf("%w: %w: %s: %s", kek.ErrUnavailable, ctxErr, op, textOf(err))
	}
	return failedAs(classOf(op, err), err)
}

// failedAs returns an error of the class that wraps an error of the SDK.
func failedAs(class, err error) error {
	e := &sdkError{text: textOf(err), err: err}
	if matchesAnother(class, err) {
		e.err = nil
	}
	return fmt.Errorf("%w: %w", class, e)
}

// fail returns an error of the class that wraps an error of this package or of
// the standard library.
func fail(class, cause error) error { return fmt.Errorf("%w: %w", class, cause) }

// matchesAnother reports whether err matches another class as well, as that of a
// credential which is made of a KEK may. It is then quoted and not wrapped.
func matchesAnother(class, err error) bool {
	for _, other := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if other != class && errors.Is(err, other) {
			return true
		}
	}
	return false
}
