package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// kekOpener makes KEKs of URIs, each once.
type kekOpener struct {
	a       *app
	keysets map[string]string // name → file

	mu     sync.Mutex // guards what follows
	opened map[string]*lazyKEK
}

func (a *app) newOpener() (*kekOpener, error) {
	o := &kekOpener{a: a, keysets: map[string]string{}, opened: map[string]*lazyKEK{}}
	for _, flag := range a.keysetFlags() {
		name, file, ok := strings.Cut(flag, "=")
		if !ok {
			name, file = "local", flag
		}
		if _, twice := o.keysets[name]; twice {
			return nil, usage("--keyset: two files for the keyset %q", name)
		}
		o.keysets[name] = file
	}
	return o, nil
}

// open returns the KEK with this URI. A KMS is not asked before it is needed: of
// rules for many customers one that can't be reached, or has been revoked, must be in
// nobody else's way.
func (o *kekOpener) open(uri string) (*lazyKEK, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l := o.opened[uri]; l != nil {
		return l, nil
	}
	scheme, _, _ := strings.Cut(uri, ":")
	dial, err := o.dialer(scheme, uri)
	if err != nil {
		return nil, err
	}
	l := &lazyKEK{uri: uri, dial: dial}
	if !keyctx.ValidURI(uri) {
		return nil, usage("a KEK's URI is 1 to %d bytes of printable ASCII", keyctx.MaxURILen)
	}
	o.opened[uri] = l
	return l, nil
}

// openAny is open, and takes also a URI that open refuses: of rules for many customers
// one whose KEK vaultctl doesn't know is in nobody else's way. What needs that KEK
// fails.
func (o *kekOpener) openAny(uri string) *lazyKEK {
	l, err := o.open(uri)
	if err != nil {
		l = &lazyKEK{uri: uri, dial: func(context.Context) (kek.Wrapper, error) { return nil, err }}
	}
	return l
}

// dialer returns what opens a KEK with this scheme, whose URI can be read.
func (o *kekOpener) dialer(scheme, uri string) (func(context.Context) (kek.Wrapper, error), error) {
	switch scheme {
	case "tink-keyset":
		return o.tink(uri)
	case "aws-kms":
		return o.a.awsKEK(uri)
	case "gcp-kms":
		return o.a.gcpKEK(uri)
	case "azure-kv":
		return o.a.azureKEK(uri)
	case "hashivault":
		return o.a.hashiKEK(uri)
	}
	if strings.HasPrefix(scheme, "tink+") {
		return nil, usage("the KEK %s is made of a Tink AEAD in your application, which vaultctl doesn't have: use vault.Rewrap there", uri)
	}
	return nil, usage("the KEK %q has no scheme of tink-keyset, aws-kms, gcp-kms, azure-kv, hashivault", uri)
}

// Opening a KEK.
const (
	openTimeout = 15 * time.Second
	openAgain   = 5 * time.Second // how long a failure stands for the next tries
)

// lazyKEK is a KEK that is opened when it is first needed.
type lazyKEK struct {
	uri  string
	dial func(context.Context) (kek.Wrapper, error)

	mu     sync.Mutex // guards what follows, and is held while it is opened
	inner  kek.Wrapper
	failed error
	until  time.Time // failed stands until then
}

var _ kek.Wrapper = (*lazyKEK)(nil)

// URI implements kek.Wrapper.
func (l *lazyKEK) URI() string { return l.uri }

// Wrap implements kek.Wrapper.
func (l *lazyKEK) Wrap(ctx context.Context, key []byte, b kek.Binding) ([]byte, error) {
	w, err := l.opened(ctx)
	if err != nil {
		return nil, err
	}
	return w.Wrap(ctx, key, b)
}

// Unwrap implements kek.Wrapper.
func (l *lazyKEK) Unwrap(ctx context.Context, wrapped []byte, b kek.Binding) ([]byte, error) {
	w, err := l.opened(ctx)
	if err != nil {
		return nil, err
	}
	return w.Unwrap(ctx, wrapped, b)
}

// opened returns the driver's own KEK. Its errors are of one class of package kek.
func (l *lazyKEK) opened(ctx context.Context) (kek.Wrapper, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inner != nil {
		return l.inner, nil
	}
	if l.failed != nil && time.Now().Before(l.until) { // a KMS that hangs is not waited for by each key
		return nil, l.failed
	}
	dialCtx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	w, err := l.dial(dialCtx)
	if err == nil && w.URI() != l.uri {
		err = fmt.Errorf("it calls itself %s", w.URI())
	}
	if err == nil {
		l.inner, l.failed = w, nil
		return w, nil
	}
	if class := kek.Class(err); !errors.Is(err, class) {
		err = fmt.Errorf("%w: %w", class, err)
	}
	err = fmt.Errorf("open KEK %s: %w", l.uri, err)
	if ctx.Err() == nil {
		l.failed, l.until = err, time.Now().Add(openAgain)
	}
	return nil, err
}
