package hashivault_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
	"github.com/hashicorp/vault/api"
)

// TestClassifyServer is the table of what the server can do to a key and to the
// calls, and the class that every method's error then has.
func TestClassifyServer(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(f *fixture)
		class error
	}{
		{"key deleted", func(f *fixture) { f.key.Delete() }, kek.ErrDenied},
		{"key deleted, and the token may create", func(f *fixture) {
			f.srv.SetPolicy("root", hashivaulttest.Policy{"transit/*": {"create", "read", "update"}})
			f.key.Delete()
		}, kek.ErrDenied},
		{"mount gone", func(f *fixture) { f.srv.Unmount("", "transit") }, kek.ErrDenied},
		{"mount gone, root token", func(f *fixture) {
			f.client.SetToken(f.srv.RootToken())
			f.srv.Unmount("", "transit")
		}, kek.ErrDenied},
		{"no permission", func(f *fixture) { f.srv.SetPolicy("root", nil) }, kek.ErrDenied},
		{"no permission, newer server", func(f *fixture) {
			f.srv.Imitate(hashivaulttest.Newest)
			f.srv.SetPolicy("root", nil)
		}, kek.ErrDenied},
		{"no permission, token without default policy", func(f *fixture) {
			f.client.SetToken(f.srv.CreateTokenWithout(time.Hour, "nothing"))
		}, kek.ErrDenied},
		{"permission denied outright", func(f *fixture) {
			f.srv.SetPolicy("root", hashivaulttest.Policy{"transit/*": {"deny"}})
		}, kek.ErrDenied},
		{"no permission, and the token can't be asked about", func(f *fixture) {
			f.srv.SetPolicy("root", nil)
			answerLookup(f, http.StatusTooManyRequests, `{"errors":["rate limit quota exceeded"]}`)
		}, kek.ErrDenied},
		{"no permission, newer server, and the token can't be asked about", func(f *fixture) {
			f.srv.Imitate(hashivaulttest.Newest)
			f.srv.SetPolicy("root", nil)
			answerLookup(f, http.StatusServiceUnavailable, `{"errors":["Vault is sealed"]}`)
		}, kek.ErrDenied},

		{"token expired", func(f *fixture) {
			f.client.SetToken(f.srv.CreateToken(time.Nanosecond, "root"))
			time.Sleep(time.Millisecond)
		}, kek.ErrUnavailable},
		{"token expired, newer server", func(f *fixture) {
			f.srv.Imitate(hashivaulttest.Newest)
			f.srv.RevokeToken(f.client.Token())
		}, kek.ErrUnavailable},
		{"token expired, and asking about it is throttled", expiredAnd(http.StatusTooManyRequests, `{"errors":["rate limit quota exceeded"]}`), kek.ErrUnavailable},
		{"token expired, and the server is sealed then", expiredAnd(http.StatusServiceUnavailable, `{"errors":["Vault is sealed"]}`), kek.ErrUnavailable},
		{"token expired, and a gateway answers then", expiredAnd(http.StatusBadGateway, `<html>`), kek.ErrUnavailable},
		{"token expired, and a portal answers then", expiredAnd(http.StatusOK, `<html>`), kek.ErrUnavailable},
		{"token expired, and nothing answers then", expiredAnd(http.StatusForbidden, `{"errors":[]}`), kek.ErrUnavailable},
		{"no token", func(f *fixture) { f.client.ClearToken() }, kek.ErrUnavailable},
		{"token that can't be sent", func(f *fixture) { f.client.SetToken("a\nb") }, kek.ErrUnavailable},
		{"sealed", func(f *fixture) { f.srv.Seal() }, kek.ErrUnavailable},
		{"throttled", fault(hashivaulttest.Throttled), kek.ErrUnavailable},
		{"all calls throttled by percentage", func(f *fixture) { f.srv.Throttle(100) }, kek.ErrUnavailable},
		{"internal error", fault(hashivaulttest.InternalError), kek.ErrUnavailable},
		{"bad gateway", fault(hashivaulttest.BadGateway), kek.ErrUnavailable},
		{"a firewall's 403", fault(hashivaulttest.ForbiddenPage), kek.ErrUnavailable},
		{"a web server's 404", fault(hashivaulttest.NotFoundPage), kek.ErrUnavailable},
		{"engine not loaded", fault(hashivaulttest.NotLoaded), kek.ErrUnavailable},
		{"standby", fault(hashivaulttest.Standby), kek.ErrUnavailable},
		{"not initialised", fault(hashivaulttest.Uninitialized), kek.ErrUnavailable},
		{"connection cut", fault(hashivaulttest.CutOff), kek.ErrUnavailable},
		{"truncated", fault(hashivaulttest.Truncated), kek.ErrUnavailable},
		{"too long", fault(hashivaulttest.TooLong), kek.ErrUnavailable},
		{"not JSON", fault(hashivaulttest.NotJSON), kek.ErrUnavailable},
		{"an empty object", fault(hashivaulttest.Empty), kek.ErrUnavailable},
		{"an unknown error of a megabyte", fault(hashivaulttest.LongError), kek.ErrUnavailable},
		{"an error that repeats the request", fault(hashivaulttest.Echo), kek.ErrUnavailable},
		{"server stopped", func(f *fixture) { f.srv.Close() }, kek.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
				f := setUp(t, o)
				key, b := newKey(), binding("org")
				wrapped := mustWrap(t, f.kek, key, b)
				c.spoil(f)
				for name, op := range operations(f.kek, key, wrapped, b) {
					err := op(t.Context())
					wantClass(t, name, err, c.class)
					wantSafe(t, name, err, f, key, wrapped)
				}
			})
		})
	}
}

func fault(f hashivaulttest.Fault) func(*fixture) {
	return func(x *fixture) { x.srv.Fail(f) }
}

// answerLookup puts an answer in the place of the token's about itself.
func answerLookup(f *fixture, status int, body string) {
	f.srv.Rewrite(func(e hashivaulttest.Entry, was int, right []byte) (int, []byte) {
		if e.Path == "auth/token/lookup-self" {
			return status, []byte(body)
		}
		return was, right
	})
}

func expiredAnd(status int, body string) func(*fixture) {
	return func(f *fixture) {
		f.srv.RevokeToken(f.client.Token())
		answerLookup(f, status, body)
	}
}

// TestClassifyWrapped is the table of what can be wrong with a wrapped key.
func TestClassifyWrapped(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		key, b := newKey(), binding("org")
		old := mustWrap(t, f.kek, key, b)
		f.key.Rotate()
		other := mustWrap(t, setUpOn(t, f.srv, "other", o).kek, key, b)
		tooNew := append([]byte(nil), old...)
		tooNew[4] = 9
		for _, c := range []struct {
			name    string
			wrapped []byte
			b       kek.Binding
			min     int
			class   error
		}{
			{"another binding", old, binding("another"), 1, kek.ErrCorrupt},
			{"another key's", other, b, 1, kek.ErrCorrupt},
			{"of a version that is not yet", tooNew, b, 1, kek.ErrCorrupt},
			{"of a version that was retired", old, b, 2, kek.ErrDenied},
		} {
			f.key.SetMinDecryptionVersion(c.min)
			for name, op := range operations(f.kek, key, c.wrapped, c.b) {
				if name != "Wrap" && name != "Check" {
					wantClass(t, c.name+": "+name, op(t.Context()), c.class)
				}
			}
		}
		f.key.SetMinDecryptionVersion(1)
		if _, err := f.kek.Unwrap(t.Context(), old, b); err != nil {
			t.Error(err)
		}
	})
}

// TestClassifyNetwork is the table of what lies between.
func TestClassifyNetwork(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	key, b := newKey(), binding("org")
	wrapped := mustWrap(t, f.kek, key, b)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	was := f.client.Address()
	for name, address := range map[string]string{
		"refused":     "http://" + closed.Addr().String(),
		"DNS":         "http://vault.invalid:8200",
		"TLS":         "https" + f.srv.URL()[len("http"):],
		"no such URL": "http://127.0.0.1:1/" + "x",
	} {
		if err := f.client.SetAddress(address); err != nil {
			t.Fatal(err)
		}
		for op, call := range operations(f.kek, key, wrapped, b) {
			wantClass(t, name+": "+op, call(t.Context()), kek.ErrUnavailable)
		}
	}
	if err := f.client.SetAddress(was); err != nil {
		t.Fatal(err)
	}

	// The client's own time limit isn't ctx's.
	f.srv.Fail(hashivaulttest.Hang)
	f.client.SetClientTimeout(20 * time.Millisecond)
	for op, call := range operations(f.kek, key, wrapped, b) {
		wantClass(t, "timeout: "+op, call(t.Context()), kek.ErrUnavailable)
	}
}

// A server whose certificate nobody vouches for.
func TestClassifyCertificate(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	wrapped := mustWrap(t, f.kek, newKey(), binding("org"))
	ln, err := tls.Listen("tcp", "127.0.0.1:0", selfSigned(t))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: discard}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	if err := f.client.SetAddress("https://" + ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	_, err = f.kek.Unwrap(t.Context(), wrapped, binding("org"))
	wantClass(t, "Unwrap", err, kek.ErrUnavailable)
	var unverified *tls.CertificateVerificationError
	if !errors.As(err, &unverified) {
		t.Errorf("%v doesn't wrap the TLS error", err)
	}
}

// The SDK's own error is there for who needs it.
func TestErrorsWrapTheSDKs(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{})
	wrapped := mustWrap(t, f.kek, newKey(), binding("org"))
	_, err := f.kek.Unwrap(t.Context(), wrapped, binding("another"))
	var r *api.ResponseError
	if !errors.As(err, &r) || r.StatusCode != 400 {
		t.Errorf("%v doesn't wrap the response", err)
	}
	f.srv.Close()
	_, err = f.kek.Unwrap(t.Context(), wrapped, binding("org"))
	var sent *url.Error
	if !errors.As(err, &sent) {
		t.Errorf("%v doesn't wrap the network's error", err)
	}
}

// An error of the client's transport that matches a class already, as that of a
// transport made of KEKs would, gets no second one.
func TestOneClassOnly(t *testing.T) {
	for _, class := range []error{kek.ErrDenied, kek.ErrCorrupt, kek.ErrUnavailable} {
		srv := hashivaulttest.New(t)
		srv.CreateKey("root", hashivaulttest.KeyOptions{})
		config := api.DefaultConfig()
		config.Address, config.MaxRetries = srv.URL(), 0
		config.HttpClient = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, class })}
		client, err := api.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = hashivault.New(t.Context(), client, "root", hashivault.Options{})
		wantClass(t, "New", err, kek.ErrUnavailable)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A token that was replaced while calls go on.
func TestExpiringToken(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		key, b := newKey(), binding("org")
		wrapped := mustWrap(t, f.kek, key, b)
		f.srv.RevokeToken(f.client.Token())
		_, err := f.kek.Unwrap(t.Context(), wrapped, b)
		wantClass(t, "Unwrap with an expired token", err, kek.ErrUnavailable)
		f.client.SetToken(f.srv.CreateToken(time.Hour, "root"))
		if _, err := f.kek.Unwrap(t.Context(), wrapped, b); err != nil {
			t.Error(err)
		}
	})
}

// The token expires, and has been replaced by the time that the driver asks about
// it: it is the old one that says whether the key was denied.
func TestTokenReplacedWhileItIsRefused(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		key, b := newKey(), binding("org")
		wrapped := mustWrap(t, f.kek, key, b)
		f.srv.Rewrite(func(_ hashivaulttest.Entry, status int, body []byte) (int, []byte) {
			if status == http.StatusForbidden {
				f.client.SetToken(f.srv.CreateToken(time.Hour, "root"))
			}
			return status, body
		})
		for name, op := range operations(f.kek, key, wrapped, b) {
			f.srv.RevokeToken(f.client.Token())
			wantClass(t, name, op(t.Context()), kek.ErrUnavailable)
			if err := op(t.Context()); err != nil {
				t.Errorf("%s with the new token: %v", name, err)
			}
		}
	})
}

// The other way about: a token that is no good replaces one that was denied.
func TestTokenReplacedWhileItIsDenied(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	wrapped := mustWrap(t, f.kek, newKey(), binding("org"))
	f.srv.SetPolicy("root", nil)
	f.srv.Rewrite(func(_ hashivaulttest.Entry, status int, body []byte) (int, []byte) {
		f.client.SetToken("hvs.nobody")
		return status, body
	})
	_, err := f.kek.Unwrap(t.Context(), wrapped, binding("org"))
	wantClass(t, "Unwrap", err, kek.ErrDenied)
}

// The client retries by itself, if it is told to, and ctx ends that too.
func TestClientsRetriesAreItsOwn(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	key, b := newKey(), binding("org")
	wrapped := mustWrap(t, f.kek, key, b)
	f.client.SetMaxRetries(2)
	f.client.SetMinRetryWait(time.Millisecond)
	f.client.SetMaxRetryWait(2 * time.Millisecond)
	f.srv.FailNext(2, hashivaulttest.BadGateway)
	if _, err := f.kek.Unwrap(t.Context(), wrapped, b); err != nil {
		t.Error(err)
	}
	f.client.SetMinRetryWait(time.Hour)
	f.client.SetMaxRetryWait(time.Hour)
	f.srv.Seal()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := f.kek.Unwrap(ctx, wrapped, b)
	wantClass(t, "Unwrap", err, kek.ErrUnavailable)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v doesn't match the context's error", err)
	}
}
