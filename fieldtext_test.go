package vault_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// A sealed field goes through a cache as text, and back to its place.
func TestSealedText(t *testing.T) {
	v := vaulttest.New(t)
	ctx := fieldCtx(t, v)
	type job struct {
		Email vault.SealedText[string]
		Phone vault.SealedText[string]
	}
	e := stored(t, ctx, vault.Seal("ann@example.org").At("t", "c", 1))
	in := job{Email: vault.SealedText[string]{Encrypted: e}}
	b := must(json.Marshal(in))(t)
	if !bytes.Contains(b, []byte(`"Email":"vlf1.4Q`)) || !bytes.Contains(b, []byte(`"Phone":null`)) {
		t.Fatalf("%s", b)
	}
	out := job{Phone: in.Email}
	ok(t, json.Unmarshal(b, &out))
	if !out.Email.Equal(e) || !out.Phone.IsZero() {
		t.Fatal("another field came back")
	}
	if got := must(out.Email.At("t", "c", 1).Open(ctx))(t); got != "ann@example.org" {
		t.Fatal(got)
	}
	var buf bytes.Buffer
	ok(t, gob.NewEncoder(&buf).Encode(in.Email))
	var back vault.SealedText[string]
	ok(t, gob.NewDecoder(&buf).Decode(&back))
	if !back.Equal(e) {
		t.Fatal("gob")
	}
	text := string(must(in.Email.MarshalText())(t))
	if info := must(vault.Inspect([]byte(text)))(t); info.Kind.Reference() != 9 || info.PlaintextSize != 18+15 {
		t.Fatalf("%+v", info)
	}
	pending := vault.SealedText[string]{Encrypted: vault.Seal("secret")}
	wantClass(t, second(pending.MarshalText()), "ErrPending")
	if _, err := json.Marshal(pending); !errors.Is(err, vault.ErrPending) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	foreign := vault.SealedText[string]{Encrypted: vault.SealedBytes[string]([]byte("old scheme"))}
	wantClass(t, second(foreign.MarshalText()), "ErrMalformed")
	if s := fmt.Sprint(in.Email, pending); s != "[ENCRYPTED] [ENCRYPTED]" {
		t.Error(s)
	}

	message := must(v.EncryptString(ctx, orgA, "m", nil))(t)
	for name, bad := range map[string]string{
		"a message": message, "a message with the prefix": "vlf1." + message[5:], "no prefix": text[5:], "prefix alone": "vlf1.", "upper case": "VLF1." + text[5:],
		"padding": text + "=", "newline": text + "\n", "CR within": text[:20] + "\r" + text[20:], "space": text + " ", "cut": text[:len(text)-1], "standard alphabet": "vlf1.+/" + text[7:],
		"stray bits": text[:len(text)-1] + "_", "empty": "", "redacted": "[ENCRYPTED]",
	} {
		kept := in.Email
		err := json.Unmarshal(must(json.Marshal(bad))(t), &kept)
		if name == "cut" || name == "stray bits" {
			if err == nil && kept.Equal(e) {
				t.Errorf("%s: taken for the same", name)
			}
			continue
		}
		wantClass(t, err, "ErrMalformed")
		if _, err := vault.Inspect([]byte(bad)); !errors.Is(err, vault.ErrMalformed) && bad != message {
			t.Errorf("%s: Inspect: %v", name, err)
		}
	}
	for _, bad := range []string{"1", "{}", "[]", "true"} {
		wantClass(t, json.Unmarshal([]byte(bad), &back), "ErrMalformed")
	}
}

func TestRequestAndRevealed(t *testing.T) {
	n := newNet(t)
	v := vaulttest.New(t)
	ctx := fieldCtx(t, v)
	type in struct {
		SSN   vault.Request[string]
		Addr  vault.Request[address]
		Limit vault.Request[int]
		None  vault.Request[string]
		Null  vault.Request[string]
	}
	secret := n.secret()
	var r in
	ok(t, json.Unmarshal([]byte(`{"SSN":"`+secret+`","Addr":{"Street":"M"},"Limit":7,"Null":null}`), &r))
	if got := must(r.SSN.Encrypted().Open(ctx))(t); got != secret {
		t.Fatal("another value")
	}
	if must(r.Addr.Encrypted().Open(ctx))(t).Street != "M" || must(r.Limit.Encrypted().Open(ctx))(t) != 7 || !r.None.IsZero() || !r.Null.IsZero() {
		t.Fatal("another value")
	}
	n.check("request", fmt.Sprintf("%v %+v %#v %s %d", r, r, r, r, r)+string(must(json.Marshal(r))(t)))
	for _, bad := range []string{`{"Limit":"` + secret + `"}`, `{"SSN":7}`, `{"Addr":"` + secret + `"}`, `{"Addr":{"zip":"` + secret + `"}}`, `{"Limit":1e99}`} {
		err := json.Unmarshal([]byte(bad), &r)
		wantClass(t, err, "ErrWrongType")
		n.checkErr("request", err)
	}
	var form vault.Request[int]
	ok(t, form.UnmarshalText([]byte("12")))
	if must(form.Encrypted().Open(ctx))(t) != 12 {
		t.Fatal("form")
	}
	err := form.UnmarshalText([]byte(secret))
	wantClass(t, err, "ErrWrongType")
	n.checkErr("form", err)
	wantClass(t, new(vault.Request[address]).UnmarshalText([]byte("{}")), "ErrWrongType")

	e := stored(t, ctx, vault.Seal(address{"M", 1}).At("t", "c", 1))
	out := must(vault.Reveal(ctx, e))(t)
	if b := must(json.Marshal(out))(t); string(b) != `{"Street":"M","zip":1}` {
		t.Errorf("%s", b)
	}
	if b := must(json.Marshal(must(vault.Reveal(ctx, vault.Null[string]()))(t)))(t); string(b) != "null" {
		t.Errorf("%s", b)
	}
	if s := fmt.Sprintf("%v %+v %#v", out, out, out); s != "[ENCRYPTED] [ENCRYPTED] [ENCRYPTED]" {
		t.Error(s)
	}
	_, err = vault.Reveal(ctx, e.At("t", "c", 2))
	wantClass(t, err, "ErrWrongLocation")
}

// FuzzField gives hostile plaintext, sealed for the right place, to every type: it is a
// value that is sealed to the same again, or an error of a known class.
func FuzzField(f *testing.F) {
	v := vaulttest.New(f)
	home := vault.At("t", "c", 1)
	for _, x := range []any{"x", []byte("x"), -1, uint(1), 1.5, true, address{"M", 1}, []string{"a"}} {
		sealed := must(v.SealField(f.Context(), orgA, home, x))(f)
		f.Add(byte(1), must(vault.FieldPlaintext(v.Vault, f.Context(), orgA, sealed))(f))
	}
	f.Add(byte(1), []byte{})
	f.Add(byte(2), make([]byte, 18))
	f.Fuzz(func(t *testing.T, format byte, plain []byte) {
		ctx := t.Context()
		hash := vault.LocationHash(home)
		if format%2 == 1 && len(plain) >= 18 { // else hardly anything gets past the location
			plain = bytes.Clone(plain)
			plain[0] = 1
			copy(plain[2:], hash[:])
		}
		data := must(vault.SealRawField(v.Vault, ctx, orgA, plain))(t)
		try := func(dst any, value func() any) {
			err := v.OpenField(ctx, orgA, home, data, dst)
			if err != nil {
				for _, allowed := range []error{vault.ErrMalformed, vault.ErrWrongLocation, vault.ErrWrongType} {
					if errors.Is(err, allowed) {
						return
					}
				}
				t.Fatalf("%T: %v", dst, err)
			}
			again := must(v.SealField(ctx, orgA, home, value()))(t)
			if got := must(vault.FieldPlaintext(v.Vault, ctx, orgA, again))(t); !bytes.Equal(got, plain) && plain[1] != 8 {
				t.Fatalf("%T: %x is sealed again as %x", dst, plain, got)
			}
		}
		s, b, i, i8, u, fl, f32, bo, tm, j := "", []byte{}, 0, int8(0), uint(0), 0.0, float32(0), false, birthday{}, address{}
		try(&s, func() any { return s })
		try(&b, func() any { return b })
		try(&i, func() any { return i })
		try(&i8, func() any { return i8 })
		try(&u, func() any { return u })
		try(&fl, func() any { return fl })
		try(&f32, func() any { return f32 })
		try(&bo, func() any { return bo })
		try(&tm, func() any { return tm })
		try(&j, func() any { return j })
	})
}

// FuzzSealedText: what is taken as the text of a sealed field is given as the same
// text again.
func FuzzSealedText(f *testing.F) {
	v := vaulttest.New(f)
	e := vault.SealedBytes[string](must(v.SealField(f.Context(), orgA, vault.At("t", "c", 1), "x"))(f))
	text := string(must((vault.SealedText[string]{Encrypted: e}).MarshalText())(f))
	for _, s := range []string{text, text + "\n", text + "=", "vlf1.", "", "null"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s vault.SealedText[string]
		if err := s.UnmarshalText([]byte(text)); err != nil {
			if !errors.Is(err, vault.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if got := must(s.MarshalText())(t); string(got) != text {
			t.Fatalf("%q, %q", got, text)
		}
		if utf8.ValidString(text) && text != "" {
			var j vault.SealedText[string]
			ok(t, json.Unmarshal(must(json.Marshal(text))(t), &j))
			if !j.Equal(s.Encrypted) {
				t.Fatal("JSON gives another")
			}
		}
	})
}
