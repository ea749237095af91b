package hashivault_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"math/big"
	"strings"
	"testing"
	"time"

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
