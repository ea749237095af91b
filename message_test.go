package vault_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/storage/memstore"
	"github.com/embedvault/vault/vaulttest"
)

func someBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func TestMessageRoundTrip(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, s setup, c vault.Config) {
		v, cold := open(t, c), open(t, c)
		ctx := t.Context()
		for _, size := range []int{0, 1, 31, 32, 1000, 1 << 20} {
			for _, aad := range [][]byte{nil, {}, []byte("row 7")} {
				plaintext := someBytes(size)
				kept := bytes.Clone(plaintext)
				sealed, err := v.Encrypt(ctx, orgA, plaintext, aad)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(plaintext, kept) {
					t.Fatal("Encrypt changed the plaintext")
				}
				if size > 8 && bytes.Contains(sealed, plaintext[:8]) {
					t.Fatal("the plaintext stands in the envelope")
				}
				for name, v := range map[string]*vault.Vault{"warm": v, "cold": cold} {
					got, err := v.Decrypt(ctx, orgA, sealed, aad)
					if err != nil || got == nil || !bytes.Equal(got, plaintext) {
						t.Fatalf("%s: %d bytes, %v", name, len(got), err)
					}
				}
			}
		}
	})
}

func TestAppendForms(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, s setup, c vault.Config) {
		v := open(t, c)
		ctx := t.Context()
		for _, dst := range [][]byte{nil, {}, []byte("head"), make([]byte, 4, 4096)} {
			head := bytes.Clone(dst)
			sealed, err := v.AppendEncrypt(ctx, orgA, dst, []byte("hello"), []byte("aad"))
			if err != nil || !bytes.HasPrefix(sealed, head) {
				t.Fatalf("%q: %v", dst, err)
			}
			got, err := v.AppendDecrypt(ctx, orgA, bytes.Clone(head), sealed[len(head):], []byte("aad"))
			if err != nil || string(got) != string(head)+"hello" {
				t.Fatalf("got %q, %v", got, err)
			}
			if got, err := v.AppendDecrypt(ctx, orgA, dst, sealed[len(head):], nil); err == nil || got != nil {
				t.Fatalf("a failed AppendDecrypt gave %q, %v", got, err)
			}
			if got, err := v.AppendEncrypt(ctx, nil, dst, []byte("hello"), nil); err == nil || got != nil {
				t.Fatalf("a failed AppendEncrypt gave %q, %v", got, err)
			}
			if !bytes.Equal(dst, head) {
				t.Fatal("dst's own bytes were changed")
			}
		}
		empty, err := v.AppendDecrypt(ctx, orgA, nil, must(v.Encrypt(ctx, orgA, nil, nil))(t), nil)
		if err != nil || empty == nil || len(empty) != 0 {
			t.Fatalf("an empty plaintext came back as %#v, %v", empty, err)
		}
	})
}

// An envelope by reference is 86 bytes longer than the plaintext, and Inspect
// says so without a key.
func TestEnvelopeSizes(t *testing.T) {
	v := vaulttest.New(t)
	for _, size := range []int{0, 1, 100} {
		sealed := must(v.Encrypt(t.Context(), orgA, someBytes(size), nil))(t)
		info := must(vault.Inspect(sealed))(t)
		if len(sealed) != size+86 || info.Size != size+86 || info.PlaintextSize != size || info.Overhead != 86 {
			t.Fatalf("%d bytes of plaintext, %d of envelope, %+v", size, len(sealed), info)
		}
		if info.Kind != envelope.KindMessage || info.Version != 0xE1 || len(info.KEKs) != 0 || info.KeyID.IsZero() {
			t.Fatalf("%+v", info)
		}
	}
}

// A self-contained envelope names the KEKs that open it, and the KEK alone is
// enough, whoever made it.
func TestSelfContainedOpensWithTheKEKAlone(t *testing.T) {
	for _, s := range setups() {
		if !s.self {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			c := s.config(t)
			v := open(t, c)
			sealed := must(v.Encrypt(t.Context(), orgA, []byte("hello"), []byte("aad")))(t)
			info := must(vault.Inspect(sealed))(t)
			if info.Kind != envelope.KindMessageSelf || len(info.KEKs) != 1 || info.KEKs[0] != "mem:test" || info.KeyVersion != 1 {
				t.Fatalf("%+v", info)
			}
			for name, c := range map[string]vault.Config{
				"no store":    {KEK: c.KEK},
				"other store": {KEK: c.KEK, Store: memstore.New()},
			} {
				other := open(t, c)
				got, err := other.Decrypt(t.Context(), orgA, sealed, []byte("aad"))
				if err != nil || string(got) != "hello" {
					t.Fatalf("%s: %q, %v", name, got, err)
				}
				// The key it brought never becomes one that new data is sealed under.
				again := must(other.Encrypt(t.Context(), orgA, []byte("new"), nil))(t)
				if must(vault.Inspect(again))(t).KeyID == info.KeyID {
					t.Fatalf("%s: sealed under a key that came in an envelope", name)
				}
			}
			_, err := open(t, vault.Config{KEK: memkek.New("test")}).Decrypt(t.Context(), orgA, sealed, []byte("aad"))
			wantClass(t, err, "ErrKEKCorrupt", "ErrWrongContext")
		})
	}
}

// Both forms are readable whatever Config.SelfContained says.
func TestBothFormsAreAlwaysReadable(t *testing.T) {
	v := vaulttest.New(t)
	self := peerOf(t, v, func(c *vault.Config) { c.SelfContained = true })
	a := must(v.Encrypt(t.Context(), orgA, []byte("a"), nil))(t)
	b := must(self.Encrypt(t.Context(), orgA, []byte("b"), nil))(t)
	if string(must(self.Decrypt(t.Context(), orgA, a, nil))(t)) != "a" || string(must(v.Decrypt(t.Context(), orgA, b, nil))(t)) != "b" {
		t.Fatal("one form isn't readable")
	}
	if must(vault.Inspect(a))(t).KeyID != must(vault.Inspect(b))(t).KeyID {
		t.Fatal("two keys for one context")
	}
}

// By reference without a store: the key can't be found, and no store is why.
func TestByReferenceWithoutAStore(t *testing.T) {
	v := vaulttest.New(t)
	sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), nil))(t)
	alone := open(t, vault.Config{KEK: v.KEK})
	_, err := alone.Decrypt(t.Context(), orgA, sealed, nil)
	wantClass(t, err, "ErrKeyNotFound", "ErrNoStore")
}

// The caller sees the same error in the process that made the envelope, in one
// that knows both keys, and in one that knows none.
func TestWrongContextWarmAndCold(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, s setup, c vault.Config) {
		v := open(t, c)
		ctx := t.Context()
		sealed := must(v.Encrypt(ctx, orgA, []byte("x"), nil))(t)
		for _, other := range []vault.KeyContext{orgB, userA, {"organization_id": "org_01 "}, {"organization_id": "ORG_01"}, {"Organization_id": "org_01"}} {
			_, mine := v.Decrypt(ctx, other, sealed, nil)
			cold := open(t, c)
			_, cold1 := cold.Decrypt(ctx, other, sealed, nil)
			must(cold.Decrypt(ctx, orgA, sealed, nil))(t)
			must(cold.Encrypt(ctx, other, []byte("x"), nil))(t)
			_, warm := cold.Decrypt(ctx, other, sealed, nil)
			for _, err := range []error{mine, cold1, warm} {
				if s.self {
					wantClass(t, err, "ErrKEKCorrupt", "ErrWrongContext")
				} else {
					wantClass(t, err, "ErrWrongContext")
				}
			}
		}
	})
}

func TestWrongAssociatedData(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, _ setup, c vault.Config) {
		v, cold := open(t, c), open(t, c)
		sealed := must(v.Encrypt(t.Context(), orgA, []byte("x"), []byte("row 7")))(t)
		for _, aad := range []string{"", "row 8", "row 7 ", "row", "row 7\x00", "\xe1\x01row 7"} {
			for _, v := range []*vault.Vault{v, cold} {
				_, err := v.Decrypt(t.Context(), orgA, sealed, []byte(aad))
				wantClass(t, err, "ErrDecrypt")
			}
		}
	})
}

func TestEveryTruncationIsRefused(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, _ setup, c vault.Config) {
		v := open(t, c)
		sealed := must(v.Encrypt(t.Context(), orgA, []byte("a secret of some length"), nil))(t)
		for n := range len(sealed) {
			got, err := v.Decrypt(t.Context(), orgA, sealed[:n], nil)
			if got != nil {
				t.Fatalf("cut to %d bytes it decrypts", n)
			}
			want := "ErrMalformed"
			if n >= len(sealed)-len("a secret of some length") {
				want = "ErrDecrypt"
			}
			wantClass(t, err, want)
		}
		for _, tail := range []string{"\x00", "x", string(sealed)} {
			_, err := v.Decrypt(t.Context(), orgA, append(bytes.Clone(sealed), tail...), nil)
			wantClass(t, err, "ErrDecrypt")
		}
	})
}

// Each bit of an envelope is flipped, in a vault that is warm and in one that
// has never seen the key. Only what a warm vault doesn't read, the block with
// the wrapped key that it has unwrapped already, may be changed unnoticed.
func TestEveryBitFlipIsRefused(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, s setup, c vault.Config) {
		c.NoBackground = true
		v := open(t, c)
		plaintext := []byte("twelve bytes")
		sealed := must(v.Encrypt(t.Context(), orgA, plaintext, nil))(t)
		block := len(sealed) - (24 + 12 + len(plaintext) + 16) // where the salt begins
		allowed := map[string]bool{
			"[ErrMalformed]": true, "[ErrDecrypt]": true, "[ErrKeyNotFound]": true, "[ErrPolicy]": true,
			"[ErrKEKCorrupt ErrWrongContext]": true,
		}
		for i := range sealed {
			for bit := range 8 {
				flipped := bytes.Clone(sealed)
				flipped[i] ^= 1 << bit
				got, err := v.Decrypt(t.Context(), orgA, flipped, nil)
				if err == nil && (i < 34 || i >= block || !bytes.Equal(got, plaintext)) {
					t.Fatalf("bit %d of byte %d: it decrypts", bit, i)
				}
				if err != nil && !allowed[fmt.Sprint(classes(err))] {
					t.Fatalf("bit %d of byte %d: %v has the classes %v", bit, i, err, classes(err))
				}
				if s.name == "bbolt" && bit > 0 { // a cold look-up by reference is the same in memory
					continue
				}
				cold, cerr := vault.New(c)
				if cerr != nil {
					t.Fatal(cerr)
				}
				got, err = cold.Decrypt(t.Context(), orgA, flipped, nil)
				_ = cold.Close()
				if err == nil || got != nil {
					t.Fatalf("bit %d of byte %d: it decrypts in a cold vault", bit, i)
				}
				if !allowed[fmt.Sprint(classes(err))] {
					t.Fatalf("bit %d of byte %d, cold: %v has the classes %v", bit, i, err, classes(err))
				}
			}
		}
		if got, err := v.Decrypt(t.Context(), orgA, sealed, nil); err != nil || !bytes.Equal(got, plaintext) {
			t.Fatalf("the honest envelope no longer opens: %v", err)
		}
	})
}

func TestEmptyPlaintext(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, _ setup, c vault.Config) {
		v := open(t, c)
		for _, plaintext := range [][]byte{nil, {}} {
			got, err := v.Decrypt(t.Context(), orgA, must(v.Encrypt(t.Context(), orgA, plaintext, nil))(t), nil)
			if err != nil || got == nil || len(got) != 0 {
				t.Fatalf("got %#v, %v", got, err)
			}
		}
		s := must(v.EncryptString(t.Context(), orgA, "", nil))(t)
		if got, err := v.DecryptString(t.Context(), orgA, s, nil); err != nil || got != "" || s == "" {
			t.Fatalf("got %q, %v", got, err)
		}
	})
}

func TestMaxPlaintext(t *testing.T) {
	v := vaulttest.New(t, func(c *vault.Config) { c.MaxPlaintext = 100 })
	ctx := t.Context()
	must(v.Encrypt(ctx, orgA, someBytes(100), nil))(t)
	_, err := v.Encrypt(ctx, orgA, someBytes(101), nil)
	wantClass(t, err, "ErrTooLarge")
	_, err = v.EncryptString(ctx, orgA, string(someBytes(101)), nil)
	wantClass(t, err, "ErrTooLarge")
	_, err = v.Scope(orgA).AppendEncrypt(ctx, []byte("head"), someBytes(101), nil)
	wantClass(t, err, "ErrTooLarge")
	if _, err := v.Encrypt(ctx, orgB, someBytes(101), nil); err == nil || v.KEK.Wraps() != 1 {
		t.Fatal("a plaintext that is refused cost a key")
	}

	// What is longer and was encrypted before still decrypts.
	long := someBytes(5000)
	sealed := must(peerOf(t, v, func(c *vault.Config) { c.MaxPlaintext = 5000 }).Encrypt(ctx, orgA, long, nil))(t)
	if got, err := v.Decrypt(ctx, orgA, sealed, nil); err != nil || !bytes.Equal(got, long) {
		t.Fatal(err)
	}
	// A data key isn't a plaintext of the caller's.
	must(vaulttest.New(t, func(c *vault.Config) { c.MaxPlaintext = 1 }).CreateDataKey(ctx, orgA))(t)
}

// plaintext, aad and data may lie anywhere in dst, its spare capacity included:
// it never panics, and the result is right.
func TestBuffersMayOverlap(t *testing.T) {
	eachSetup(t, false, func(t *testing.T, s setup, c vault.Config) {
		if s.name == "bbolt" {
			return // the same code
		}
		v := open(t, c)
		ctx := t.Context()
		rnd := mathrand.New(mathrand.NewPCG(1, 2))
		part := func(b []byte) []byte {
			from := rnd.IntN(len(b))
			return b[from : from+rnd.IntN(len(b)-from)]
		}
		for range 400 {
			buf := someBytes(700)
			dst := buf[:rnd.IntN(100)]
			plaintext, aad := part(buf), part(buf)
			wantPlain, wantAAD, head := bytes.Clone(plaintext), bytes.Clone(aad), bytes.Clone(dst)
			sealed, err := v.AppendEncrypt(ctx, orgA, dst, plaintext, aad)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(sealed, head) {
				t.Fatal("dst's own bytes were changed")
			}
			env := bytes.Clone(sealed[len(head):])
			got, err := v.Decrypt(ctx, orgA, env, wantAAD)
			if err != nil || !bytes.Equal(got, wantPlain) {
				t.Fatalf("sealed with overlapping buffers: %v", err)
			}

			// And back, with data and aad lying in what is written to.
			buf = make([]byte, len(env)+len(wantAAD)+50)
			at := rnd.IntN(50)
			data := buf[at : at+copy(buf[at:], env)]
			aad = buf[at+len(env) : at+len(env)+copy(buf[at+len(env):], wantAAD)]
			dst = buf[:rnd.IntN(at+1)]
			head = bytes.Clone(dst)
			got, err = v.AppendDecrypt(ctx, orgA, dst, data, aad)
			if err != nil || !bytes.Equal(got, append(head, wantPlain...)) {
				t.Fatalf("opened with overlapping buffers: %v", err)
			}
		}
	})
}

// Two envelopes of the same plaintext have nothing in common but their head.
func TestEnvelopesDontRepeat(t *testing.T) {
	v := vaulttest.New(t)
	seen := map[string]bool{}
	for range 200 {
		sealed := must(v.Encrypt(t.Context(), orgA, []byte("the same"), nil))(t)
		for name, part := range map[string][]byte{"salt": sealed[34:58], "nonce": sealed[58:70], "rest": sealed[70:]} {
			if key := name + string(part); seen[key] {
				t.Fatalf("two envelopes have the same %s", name)
			} else {
				seen[key] = true
			}
		}
	}
}
