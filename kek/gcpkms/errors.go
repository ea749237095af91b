package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/embedvault/vault/kek"
	rpc "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
)

// failure is the error of a call. It matches its class, and the context's error
// if that has ended, and it wraps the SDK's own error; its text is short whatever
// a server says.
type failure struct {
	class  error
	ctxErr error // nil: ctx has not ended
	cause  error // nil: there was no call
	answer answer
	text   string
}

func (f *failure) Error() string { return f.class.Error() + ": " + f.text }

// Unwrap leaves out a cause that matches another class: an interceptor of the
// user's can return any error.
func (f *failure) Unwrap() []error {
	errs := []error{f.class}
	if f.ctxErr != nil {
		errs = append(errs, f.ctxErr)
	}
	for _, other := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if other != f.class && errors.Is(f.cause, other) {
			return errs
		}
	}
	if f.cause != nil {
		errs = append(errs, f.cause)
	}
	return errs
}

// failed makes a failure of an error of the SDK's.
func (k *KEK) failed(ctx context.Context, op operation, err error) error {
	a := answerOf(err)
	if a.code == codes.DeadlineExceeded {
		awaitDeadline(ctx)
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ended(ctxErr, err)
	}
	return &failure{class: classify(op, a), cause: err, answer: a, text: k.textOf(a, err)}
}

// ended is the error of a call whose ctx has ended.
func ended(ctxErr, cause error) error {
	return &failure{class: kek.ErrUnavailable, ctxErr: ctxErr, cause: cause, text: ctxErr.Error()}
}

// awaitDeadline waits for ctx's own deadline if it is due: the server counts the
// same time and may be a moment faster to say that it is over.
func awaitDeadline(ctx context.Context) {
	if due, ok := ctx.Deadline(); ok && time.Until(due) < 100*time.Millisecond {
		<-ctx.Done()
	}
}

// mayNotAsk reports whether err, of lookup, says that IAM doesn't let the caller
// see the key, which says nothing about using it.
func mayNotAsk(err error) bool {
	var f *failure
	if !errors.As(err, &f) || f.class != kek.ErrDenied || f.answer.code != codes.PermissionDenied {
		return false
	}
	return f.answer.domain != infrastructure || f.answer.reason == "IAM_PERMISSION_DENIED"
}

// reasonOf is why a key is denied, in Google's own word.
func reasonOf(err error) string {
	var f *failure
	if errors.As(err, &f) {
		return plain(f.answer.word(), "")
	}
	return "denied"
}

// textOf is what an error says: the code, what it is refused with, and the
// message as far as it is plain.
func (k *KEK) textOf(a answer, err error) string {
	if a.foreign {
		a.foreign = false
		return "not an answer of Cloud KMS: " + k.textOf(a, err)
	}
	if a.message == "" {
		return plain(err.Error(), k.name)
	}
	code := rpc.Code(a.code).String()
	if word := plain(a.word(), ""); word != code {
		code += " (" + word + ")"
	}
	return fmt.Sprintf("%s: %s", code, plain(a.message, k.name))
}

// Limits of what is repeated of a message.
const (
	maxMessage = 512 // bytes
	maxWord    = 42  // bytes: a permission in quotes fits, 32 bytes in base64 don't
)

// plain returns a message's plain words. A server may say anything, and repeat
// what it was sent: words that are long, or not ASCII, could be keys, tokens and
// ciphertexts in some encoding, so they are left out, save the key's name. The
// whole message is in the SDK's own error.
func plain(message, name string) string {
	message = message[:min(len(message), 8*maxMessage)]
	var b strings.Builder
	for _, word := range strings.Fields(message) {
		short := word
		if name != "" {
			short = strings.ReplaceAll(word, name, "")
		}
		if len(short) > maxWord || strings.ContainsFunc(word, notPrintable) {
			word = "…"
		}
		if b.Len()+len(word) >= maxMessage {
			return b.String() + " …"
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(word)
	}
	return b.String()
}

// notPrintable also holds for what escaped bytes begin with.
func notPrintable(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }
