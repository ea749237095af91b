package tinkkek_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Foreign AEADs that misbehave.
type (
	panicky   struct{}
	silent    struct{}
	writeOnly struct{ tink.AEAD }
	deaf      struct{ tink.AEAD } // to associated data
	greedy    struct{ tink.AEAD } // clears what it is given
	keeping   struct {            // and returns the same slice again
		tink.AEAD
		kept map[string][]byte
	}
	slow struct {
		tink.AEAD
		release chan struct{}
		got     chan string
	}
)

func (panicky) Encrypt([]byte, []byte) ([]byte, error) { panic("a key might stand here") }
func (panicky) Decrypt([]byte, []byte) ([]byte, error) { panic(errors.New("or here")) }
func (silent) Encrypt([]byte, []byte) ([]byte, error)  { return nil, nil }
func (silent) Decrypt([]byte, []byte) ([]byte, error)  { return nil, nil }

func (writeOnly) Decrypt([]byte, []byte) ([]byte, error) {
	return nil, codeError("AccessDeniedException")
}

func (a deaf) Encrypt(p, _ []byte) ([]byte, error) { return a.AEAD.Encrypt(p, nil) }
func (a deaf) Decrypt(c, _ []byte) ([]byte, error) { return a.AEAD.Decrypt(c, nil) }

func (a greedy) Encrypt(p, ad []byte) ([]byte, error) {
	defer clear(p)
	return a.AEAD.Encrypt(p, ad)
}

func (a greedy) Decrypt(c, ad []byte) ([]byte, error) {
	defer clear(c)
	return a.AEAD.Decrypt(c, ad)
}

func (a keeping) Decrypt(c, ad []byte) ([]byte, error) {
	if p := a.kept[string(c)+string(ad)]; p != nil {
		return p, nil
	}
	p, err := a.AEAD.Decrypt(c, ad)
	a.kept[string(c)+string(ad)] = p
	return p, err
}

func (a slow) Encrypt(p, ad []byte) ([]byte, error) {
	<-a.release
	a.got <- string(p)
	return a.AEAD.Encrypt(p, ad)
}

func from(t testing.TB, a tink.AEAD) *tinkkek.KEK {
	t.Helper()
	return must(tinkkek.FromAEAD("app:key", a, tinkkek.Options{}))(t)
}

func TestAEADThatPanics(t *testing.T) {
	k := from(t, panicky{})
	_, err := k.Wrap(t.Context(), secret(), binding(t))
	wantError(t, err, kek.ErrUnavailable)
	if strings.Contains(err.Error(), "a key might stand here") {
		t.Error("what it panicked with is in the error")
	}
	_, err = k.Unwrap(t.Context(), []byte{1, 2, 3}, binding(t))
	wantError(t, err, kek.ErrUnavailable)
}

func TestAEADThatReturnsNothing(t *testing.T) {
	k := from(t, silent{})
	_, err := k.Wrap(t.Context(), secret(), binding(t))
	wantError(t, err, kek.ErrCorrupt)
	_, err = k.Unwrap(t.Context(), []byte{1, 2, 3}, binding(t))
	wantError(t, err, kek.ErrCorrupt)
	_, err = k.Check(t.Context())
	wantError(t, err, kek.ErrCorrupt)
}

func TestAEADThatIgnoresAssociatedData(t *testing.T) {
	k := from(t, deaf{newAEAD(t)})
	for range 2 {
		_, err := k.Wrap(t.Context(), secret(), binding(t))
		wantError(t, err, kek.ErrCorrupt)
	}
	_, err := k.Check(t.Context())
	wantError(t, err, kek.ErrCorrupt)
}

func TestAEADThatChangesItsInput(t *testing.T) {
	k := must(tinkkek.FromAEAD("app:key", greedy{newAEAD(t)}, tinkkek.Options{Classify: tinkkek.ClassifyLocal}))(t)
	key := secret()
	was := bytes.Clone(key)
	wrapped := wrap(t, k, key)
	wantOpens(t, k, wrapped, was)
	wantOpens(t, k, wrapped, was)
	if !bytes.Equal(key, was) {
		t.Error("the caller's key was changed")
	}
}

// The caller zeroes what it gets; what the AEAD keeps must not feel it.
func TestAEADThatKeepsItsResults(t *testing.T) {
	kept := keeping{newAEAD(t), map[string][]byte{}}
	k := must(tinkkek.FromAEAD("app:key", kept, tinkkek.Options{Classify: tinkkek.ClassifyLocal}))(t)
	key := secret()
	wrapped := wrap(t, k, key)
	clear(must(k.Unwrap(t.Context(), wrapped, binding(t)))(t))
	wantOpens(t, k, wrapped, key)
}

// The caller zeroes its key when Wrap returns; the AEAD may still be at work.
func TestAEADThatIsLate(t *testing.T) {
	a := slow{AEAD: newAEAD(t), release: make(chan struct{}), got: make(chan string, 1)}
	k := from(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	key := secret()
	was := string(key)
	_, err := k.Wrap(ctx, key, binding(t))
	wantError(t, err, kek.ErrUnavailable, context.DeadlineExceeded)
	clear(key)
	close(a.release)
	if got := <-a.got; got != was {
		t.Error("the AEAD was working on the caller's own slice")
	}
}

// Whether associated data is heeded is asked once, and again after an outage.
func TestBindingIsProvedOnce(t *testing.T) {
	kms := newFakeKMS(t)
	k := from(t, kms)
	key := secret()
	wrap(t, k, key)
	if got := kms.count(); got != 2 {
		t.Errorf("the first Wrap made %d calls, want 2", got)
	}
	wrap(t, k, key)
	if got := kms.count(); got != 3 {
		t.Errorf("two Wraps made %d calls, want 3", got)
	}

	// An AEAD that can't decrypt proves that it doesn't ignore anything.
	k = from(t, writeOnly{kms})
	wrap(t, k, key)
	if status := must(k.Check(t.Context()))(t); status.Usable || status.Reason != "AccessDeniedException" {
		t.Errorf("status %+v", status)
	}
}

func TestUnwrapAsksNobodyAboutGarbage(t *testing.T) {
	kms := newFakeKMS(t)
	k := from(t, kms)
	for _, wrapped := range [][]byte{nil, {}, {1}, {2, 3, 4}, bytes.Repeat([]byte{1}, 4097)} {
		_, err := k.Unwrap(t.Context(), wrapped, binding(t))
		wantError(t, err, kek.ErrCorrupt)
	}
	if got := kms.count(); got != 0 {
		t.Errorf("it made %d calls", got)
	}
}

func TestWrapRefusesLongCiphertexts(t *testing.T) {
	k := from(t, newFakeKMS(t))
	_, err := k.Wrap(t.Context(), make([]byte, 4096), binding(t))
	wantError(t, err, kek.ErrCorrupt)
}

// An AEAD that is made of another KEK has errors of a class already. There must
// be one in the end, that of Options.Classify if it says so.
func TestErrorsOfOneClass(t *testing.T) {
	inner := memkek.New("inner")
	k := from(t, aeadOf{inner, binding(t)})
	wrapped := wrap(t, k, secret())
	overruled := must(tinkkek.FromAEAD("app:key", aeadOf{inner, binding(t)}, tinkkek.Options{
		Classify: func(error) error { return kek.ErrDenied },
	}))(t)
	for fault, want := range map[memkek.Fault]error{
		memkek.Denied: kek.ErrDenied, memkek.Unavailable: kek.ErrUnavailable, memkek.Corrupt: kek.ErrCorrupt,
	} {
		inner.SetFault(fault)
		_, err := k.Unwrap(t.Context(), wrapped, binding(t))
		wantClass(t, err, want)
		_, err = overruled.Unwrap(t.Context(), wrapped, binding(t))
		wantClass(t, err, kek.ErrDenied)
	}
}

func wantClass(t testing.TB, err, want error) {
	t.Helper()
	for _, class := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if got := errors.Is(err, class); got != (class == want) {
			t.Errorf("error %v: matches %q: %v", err, class, got)
		}
	}
}

// aeadOf is an AEAD that is a KEK.
type aeadOf struct {
	kek     kek.Wrapper
	binding kek.Binding
}

func (a aeadOf) Encrypt(p, ad []byte) ([]byte, error) {
	b := a.binding
	copy(b.KeyID[:], ad[len(ad)-32:])
	return a.kek.Wrap(nonTestContext(), p, b)
}

func (a aeadOf) Decrypt(c, ad []byte) ([]byte, error) {
	b := a.binding
	copy(b.KeyID[:], ad[len(ad)-32:])
	return a.kek.Unwrap(nonTestContext(), c, b)
}

// A short probe of Check has less associated data than aeadOf cuts off; such an
// AEAD panics, and Check must bear it.
func TestCheckBearsPanics(t *testing.T) {
	_, err := from(t, aeadOf{memkek.New("inner"), binding(t)}).Check(t.Context())
	wantError(t, err, kek.ErrUnavailable)
}

func TestRemoteOptions(t *testing.T) {
	a := newAEAD(t)
	for _, uri := range []string{"", "with space", "tab\t", "é", "tink+app:key", strings.Repeat("x", 508)} {
		_, err := tinkkek.FromAEAD(uri, a, tinkkek.Options{})
		wantError(t, err, tinkkek.ErrOptions)
	}
	k := must(tinkkek.FromAEAD(strings.Repeat("x", 507), a, tinkkek.Options{}))(t)
	if got := len(k.URI()); got != 512 {
		t.Errorf("URI of %d bytes", got)
	}
	for _, o := range []tinkkek.Options{{Name: "local"}, {Encryption: a}} {
		_, err := tinkkek.FromAEAD("app:key", a, o)
		wantError(t, err, tinkkek.ErrOptions)
	}
	_, err := tinkkek.FromAEAD("app:key", nil, tinkkek.Options{})
	wantError(t, err, tinkkek.ErrOptions)
	_, err = tinkkek.FromAEADWithContext("app:key", nil, tinkkek.Options{})
	wantError(t, err, tinkkek.ErrOptions)
	_, err = tinkkek.FromKMSClient(nil, "fake-kms://key/1", tinkkek.Options{})
	wantError(t, err, tinkkek.ErrOptions)
	_, err = tinkkek.FromKMSClient(fakeClient{}, "fake-kms://key/1", tinkkek.Options{})
	wantError(t, err, tinkkek.ErrOptions)
	_, err = tinkkek.FromKMSClient(brokenClient{}, "fake-kms://key/1", tinkkek.Options{})
	wantError(t, err, io.ErrUnexpectedEOF)
}

type brokenClient struct{}

func (brokenClient) Supported(string) bool { return true }

func (brokenClient) GetAEAD(string) (tink.AEAD, error) { return nil, io.ErrUnexpectedEOF }

func TestKeysetOptions(t *testing.T) {
	path := t.TempDir() + "/keyset.json"
	bad := []tinkkek.Options{{Classify: tinkkek.ClassifyLocal}}
	for _, name := range []string{"a b", "a/b", "../x", "a:b", "é", "a\x00", strings.Repeat("x", 65)} {
		bad = append(bad, tinkkek.Options{Name: name})
	}
	for _, o := range bad {
		_, err := tinkkek.LoadOrCreate(path, o)
		wantError(t, err, tinkkek.ErrOptions)
		_, err = tinkkek.Load(path, o)
		wantError(t, err, tinkkek.ErrOptions)
		wantError(t, tinkkek.Rotate(path, o), tinkkek.ErrOptions)
		_, err = tinkkek.New(newHandle(t), o)
		wantError(t, err, tinkkek.ErrOptions)
	}
	_, err := tinkkek.LoadOrCreate(path, tinkkek.Options{}, tinkkek.Options{})
	wantError(t, err, tinkkek.ErrOptions)
	_, err = tinkkek.New(newHandle(t), tinkkek.Options{Encryption: newAEAD(t)})
	wantError(t, err, tinkkek.ErrOptions)
	k := must(tinkkek.New(newHandle(t), tinkkek.Options{Name: strings.Repeat("Az09_.-", 9)}))(t)
	if got := k.URI(); got != "tink-keyset:"+strings.Repeat("Az09_.-", 9) {
		t.Errorf("URI %q", got)
	}
}

func TestPrintsNothingButItsURI(t *testing.T) {
	k := must(tinkkek.New(newHandle(t), tinkkek.Options{}))(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		if got := fmt.Sprintf(verb, k); got != k.URI() {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}
