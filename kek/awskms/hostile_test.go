package awskms_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/awskms"
	"github.com/embedvault/vault/kek/awskms/awskmstest"
	"github.com/embedvault/vault/keyctx"
)

// Good answers that can't be right.
func TestAnswersThatCantBeRight(t *testing.T) {
	b := newBench(t, awskms.Options{})
	other := b.srv.CreateKey(awskmstest.KeyOptions{})
	replica := strings.Replace(b.key.ARN(), "us-west-2", "us-east-1", 1)
	for _, c := range []struct {
		name, operation, member string
		value                   any // nil: the member is missing
		class                   error
	}{
		{"another key wrapped", "Encrypt", "KeyId", other.ARN(), kek.ErrCorrupt},
		{"an ID instead of an ARN", "Encrypt", "KeyId", b.key.ID(), kek.ErrCorrupt},
		{"another Region", "Encrypt", "KeyId", replica, kek.ErrCorrupt},
		{"an empty key", "Encrypt", "KeyId", "", kek.ErrCorrupt},
		{"no key", "Encrypt", "KeyId", nil, kek.ErrUnavailable},
		{"no ciphertext", "Encrypt", "CiphertextBlob", nil, kek.ErrCorrupt},
		{"an empty ciphertext", "Encrypt", "CiphertextBlob", []byte{}, kek.ErrCorrupt},
		{"a ciphertext too long", "Encrypt", "CiphertextBlob", random(keyctx.MaxWrappedLen), kek.ErrCorrupt},
		{"no base64", "Encrypt", "CiphertextBlob", "$$$", kek.ErrUnavailable},

		{"another key unwrapped", "Decrypt", "KeyId", other.ARN(), kek.ErrCorrupt},
		{"another Region", "Decrypt", "KeyId", replica, kek.ErrCorrupt},
		{"no key", "Decrypt", "KeyId", nil, kek.ErrUnavailable},
		{"no plaintext", "Decrypt", "Plaintext", nil, kek.ErrCorrupt},
		{"a short plaintext", "Decrypt", "Plaintext", random(31), kek.ErrCorrupt},
		{"a long plaintext", "Decrypt", "Plaintext", random(33), kek.ErrCorrupt},
		{"a huge plaintext", "Decrypt", "Plaintext", random(1 << 19), kek.ErrCorrupt},

		{"another key rewrapped", "ReEncrypt", "KeyId", other.ARN(), kek.ErrCorrupt},
		{"from another key", "ReEncrypt", "SourceKeyId", other.ARN(), kek.ErrCorrupt},
		{"from another Region, of a key of one Region", "ReEncrypt", "SourceKeyId", replica, kek.ErrCorrupt},
		{"no source key", "ReEncrypt", "SourceKeyId", nil, kek.ErrUnavailable},
		{"no key", "ReEncrypt", "KeyId", nil, kek.ErrUnavailable},
		{"no ciphertext", "ReEncrypt", "CiphertextBlob", nil, kek.ErrCorrupt},

		{"another key checked", "DescribeKey", "KeyMetadata", map[string]any{"KeyId": "x", "Arn": other.ARN()}, kek.ErrCorrupt},
		{"no ARN", "DescribeKey", "KeyMetadata", map[string]any{"KeyId": "x"}, kek.ErrUnavailable},
		{"no metadata", "DescribeKey", "KeyMetadata", nil, kek.ErrUnavailable},
	} {
		t.Run(c.operation+": "+c.name, func(t *testing.T) {
			remove := b.srv.Inject(awskmstest.Fault{Operation: c.operation, Rewrite: func(m map[string]any) {
				if m[c.member] = c.value; c.value == nil {
					delete(m, c.member)
				}
			}})
			defer remove()
			method := map[string]string{"Encrypt": "Wrap", "Decrypt": "Unwrap", "ReEncrypt": "Rewrap", "DescribeKey": "Check"}[c.operation]
			for _, op := range b.operations() {
				if op.name == method {
					wantClass(t, op.call(t.Context()), c.class)
				}
			}
		})
	}
	b.wantWorks()
}

// The answer to another request of the same KEK comes back. The driver can't
// tell, since nothing in an answer names its request; the key's ID can, and so
// the keyring notices. Of another KEK's requests the driver notices itself.
func TestSwappedAnswers(t *testing.T) {
	b := newBench(t, awskms.Options{})
	other := open(t, b.srv, b.srv.CreateKey(awskmstest.KeyOptions{}), awskms.Options{})
	foreign := wrap(t, other, b.secret, b.binding)
	must(other.Unwrap(t.Context(), foreign, b.binding))(t)
	b.srv.Inject(awskmstest.Fault{Operation: "Decrypt", Key: b.key, Stale: true})
	_, err := b.kek.Unwrap(t.Context(), b.wrapped, b.binding)
	wantClass(t, err, kek.ErrCorrupt)
}

// A replica may say that the primary of its key wrapped the bytes.
func TestRewrapFromAnotherRegion(t *testing.T) {
	srv := awskmstest.New(t)
	primary := srv.CreateKey(awskmstest.KeyOptions{MultiRegion: true})
	k := open(t, srv, primary.Replicate("us-east-2"), awskms.Options{AnyRegion: true})
	b, secret := bindingOf(t, orgA), random(32)
	wrapped := wrap(t, k, secret, b)
	source := primary.ARN()
	srv.Inject(awskmstest.Fault{Operation: "ReEncrypt", Rewrite: func(m map[string]any) { m["SourceKeyId"] = source }})
	wantOpens(t, k, must(k.Rewrap(t.Context(), wrapped, b))(t), b, secret)
	source = srv.CreateKey(awskmstest.KeyOptions{MultiRegion: true}).ARN()
	_, err := k.Rewrap(t.Context(), wrapped, b)
	wantClass(t, err, kek.ErrCorrupt)
}

// An answer without end is not read to the end of the memory.
func TestAnswerLimit(t *testing.T) {
	b := newBench(t, awskms.Options{})
	for _, status := range []int{http.StatusOK, http.StatusBadRequest} {
		body := &endless{head: `{"KeyId":"`}
		b.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: body, Request: r}, nil
		})
		b.wantAll(kek.ErrUnavailable)
		if most := len(b.operations()) * (1<<20 + 1<<16); body.read > most {
			t.Errorf("status %d: %d bytes were read, want at most %d", status, body.read, most)
		}
	}
}

// endless is a body of JSON that doesn't end in the first 64 MiB.
type endless struct {
	head string
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.read > 64<<20 {
		return 0, io.ErrUnexpectedEOF // the test has failed already
	}
	n := copy(p, e.head)
	e.head = e.head[n:]
	for i := n; i < len(p); i++ {
		p[i] = 'x'
	}
	e.read += len(p)
	return len(p), nil
}

func (e *endless) Close() error { return nil }
