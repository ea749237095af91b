package azurekv_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/azurekv"
	"github.com/embedvault/vault/kek/azurekv/azurekvtest"
)

// forge makes what anyone can make who has the public keys: a record that
// decrypts to a key of the forger's choice, signed by whoever signs.
func forge(t testing.TB, e *env, key []byte, b kek.Binding, format byte, signer *rsa.PrivateKey, o *rsa.PSSOptions) []byte {
	t.Helper()
	encrypt := func(payload []byte) []byte {
		return must(rsa.EncryptOAEP(sha256.New(), rand.Reader, e.key.PublicKey(), payload, nil))(t)
	}
	if format == 0x02 {
		return append(azurekv.AppendHead(format, e.key.Version()), encrypt(azurekv.Bound(nil, key, b.AppendBytes(nil)))...)
	}
	wrapping := must(azurekv.HashOf(e.key.PublicKey()))(t)
	signing := must(azurekv.HashOf(&signer.PublicKey))(t)
	body := azurekv.SignedBody(e.key.Version(), wrapping, signing, encrypt(key))
	d := azurekv.Digest(b, wrapping, signing, body)
	return append(body, must(rsa.SignPSS(rand.Reader, signer, crypto.SHA256, d[:], o))(t)...)
}

var ps256 = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}

// wantRefusedLocally checks that wrapped is corrupt and that nobody was asked.
func wantRefusedLocally(t testing.TB, e *env, k kek.Wrapper, what string, wrapped []byte, b kek.Binding) {
	t.Helper()
	before := e.srv.Calls("")
	_, err := k.Unwrap(t.Context(), wrapped, b)
	if err == nil {
		t.Errorf("%s: it was unwrapped", what)
		return
	}
	wantClass(t, err, kek.ErrCorrupt)
	if n := e.srv.Calls("") - before; n != 0 {
		t.Errorf("%s: Key Vault was asked %d times", what, n)
	}
}

// Whoever has the public key of the wrapping key can wrap under it, and nothing
// that they make is unwrapped, or even sent.
func TestForgedWrappings(t *testing.T) {
	e := newEnv(t, signed)
	b := binding(t)
	forger := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	wantRefusedLocally(t, e, e.kek, "signed by the forger", forge(t, e, secret(), b, 0x01, forger, ps256), b)
	wantRefusedLocally(t, e, e.kek, "unsigned", forge(t, e, secret(), b, 0x02, nil, nil), b)

	// With the signing key's hash in the record, for which there is no signature.
	record := forge(t, e, secret(), b, 0x01, forger, ps256)
	hash := must(azurekv.HashOf(e.signing.PublicKey()))(t)
	copy(record[1+16+32:], hash[:])
	wantRefusedLocally(t, e, e.kek, "in the signing key's name", record, b)

	// A true signature of one wrapping under another.
	real, err := e.kek.Wrap(t.Context(), secret(), b)
	ok(t, err)
	grafted := slices.Concat(forge(t, e, secret(), b, 0x01, forger, ps256)[:len(real)-256], real[len(real)-256:])
	copy(grafted[1+16+32:], hash[:])
	wantRefusedLocally(t, e, e.kek, "with the signature of another", grafted, b)
}

// What the same forger can do where nothing is signed: why the option has the
// name that it has.
func TestInsecureUnsignedTakesForgeries(t *testing.T) {
	e := newEnv(t, unsigned)
	key := secret()
	wantOpens(t, e.kek, forge(t, e, key, binding(t), 0x02, nil, nil), key)
}

// A signature binds: to the binding, the version, and all of the bytes.
func TestSignedReplay(t *testing.T) {
	e := newEnv(t, signed)
	b := binding(t)
	first := wrap(t, e.kek, secret())
	other := b
	other.ContextHash[0] ^= 1
	wantRefusedLocally(t, e, e.kek, "for another context", first, other)

	// The same bytes, said to be of another version.
	ok(t, e.key.Rotate())
	second := wrap(t, e.kek, secret())
	moved := slices.Clone(first)
	copy(moved[1:17], second[1:17])
	wantRefusedLocally(t, e, e.kek, "said to be of another version", moved, b)
	swapped := slices.Clone(first)
	copy(swapped[17:49], second[17:49])
	wantRefusedLocally(t, e, e.kek, "said to be by another wrapping key", swapped, b)
}

// PS256 is RSASSA-PSS with a salt of 32 bytes, and nothing else.
func TestOnlyPS256(t *testing.T) {
	e := newEnv(t, signed)
	b := binding(t)
	signer := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	e.options.VerifyingKeys = append(e.options.VerifyingKeys, &signer.PublicKey)
	k := e.open(t)
	key := secret()
	wantOpens(t, k, forge(t, e, key, b, 0x01, signer, ps256), key) // the test forges well
	for _, salt := range []int{0 + 20, 31, 33, 222} {
		wantRefusedLocally(t, e, k, fmt.Sprintf("a salt of %d bytes", salt), forge(t, e, key, b, 0x01, signer, &rsa.PSSOptions{SaltLength: salt}), b)
	}
	record := forge(t, e, key, b, 0x01, signer, ps256)
	body := record[:len(record)-256]
	d := azurekv.Digest(b, [32]byte(body[17:49]), [32]byte(body[49:81]), body)
	pkcs1 := must(rsa.SignPKCS1v15(nil, signer, crypto.SHA256, d[:]))(t)
	wantRefusedLocally(t, e, k, "RS256", slices.Concat(body, pkcs1), b)
}

// A new version of the signing key signs nothing until it is chosen, and is
// refused until it is pinned.
func TestSigningKeyRotation(t *testing.T) {
	e := newEnv(t, signed)
	key := secret()
	old := wrap(t, e.kek, key)
	oldID := e.signing.VersionID()
	ok(t, e.signing.Rotate())
	again := wrap(t, e.kek, key)
	if !bytes.Equal(again[49:81], old[49:81]) {
		t.Error("the new version of the signing key was used though nobody chose it")
	}

	o := e.options
	o.SigningKey = e.signing.VersionID()
	_, err := azurekv.New(t.Context(), e.client, rootID, o)
	wantError(t, err, azurekv.ErrOptions)

	// Readers pin the new one first; then writers sign with it.
	o.SigningKey = oldID
	o.VerifyingKeys = []*rsa.PublicKey{o.VerifyingKeys[0], e.signing.PublicKey()}
	reader := must(azurekv.New(t.Context(), e.client, rootID, o))(t)
	o.SigningKey = e.signing.VersionID()
	writer := must(azurekv.New(t.Context(), e.client, rootID, o))(t)
	wantOpens(t, reader, wrap(t, writer, key), key)
	wantOpens(t, writer, old, key)
	wantRefusedLocally(t, e, e.kek, "signed with a key that is not pinned here", wrap(t, writer, key), binding(t))

	// The old version may be disabled then: verifying asks nobody.
	e.signing.Disable(strings.TrimPrefix(oldID, signID+"/"))
	wantOpens(t, writer, old, key)
	rewrapped := must(writer.Rewrap(t.Context(), old, binding(t)))(t)
	o.VerifyingKeys = o.VerifyingKeys[1:]
	newOnly := must(azurekv.New(t.Context(), e.client, rootID, o))(t)
	wantOpens(t, newOnly, rewrapped, key)
	wantRefusedLocally(t, e, newOnly, "signed with a key that was unpinned", old, binding(t))
}

// The signing key may be in another vault, with a client of its own: a customer
// has the wrapping key, you have the signing key.
func TestSigningKeyInAnotherVault(t *testing.T) {
	e := newEnv(t, signed)
	mine := must(e.srv.CreateKey("https://mine.vault.azure.net/keys/sign", azurekvtest.RSA3072))(t)
	o := azurekv.Options{SigningKey: mine.VersionID(), VerifyingKeys: []*rsa.PublicKey{mine.PublicKey()}}
	_, err := azurekv.New(t.Context(), e.client, rootID, o)
	wantError(t, err, azurekv.ErrOptions) // no client for it
	o.SigningClient = must(e.srv.ClientAs("my-app", "mine.vault.azure.net"))(t)
	k := must(azurekv.New(t.Context(), e.client, rootID, o))(t)
	key := secret()
	wrapped := wrap(t, k, key)
	wantOpens(t, k, wrapped, key)
	if n := 1 + 16 + 32 + 32 + 2 + 256 + 384; len(wrapped) != n {
		t.Errorf("%d bytes, want %d", len(wrapped), n)
	}

	// A denied signing key stops wrapping, not unwrapping.
	restore := mine.Deny("my-app", azurekvtest.Sign)
	_, err = k.Wrap(t.Context(), key, binding(t))
	wantClass(t, err, kek.ErrDenied)
	if !strings.Contains(err.Error(), mine.ID()) {
		t.Errorf("the error doesn't say which key: %v", err)
	}
	wantOpens(t, k, wrapped, key)
	restore()
	wrap(t, k, key)
}

// A KMS that signs something else, or with another key, must not cost data.
func TestBadSignatureIsNotWritten(t *testing.T) {
	e := newEnv(t, signed)
	for what, f := range map[string]azurekvtest.Fault{
		"flipped":     azurekvtest.WithValue(func(v []byte) []byte { v[9] ^= 1; return v }),
		"short":       azurekvtest.WithValue(func(v []byte) []byte { return v[1:] }),
		"empty":       azurekvtest.WithValue(func([]byte) []byte { return nil }),
		"another key": azurekvtest.OfAnotherKey(rootID + "/0123456789abcdef0123456789abcdef"),
		"version":     azurekvtest.OfAnotherKey(signID + "/0123456789abcdef0123456789abcdef"),
	} {
		f.Op = azurekvtest.Sign
		restore := e.srv.Inject(f)
		_, err := e.kek.Wrap(t.Context(), secret(), binding(t))
		if err == nil {
			t.Errorf("%s: Wrap succeeded", what)
			continue
		}
		wantClass(t, err, kek.ErrCorrupt)
		restore()
	}
}

// How many calls each method makes: they cost money.
func TestCallCounts(t *testing.T) {
	for m, perWrap := range map[mode]int{signed: 2, unsigned: 1, symmetric: 1} {
		e := newEnv(t, m)
		wrapped := wrap(t, e.kek, secret()) // in signed, this asks for the version's public key
		count := func(f func()) int {
			before := e.srv.Calls("")
			f()
			return e.srv.Calls("") - before
		}
		if n := count(func() { wrap(t, e.kek, secret()) }); n != perWrap {
			t.Errorf("%s: Wrap makes %d calls, want %d", m, n, perWrap)
		}
		if n := count(func() { ok(t, unwrapErr(t, e.kek, wrapped)) }); n != 1 {
			t.Errorf("%s: Unwrap makes %d calls, want 1", m, n)
		}
		rewrap := func() { _ = must(e.kek.Rewrap(t.Context(), wrapped, binding(t)))(t) }
		if n := count(rewrap); n != 1+perWrap {
			t.Errorf("%s: Rewrap makes %d calls, want %d", m, n, 1+perWrap)
		}
		ok(t, e.key.Rotate())
		wrap(t, e.kek, secret()) // asks for the version's public key
		if n := count(rewrap); n != 2+perWrap {
			t.Errorf("%s: Rewrap to another version makes %d calls, want %d", m, n, 2+perWrap)
		}
	}
}

// Nor must a KMS that answers for another version, or with what another key made.
func TestBadWrappingIsNotSigned(t *testing.T) {
	other := rootID + "/0123456789abcdef0123456789abcdef"
	for what, f := range map[string]azurekvtest.Fault{
		"the public key of another version": {Op: azurekvtest.Get, Key: rootID, Alter: azurekvtest.OfAnotherKey(other).Alter},
		"a ciphertext of a larger key": {Op: azurekvtest.WrapKey, Alter: azurekvtest.WithValue(func(v []byte) []byte {
			return append(v, make([]byte, 128)...)
		}).Alter},
	} {
		e := newEnv(t, signed)
		restore := e.srv.Inject(f)
		_, err := e.kek.Wrap(t.Context(), secret(), binding(t))
		if err == nil {
			t.Errorf("%s: Wrap succeeded", what)
			continue
		}
		wantClass(t, err, kek.ErrCorrupt)
		restore()
		if n := e.srv.Calls(azurekvtest.Sign); n != 0 {
			t.Errorf("%s: it was signed", what)
		}
	}
}

func TestFetchVerifyingKey(t *testing.T) {
	e := newEnv(t, signed)
	id, pemKey, err := azurekv.FetchVerifyingKey(t.Context(), e.client, signID, azurekv.Options{})
	ok(t, err)
	if id != e.signing.VersionID() {
		t.Errorf("id %q, want %q", id, e.signing.VersionID())
	}
	ok(t, e.signing.Rotate())
	id2, pem2, err := azurekv.FetchVerifyingKey(t.Context(), e.client, id, azurekv.Options{}) // by version
	ok(t, err)
	if id2 != id || !bytes.Equal(pem2, pemKey) {
		t.Error("asking for the version gave another key")
	}
	_, pem3, err := azurekv.FetchVerifyingKey(t.Context(), e.client, signID, azurekv.Options{})
	ok(t, err)
	keys := must(azurekv.ParseVerifyingKeys(slices.Concat([]byte("\n"), pemKey, []byte("\r\n\n"), pem3)))(t)
	k := must(azurekv.New(t.Context(), e.client, rootID, azurekv.Options{SigningKey: id, VerifyingKeys: keys}))(t)
	key := secret()
	wantOpens(t, k, wrap(t, e.kek, key), key)

	hsm := must(e.srv.CreateKey(hsmID, azurekvtest.AES256))(t)
	hsmClient := must(e.srv.Client(hsmHost))(t)
	_, _, err = azurekv.FetchVerifyingKey(t.Context(), hsmClient, hsm.ID(), azurekv.Options{})
	wantError(t, err, azurekv.ErrOptions)
	_, _, err = azurekv.FetchVerifyingKey(t.Context(), (*azkeys.Client)(nil), signID, azurekv.Options{})
	wantError(t, err, azurekv.ErrOptions)
	e.signing.Deny(azurekvtest.App)
	_, _, err = azurekv.FetchVerifyingKey(t.Context(), e.client, signID, azurekv.Options{})
	wantClass(t, err, kek.ErrDenied)
}

func TestParseVerifyingKeysRefuses(t *testing.T) {
	e := newEnv(t, signed)
	_, good, err := azurekv.FetchVerifyingKey(t.Context(), e.client, signID, azurekv.Options{})
	ok(t, err)
	text := string(good)
	for _, bad := range []string{
		"", " \n", "not PEM", "text\n" + text, text + "text", text + "\ntext\n" + text, strings.Replace(text, "PUBLIC KEY", "RSA PUBLIC KEY", 2), strings.Replace(text, "PUBLIC KEY", "CERTIFICATE", 2),
		strings.Replace(text, "MII", "AAA", 1), text[:len(text)/2],
		// A damaged key before a good one must not be passed over.
		strings.Replace(text, "MII", "*II", 1) + text, text + strings.Replace(text, "MII", "*II", 1),
		strings.Replace(text, "-----END PUBLIC KEY-----", "", 1) + text, "-----BEGIN PUBLIC KEY-----\nno end\n" + text,
		strings.Replace(text, "-----END", "----END", 1) + text, text[:len(text)/2] + text,
		strings.Replace(text, "KEY-----\n", "KEY-----\nName: value\n\n", 1) + text,
		strings.ReplaceAll(text, "PUBLIC KEY", "EC PUBLIC KEY") + text,
	} {
		keys, err := azurekv.ParseVerifyingKeys([]byte(bad))
		if keys != nil {
			t.Errorf("%.40q: %d keys", bad, len(keys))
		}
		wantError(t, err, azurekv.ErrOptions)
	}
}
