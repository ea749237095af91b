package azurekv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/embedvault/vault/kek"
)

const (
	maxText  = 512 // bytes of a foreign error's text in ours
	maxCodes = 8   // of Entra ID in a text
)

// sdkError wraps an SDK error and has a text of its own, because the SDK's has
// the whole response in it, of any length, and a proxy may echo the request,
// which has the key in it, or the application's secret.
type sdkError struct {
	text string
	err  error // nil if it must not be found: see wrapAs
}

func (e *sdkError) Error() string { return e.text }
func (e *sdkError) Unwrap() error { return e.err }

// failed puts an error of the SDK into its class, or into unavailable if ctx has
// ended.
func failed(ctx context.Context, c call, err error) error {
	ctxErr := ctx.Err()
	switch {
	case ctxErr == nil:
		return failedAs(classOf(c, err), c, err)
	case err == ctxErr: //nolint:errorlint // the same value: there is nothing more to say
		return fail(kek.ErrUnavailable, fmt.Errorf("%s: %w", c.op, err))
	}
	return fmt.Errorf("%w: %s: %w: %w", kek.ErrUnavailable, c.op, ctxErr, wrapAs(kek.ErrUnavailable, c, err))
}

// failedAs returns an error of the class that wraps an error of the SDK.
func failedAs(class error, c call, err error) error {
	return fail(class, wrapAs(class, c, err))
}

// wrapAs wraps an error of the SDK, unless it matches another class, as that of a
// credential which is made of a KEK may. It is then quoted and not wrapped.
func wrapAs(class error, c call, err error) error {
	e := &sdkError{text: textOf(c, err), err: err}
	for _, other := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if other != class && errors.Is(err, other) {
			e.err = nil
		}
	}
	return e
}

// fail returns an error of the class that wraps an error of this package or of
// the standard library.
func fail(class, cause error) error { return fmt.Errorf("%w: %w", class, cause) }

// textOf returns what to say of an SDK error. Never what a server said: of a
// response there is the status, and codes that look like codes.
func textOf(c call, err error) string {
	var re *azcore.ResponseError
	a, ok := answerIn(c, err)
	switch {
	case ok:
		return strings.TrimSpace(fmt.Sprintf("Key Vault answered %d %s %s", a.status, orNone(a.code), a.inner))
	case fromCredential(err):
		return textOfCredential(err)
	case errors.As(err, &re):
		return fmt.Sprintf("an answer of status %d that is not Key Vault's about this key", re.StatusCode)
	}
	return oneLine(err.Error())
}

// textOfCredential leaves out the text, which has the answer of whatever serves
// tokens in it: a proxy that repeats the request repeats the secret.
func textOfCredential(err error) string {
	codes := entraCodes(err.Error())
	slices.Sort(codes)
	codes = slices.Compact(codes)
	words := append([]string{typeOf(err)}, codes[:min(len(codes), maxCodes)]...)
	return "no token (" + strings.Join(words, ", ") + ")"
}

// typeOf returns the type of a credential's error, without azcore's mark.
func typeOf(err error) string {
	name := fmt.Sprintf("%.100T", err)
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(name, "*errorinfo.") {
		return typeOf(inner)
	}
	return name
}

func oneLine(text string) string {
	cut := len(text) > maxText
	text = strings.ToValidUTF8(text[:min(len(text), maxText)], "")
	text = strings.Join(strings.Fields(text), " ")
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
