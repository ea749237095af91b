package hashivault_test

import (
	"encoding/base64"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
)

// Answers of a server that is broken or bad, to a call that should succeed.
func TestHostileAnswers(t *testing.T) {
	raw := base64.StdEncoding.EncodeToString(make([]byte, 60))
	long := base64.StdEncoding.EncodeToString(make([]byte, 61))
	loose := raw[:len(raw)-1] + "B" // 60 is a multiple of 3: no stray bits, but other bytes
	ciphertext := func(s string) string { return `{"data":{"ciphertext":"` + s + `","key_version":1}}` }
	plaintext := func(n int) string {
		return `{"data":{"plaintext":"` + base64.StdEncoding.EncodeToString(make([]byte, n)) + `"}}`
	}
	for _, c := range []struct {
		name, op, answer string
		class            error // nil: it is a right answer
	}{
		{"right", "wrap", ciphertext("vault:v1:" + raw), nil},
		{"other bytes", "wrap", ciphertext("vault:v1:" + loose), nil},
		{"no ciphertext", "wrap", `{"data":{}}`, kek.ErrUnavailable},
		{"no data", "wrap", `{"data":null}`, kek.ErrUnavailable},
		{"null", "wrap", `null`, kek.ErrUnavailable},
		{"an array", "wrap", `[]`, kek.ErrUnavailable},
		{"a number", "wrap", `{"data":{"ciphertext":1}}`, kek.ErrUnavailable},
		{"two answers", "wrap", ciphertext("vault:v1:"+raw) + ciphertext("vault:v1:"+raw), kek.ErrUnavailable},
		{"empty", "wrap", ciphertext(""), kek.ErrCorrupt},
		{"no prefix", "wrap", ciphertext(raw), kek.ErrCorrupt},
		{"another prefix", "wrap", ciphertext("Vault:v1:" + raw), kek.ErrCorrupt},
		{"no version", "wrap", ciphertext("vault:v:" + raw), kek.ErrCorrupt},
		{"version 0", "wrap", ciphertext("vault:v0:" + raw), kek.ErrCorrupt},
		{"version 01", "wrap", ciphertext("vault:v01:" + raw), kek.ErrCorrupt},
		{"version +1", "wrap", ciphertext("vault:v+1:" + raw), kek.ErrCorrupt},
		{"version -1", "wrap", ciphertext("vault:v-1:" + raw), kek.ErrCorrupt},
		{"version 2^31", "wrap", ciphertext("vault:v2147483648:" + raw), kek.ErrCorrupt},
		{"version 2^32+1", "wrap", ciphertext("vault:v4294967297:" + raw), kek.ErrCorrupt},
		{"a version that isn't the answer's", "wrap", ciphertext("vault:v2:" + raw), kek.ErrCorrupt},
		{"no base64", "wrap", ciphertext("vault:v1:" + strings.Repeat("!", 80)), kek.ErrCorrupt},
		{"URL base64", "wrap", ciphertext("vault:v1:" + strings.Repeat("_", 80)), kek.ErrCorrupt},
		{"a line break", "wrap", ciphertext("vault:v1:" + raw[:40] + `\n` + raw[40:]), kek.ErrCorrupt},
		{"a line break for a character", "wrap", ciphertext("vault:v1:" + raw[:40] + `\n` + raw[41:]), kek.ErrCorrupt},
		{"trailing", "wrap", ciphertext("vault:v1:" + raw + ":x"), kek.ErrCorrupt},
		{"too long", "wrap", ciphertext("vault:v1:" + long), kek.ErrCorrupt},
		{"too short", "wrap", ciphertext("vault:v1:" + raw[:76]), kek.ErrCorrupt},

		{"right", "unwrap", plaintext(32), nil},
		{"no plaintext", "unwrap", `{"data":{}}`, kek.ErrUnavailable},
		{"an error and no plaintext", "unwrap", `{"data":{"error":"x"}}`, kek.ErrUnavailable},
		{"empty", "unwrap", plaintext(0), kek.ErrCorrupt},
		{"too short", "unwrap", plaintext(31), kek.ErrCorrupt},
		{"too long", "unwrap", plaintext(33), kek.ErrCorrupt},
		{"no base64", "unwrap", `{"data":{"plaintext":"!"}}`, kek.ErrCorrupt},

		{"no version", "check", `{"data":{"name":"root","type":"aes256-gcm96"}}`, nil},
		{"another key", "check", `{"data":{"name":"other","type":"aes256-gcm96","latest_version":1}}`, kek.ErrCorrupt},
		{"no name", "check", `{"data":{"type":"aes256-gcm96","latest_version":1}}`, kek.ErrUnavailable},
		{"a version of text", "check", `{"data":{"name":"root","latest_version":"x"}}`, kek.ErrUnavailable},
	} {
		t.Run(c.op+" "+c.name, func(t *testing.T) {
			f := setUp(t, hashivaulttest.KeyOptions{Derived: c.op == "wrap"})
			key, b := newKey(), binding("org")
			wrapped := mustWrap(t, f.kek, key, b)
			f.srv.Rewrite(func(e hashivaulttest.Entry, status int, body []byte) (int, []byte) {
				if c.op == "wrap" && !strings.Contains(e.Path, "/encrypt/") { // what follows is right
					return status, body
				}
				return http.StatusOK, []byte(c.answer)
			})
			var err error
			switch c.op {
			case "wrap":
				_, err = f.kek.Wrap(t.Context(), key, b)
			case "unwrap":
				_, err = f.kek.Unwrap(t.Context(), wrapped, b)
			case "check":
				_, err = f.kek.Check(t.Context())
			}
			if c.class == nil && err != nil {
				t.Error(err)
			} else if c.class != nil {
				wantClass(t, c.op, err, c.class)
				wantSafe(t, c.op, err, f, key, wrapped)
			}
		})
	}
}

// What a plain key's Wrap is told when it looks whether the wrapped key is bound.
func TestHostileProofs(t *testing.T) {
	const failed = `{"error":"cipher: message authentication failed","reference":"1"}`
	for name, c := range map[string]struct {
		results string // K stands for the key
		class   error
	}{
		"right":                         {`[{"plaintext":"K","reference":"0"},` + failed + `]`, nil},
		"right, without references":     {`[{"plaintext":"K"},{"error":"cipher: message authentication failed"}]`, nil},
		"other associated data opens":   {`[{"plaintext":"K","reference":"0"},{"plaintext":"K","reference":"1"}]`, kek.ErrUnavailable},
		"the other result has nothing":  {`[{"plaintext":"K","reference":"0"},{"reference":"1"}]`, kek.ErrUnavailable},
		"another key":                   {`[{"plaintext":"` + base64.StdEncoding.EncodeToString(newKey()) + `","reference":"0"},` + failed + `]`, kek.ErrUnavailable},
		"no key":                        {`[{"reference":"0"},` + failed + `]`, kek.ErrUnavailable},
		"both fail":                     {`[{"error":"cipher: message authentication failed","reference":"0"},` + failed + `]`, kek.ErrUnavailable},
		"swapped":                       {`[` + failed + `,{"plaintext":"K","reference":"0"}]`, kek.ErrUnavailable},
		"one":                           {`[{"plaintext":"K","reference":"0"}]`, kek.ErrUnavailable},
		"none":                          {`null`, kek.ErrUnavailable},
		"the other fails for no reason": {`[{"plaintext":"K","reference":"0"},{"error":"oops","reference":"1"}]`, kek.ErrUnavailable},
		"the version was retired":       {`[{"error":"ciphertext or signature version is disallowed by policy (too old)","reference":"0"},` + failed + `]`, kek.ErrDenied},
	} {
		f := setUp(t, hashivaulttest.KeyOptions{})
		key, b := newKey(), binding("org")
		f.srv.Rewrite(func(e hashivaulttest.Entry, status int, body []byte) (int, []byte) {
			if !strings.Contains(e.Path, "/decrypt/") {
				return status, body
			}
			results := strings.ReplaceAll(c.results, `"K"`, `"`+base64.StdEncoding.EncodeToString(key)+`"`)
			return http.StatusOK, []byte(`{"data":{"batch_results":` + results + `}}`)
		})
		wrapped, err := f.kek.Wrap(t.Context(), key, b)
		if c.class == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.class != nil {
			wantClass(t, name, err, c.class)
			if wrapped != nil {
				t.Errorf("%s: bytes beside the error", name)
			}
			wantSafe(t, name, err, f, key, make([]byte, 65))
		}
	}
}

// Answers made at random of pieces of right ones, with any status: each method
// gives a result or an error of one class, and never panics.
func TestRandomAnswers(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		key, b := newKey(), binding("org")
		wrapped := mustWrap(t, f.kek, key, b)
		pieces := []string{
			`{`, `}`, `[`, `]`, `"data":`, `"errors":`, `null`, `"batch_results":`, `"plaintext":"AAAA"`, `"ciphertext":"vault:v1:AAAA"`, `"ciphertext":null`,
			`"key_version":`, `"x"`, `1e400`, `,`, `"reference":"0"`, `"error":"x"`, `"name":"root"`, `"latest_version":9223372036854775808`, `"auto_rotate_period":{}`, `true`, "\x00",
		}
		statuses := []int{200, 201, 204, 206, 300, 304, 400, 403, 404, 405, 412, 418, 429, 472, 473, 500, 503}
		const seed = 1
		r := rand.New(rand.NewPCG(seed, seed))
		f.srv.Rewrite(func(hashivaulttest.Entry, int, []byte) (int, []byte) {
			text := ""
			for range r.IntN(8) {
				text += pieces[r.IntN(len(pieces))]
			}
			if r.IntN(2) == 0 {
				text = `{"data":{` + text + `}}`
			}
			return statuses[r.IntN(len(statuses))], []byte(text)
		})
		for range 100 {
			for name, op := range operations(f.kek, key, wrapped, b) {
				if err := op(t.Context()); err != nil {
					wantClass(t, name, err, kek.Class(err))
				}
			}
		}
	})
}

// The answer to somebody else's call: the keyring sees it by the key's ID; the
// driver sees that the answer is about another key.
func TestAnswerAboutAnotherKey(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	f.srv.Rewrite(func(e hashivaulttest.Entry, status int, body []byte) (int, []byte) {
		return status, []byte(strings.Replace(string(body), `"name":"root"`, `"name":"other"`, 1))
	})
	_, err := f.kek.Wrap(t.Context(), newKey(), binding("org"))
	wantClass(t, "Wrap", err, kek.ErrCorrupt)
}

// Nothing in the wrapped bytes is ever sent to another path.
func TestWrappedBytesLeadNowhere(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		wrapped := mustWrap(t, f.kek, newKey(), binding("org"))
		f.srv.ResetLog()
		for i := range wrapped {
			bad := append([]byte(nil), wrapped...)
			bad[i] = '/'
			if _, err := f.kek.Unwrap(t.Context(), bad, binding("org")); wrapped[i] != '/' {
				wantClass(t, "Unwrap", err, kek.ErrCorrupt)
			}
		}
		for _, e := range f.srv.Log() {
			if e.Path != "transit/decrypt/root" {
				t.Errorf("a call went to %q", e.Path)
			}
		}
	})
}

// What can't have been made by this KEK isn't sent at all.
func TestMalformedIsRefusedWithoutACall(t *testing.T) {
	bothModes(t, func(t *testing.T, o hashivaulttest.KeyOptions) {
		f := setUp(t, o)
		b := binding("org")
		wrapped := mustWrap(t, f.kek, newKey(), b)
		f.srv.ResetLog()
		change := func(i int, v byte) []byte {
			w := append([]byte(nil), wrapped...)
			w[i] = v
			return w
		}
		version0 := append([]byte(nil), wrapped...)
		version0[4] = 0
		for name, w := range map[string][]byte{
			"nil": nil, "a byte": wrapped[:1], "cut": wrapped[:64], "longer": append(change(0, wrapped[0]), 0),
			"the other format": change(0, wrapped[0]^3), "format 0": change(0, 0), "format 3": change(0, 3), "version 0": version0, "version 2^31": change(1, 0x80),
			"Vault's own form": []byte("vault:v1:" + strings.Repeat("A", 56)),
		} {
			_, err := f.kek.Unwrap(t.Context(), w, b)
			wantClass(t, "Unwrap: "+name, err, kek.ErrCorrupt)
			_, err = f.kek.Rewrap(t.Context(), w, b)
			wantClass(t, "Rewrap: "+name, err, kek.ErrCorrupt)
			if v := f.kek.WrappedVersion(w); v != "" {
				t.Errorf("%s: version %q", name, v)
			}
		}
		if n := f.srv.Calls(""); n != 0 {
			t.Errorf("%d calls were made", n)
		}
	})
}
