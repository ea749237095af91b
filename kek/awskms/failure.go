package awskms

import (
	"context"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"github.com/embedvault/vault/kek"
)

// failure is an error of a call: its class and its causes, and a text that is
// safe to log.
type failure struct {
	class  error
	text   string
	causes []error
}

func (f *failure) Error() string { return f.class.Error() + ": " + f.text }

// Unwrap makes the class match, and the SDK's own error.
func (f *failure) Unwrap() []error { return append([]error{f.class}, f.causes...) }

// failed puts an error of the SDK's into its class, or into unavailable if ctx
// has ended. sent is what went to KMS and must not be printed.
func (k *KEK) failed(ctx context.Context, err error, b kek.Binding, sent []byte) error {
	f := &failure{class: classOf(err), text: k.safeText(err, b, sent)}
	if ctxErr := ctx.Err(); ctxErr != nil {
		f.class, f.causes = kek.ErrUnavailable, append(f.causes, ctxErr)
	}
	if !ofAnotherClass(err, f.class) {
		f.causes = append(f.causes, err)
	}
	return f
}

// ofAnotherClass reports whether err, of a transport or a credentials provider
// of the user's, matches a class itself. Such an error is quoted and not
// wrapped: an error has one class.
func ofAnotherClass(err, class error) bool {
	for _, other := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if other != class && errors.Is(err, other) {
			return true
		}
	}
	return false
}

const (
	maxText    = 1 << 10 // bytes of an error's text; KMS's own are a few hundred
	minSecret  = 4       // shorter values are in any text by chance
	redaction  = "[redacted]"
	cutOffMark = "…"
)

// safeText is what err says, without what we sent: an error message may repeat
// the request.
func (k *KEK) safeText(err error, b kek.Binding, sent []byte) string {
	text := err.Error()
	hide := func(s string) {
		quoted, ascii := strconv.Quote(s), strconv.QuoteToASCII(s) // JSON's forms as well
		for _, form := range []string{s, quoted[1 : len(quoted)-1], ascii[1 : len(ascii)-1]} {
			if len(s) >= minSecret {
				text = strings.ReplaceAll(text, form, redaction)
			}
		}
	}
	hide(string(sent))
	hide(base64.StdEncoding.EncodeToString(sent))
	for _, token := range k.options.GrantTokens {
		hide(token)
	}
	for _, v := range b.Context {
		hide(v)
	}
	text = strings.ToValidUTF8(strings.Map(printable, text), "?")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + cutOffMark
	}
	return text
}

// printable replaces what could forge a line in a log.
func printable(r rune) rune {
	if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
		return ' '
	}
	return r
}
