package hashivault_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
)

// wantSafe checks that an error's text is short and holds nothing of the key,
// the wrapped key, the token or the context.
func wantSafe(t testing.TB, what string, err error, f *fixture, key, wrapped []byte) {
	t.Helper()
	text := fmt.Sprintf("%v %+v", err, err)
	if len(text) > 8<<10 {
		t.Errorf("%s: the error's text has %d bytes", what, len(text))
	}
	for _, secret := range []string{
		string(key), hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key)[:20],
		string(wrapped), base64.StdEncoding.EncodeToString(wrapped[5:])[:20],
		f.client.Token(), "\n",
	} {
		if secret != "" && strings.Contains(text, secret) {
			t.Errorf("%s: the error's text has %.10q… in it: %.300q", what, secret, text)
		}
	}
}

// A server, or something before it, that repeats in its errors what it was sent.
func TestErrorsRepeatNothing(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		key, b := newKey(), binding("org")
		wrapped := mustWrap(t, f.kek, key, b)
		f.srv.Rewrite(func(hashivaulttest.Entry, int, []byte) (int, []byte) {
			return 500, []byte(`{"errors":["your token is ` + f.client.Token() + `"]}`)
		})
		for name, op := range operations(f.kek, key, wrapped, b) {
			wantSafe(t, name, op(t.Context()), f, key, wrapped)
		}
		f.srv.Rewrite(nil)
		f.srv.Fail(hashivaulttest.Echo)
		for name, op := range operations(f.kek, key, wrapped, b) {
			wantSafe(t, name, op(t.Context()), f, key, wrapped)
		}
	})
}

// The same in other spellings, and with characters that forge lines of logs: no
// word of an answer is repeated that isn't one of Vault's.
func TestErrorsQuoteNothingForeign(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	key := bytes.Repeat([]byte{0xfb, 0xef, 0xbe}, 11)[:32] // "++++…" in base64
	encoded := base64.StdEncoding.EncodeToString(key)
	for name, text := range map[string]string{
		"percent-encoded, as of a firewall": url.QueryEscape(encoded),
		"without its first character":       encoded[1:],
		"base64url":                         base64.URLEncoding.EncodeToString(key),
		"hex":                               hex.EncodeToString(key),
		"beside words of Vault's":           "permission denied, message authentication failed: " + encoded[2:],
		"control characters":                "a\u0085time=now level=INFO msg=forged\u2028\u009b31m\u202e",
	} {
		body, err := json.Marshal(map[string]any{"errors": []string{"blocked: " + text}})
		if err != nil {
			t.Fatal(err)
		}
		for _, status := range []int{400, 403, 404, 429, 500} {
			f.srv.Rewrite(func(hashivaulttest.Entry, int, []byte) (int, []byte) { return status, body })
			_, err := f.kek.Wrap(t.Context(), key, binding("org"))
			if strings.Contains(err.Error(), "blocked") || strings.Contains(err.Error(), text) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// The same of answers that are no HTTP, which net/http quotes, and of redirects
// to nowhere.
func TestErrorsQuoteNoBrokenAnswer(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	wrapped := mustWrap(t, f.kek, newKey(), binding("org"))
	for _, answer := range []string{
		"SECRET\r\n\r\n", "HTTP/1.1 SECRET\r\n\r\n", "HTTP/1.1 200 OK\r\nSECRET\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: SECRET\r\n\r\n",
		"HTTP/1.1 307 X\r\nLocation: http://SECRET:x/%zz\r\n\r\n", "HTTP/1.1 307 X\r\nLocation: SECRET://x\r\nContent-Length: 0\r\n\r\n",
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 4096))
				_, _ = io.WriteString(c, answer)
				_ = c.Close()
			}
		}()
		if err := f.client.SetAddress("http://" + ln.Addr().String()); err != nil {
			t.Fatal(err)
		}
		_, err = f.kek.Unwrap(t.Context(), wrapped, binding("org"))
		wantClass(t, answer, err, kek.ErrUnavailable)
		if strings.Contains(strings.ToUpper(err.Error()), "SECRET") {
			t.Errorf("%q: %v", answer, err)
		}
		_ = ln.Close()
	}
}

// Whatever the verb, a KEK prints as its URI.
func TestFormat(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		if got := fmt.Sprintf(verb, f.kek); got != f.kek.URI() {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

var discard = log.New(io.Discard, "", 0)

// selfSigned returns a TLS configuration with a certificate of its own.
func selfSigned(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
