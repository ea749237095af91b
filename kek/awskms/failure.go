package awskms

import (
	"context"
	"errors"

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

// failed puts an error of the SDK's into its class. sent is what went to KMS and
// must not be printed.
func (k *KEK) failed(ctx context.Context, err error, b kek.Binding, sent []byte) error {
	return k.failedAs(ctx, classOf(err), err, b, sent)
}

// refused is failed for calls with a ciphertext. may asks KMS whether the call is
// permitted with this key.
//
// KMS may refuse a ciphertext that another key made by words about that other
// key, which the caller may not use or which isn't there, although the request
// names this one: seen by https://github.com/kubernetes-sigs/aws-encryption-provider/pull/78.
// A permission that was taken away must not look like that, nor a swapped row
// like a revocation. The words don't tell, so KMS is asked. If it can't answer,
// the refusal stands.
func (k *KEK) refused(ctx context.Context, err error, b kek.Binding, sent []byte, may func() bool) error {
	class := classOf(err)
	if class == kek.ErrDenied && blamesCiphertext(err) && may() {
		class = kek.ErrCorrupt
	}
	return k.failedAs(ctx, class, err, b, sent)
}

// failedAs makes a failure of a class, or of unavailable if ctx has ended.
func (k *KEK) failedAs(ctx context.Context, class, err error, b kek.Binding, sent []byte) error {
	f := &failure{class: class, text: k.safeText(err, b, sent)}
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
