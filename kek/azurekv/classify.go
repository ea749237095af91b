package azurekv

import (
	"encoding/json"
	"errors"
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

// call is an operation and the key that it was asked of.
type call struct {
	op  operation
	key keyID
}

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
// A status without a code in that form is not Key Vault's, which always gives one:
// a proxy or a web application firewall answered, and that says nothing about the
// key.
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
func classOf(c call, err error) error {
	if a, ok := answerIn(c, err); ok {
		return a.class(c.op)
	}
	if fromCredential(err) {
		return classOfToken(err.Error())
	}
	return kek.ErrUnavailable
}

// fromCredential reports whether no token was to be had. azcore marks errors of
// credentials as not to be tried again, by this method; those of the network and
// Key Vault's answers don't have it.
func fromCredential(err error) bool {
	var credential interface{ NonRetriable() }
	return errors.As(err, &credential)
}

// classOfToken: denied if Entra ID said so, and said nothing else. (A chain of
// credentials has an error for each.) azidentity's error has no other way to tell
// than its text.
func classOfToken(text string) error {
	codes := entraCodes(text)
	other := func(code string) bool { return !deniedByEntra[code] }
	if len(codes) == 0 || slices.ContainsFunc(codes, other) {
		return kek.ErrUnavailable
	}
	return kek.ErrDenied
}

func entraCodes(text string) []string {
	return entraCode.FindAllString(text[:min(len(text), maxRead)], -1)
}

// maxRead is how much is read of what a server sent, in bytes.
const maxRead = 64 << 10

// answerIn finds Key Vault's answer about the key in an SDK error. A credential's
// error may have an answer in it too, from the vault that has the application's
// secret, say, and a redirect leads to the answers of others: neither is about
// this key.
func answerIn(c call, err error) (answer, bool) {
	var re *azcore.ResponseError
	if fromCredential(err) || !errors.As(err, &re) || !c.key.asked(re.RawResponse) {
		return answer{}, false
	}
	return readAnswer(re.RawResponse), true
}

// asked reports whether a response is to a request about this key.
func (id keyID) asked(resp *http.Response) bool {
	if resp == nil || resp.Request == nil || resp.Request.URL == nil {
		return false
	}
	u := resp.Request.URL
	path, prefix := strings.TrimPrefix(u.Path, "/")+"/", "keys/"+id.name+"/"
	return u.Scheme == "https" && strings.EqualFold(u.Hostname(), id.host) &&
		len(path) >= len(prefix) && strings.EqualFold(path[:len(prefix)], prefix)
}

// readAnswer reads the codes from the body and nowhere else: azcore also finds
// them in a header, in other forms of JSON and in markup, which proxies write.
func readAnswer(resp *http.Response) answer {
	a := answer{status: resp.StatusCode}
	body, err := runtime.Payload(resp) // it was read before, and kept
	if err != nil || len(body) > maxRead {
		return a
	}
	var doc struct {
		Error struct {
			Code  string `json:"code"`
			Inner struct {
				Code string `json:"code"`
			} `json:"innererror"`
		} `json:"error"`
	}
	_ = json.Unmarshal(body, &doc) // what isn't JSON, or of this form, has no code
	a.code, a.inner = word(doc.Error.Code), word(doc.Error.Inner.Code)
	return a
}

// notFound reports whether Key Vault said that there is no such key or version.
func notFound(c call, err error) bool {
	a, ok := answerIn(c, err)
	return ok && a.status == http.StatusNotFound && a.code != ""
}

// word returns s if it looks like an error code, and else "": a server may send
// anything.
func word(s string) string {
	if validWord.MatchString(s) {
		return s
	}
	return ""
}

var validWord = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
