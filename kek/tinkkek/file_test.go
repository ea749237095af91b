package tinkkek_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/core/registry"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
)

// wantFiles checks that a directory holds these files and no others.
func wantFiles(t testing.TB, dir string, want ...string) {
	t.Helper()
	var got []string
	for _, e := range must(os.ReadDir(dir))(t) {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the directory holds %q, want %q", got, want)
	}
}

func jsonOf(t testing.TB, handle *keyset.Handle) []byte {
	t.Helper()
	var buf bytes.Buffer
	ok(t, insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&buf)))
	return buf.Bytes()
}

func TestLoadOrCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "root-keyset.json")
	created := must(tinkkek.LoadOrCreate(path))(t)
	wantFiles(t, dir, "root-keyset.json")
	if uri := created.URI(); uri != "tink-keyset:local" {
		t.Errorf("URI %q", uri)
	}
	info := must(os.Stat(path))(t)
	if runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}

	key := secret()
	wrapped := wrap(t, created, key)
	wantOpens(t, must(tinkkek.LoadOrCreate(path))(t), wrapped, key)
	wantOpens(t, must(tinkkek.Load(path, tinkkek.Options{}))(t), wrapped, key)
	if again := must(os.Stat(path))(t); !os.SameFile(info, again) {
		t.Error("the file was made anew")
	}
}

func TestLoadNeverCreates(t *testing.T) {
	dir := t.TempDir()
	_, err := tinkkek.Load(filepath.Join(dir, "keyset.json"))
	wantError(t, err, fs.ErrNotExist)
	wantError(t, tinkkek.Rotate(filepath.Join(dir, "keyset.json")), fs.ErrNotExist)
	_, err = tinkkek.LoadOrCreate(filepath.Join(dir, "missing", "keyset.json"))
	wantError(t, err, fs.ErrNotExist)
	wantFiles(t, dir)
}

// badContents are files that are no usable keyset.
func badContents(t testing.TB) map[string][]byte {
	good := jsonOf(t, newHandle(t))
	remote := []byte(`{"primaryKeyId":1,"key":[{"keyData":{"typeUrl":"type.googleapis.com/google.crypto.tink.KmsAeadKey",` +
		`"value":"EhEKD2Zha2Uta21zOi8va2V5","keyMaterialType":"REMOTE"},"status":"ENABLED","keyId":1,"outputPrefixType":"TINK"}]}`)
	return map[string][]byte{
		"empty":           {},
		"white space":     []byte(" \n\t\n"),
		"zeros":           make([]byte, 512),
		"not JSON":        []byte("-----BEGIN PRIVATE KEY-----"),
		"an array":        []byte("[]"),
		"null":            []byte("null"),
		"an empty object": []byte("{}"),
		"other JSON":      []byte(`{"primaryKeyId":"x","key":7}`),
		"no keys":         []byte(`{"primaryKeyId":1,"key":[]}`),
		"no primary key":  bytes.Replace(good, []byte(`"primaryKeyId":`), []byte(`"primaryKeyId":1`), 1),
		"disabled":        bytes.Replace(good, []byte("ENABLED"), []byte("DISABLED"), 1),
		"not of AEADs":    jsonOf(t, must(keyset.NewHandle(mac.HMACSHA256Tag256KeyTemplate()))(t)),
		"a KMS's":         remote,
		"encrypted":       []byte(`{"encryptedKeyset":"AAAA"}`),
		"two of them":     append(bytes.Clone(good), good...),
		"trailing bytes":  append(bytes.Clone(good), 'x'),
		"too large":       append(bytes.Clone(good), bytes.Repeat([]byte(" "), 1<<20)...),
		"half of a value": bytes.Replace(good, []byte(`"value":"`), []byte(`"value":"!`), 1),
	}
}

func TestBadFiles(t *testing.T) {
	tinkkek.Impatient(t)
	for name, content := range badContents(t) {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keyset.json")
			ok(t, os.WriteFile(path, content, 0o600))
			_, err := tinkkek.Load(path)
			wantError(t, err, tinkkek.ErrKeyset)
			_, err = tinkkek.LoadOrCreate(path)
			wantError(t, err, tinkkek.ErrKeyset)
			wantError(t, tinkkek.Rotate(path), tinkkek.ErrKeyset)
			if !bytes.Equal(must(os.ReadFile(path))(t), content) {
				t.Error("the file was changed")
			}
			wantFiles(t, filepath.Dir(path), "keyset.json")
		})
	}
}

// A damaged file must be an error, and the error must not print the keys.
func TestDamagedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	good := bytes.TrimSpace(jsonOf(t, newHandle(t)))
	var fields struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	ok(t, json.Unmarshal(good, &fields))
	value := fields.Key[0].KeyData.Value
	if len(value) < 80 {
		t.Fatalf("the key's value has %d characters", len(value))
	}
	load := func(content []byte) error {
		ok(t, os.WriteFile(path, content, 0o600))
		_, err := tinkkek.Load(path)
		if err == nil {
			return nil
		}
		wantError(t, err, tinkkek.ErrKeyset)
		for text, i := fmt.Sprintf("%v %+v", err, err), 0; i+8 <= len(value); i++ {
			if strings.Contains(text, value[i:i+8]) {
				t.Fatalf("the error's text has bytes of the key in it")
			}
		}
		return err
	}
	ok(t, load(good))
	for n := 1; n < len(good); n++ {
		if load(good[:n]) == nil {
			t.Fatalf("the first %d of %d bytes are taken for a keyset", n, len(good))
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x11
		_ = load(bad) // in the key itself it makes another key; what counts is the text
	}
}

func TestNotAFile(t *testing.T) {
	dir := t.TempDir()
	_, err := tinkkek.Load(dir)
	wantError(t, err, tinkkek.ErrInsecureFile)
	_, err = tinkkek.LoadOrCreate(dir)
	wantError(t, err, tinkkek.ErrInsecureFile)
	wantError(t, tinkkek.Rotate(dir), tinkkek.ErrInsecureFile)
}

func TestEncryptedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	o := tinkkek.Options{Name: "root", Encryption: newAEAD(t)}
	key := secret()
	wrapped := wrap(t, must(tinkkek.LoadOrCreate(path, o))(t), key)
	wantOpens(t, must(tinkkek.Load(path, o))(t), wrapped, key)
	if content := must(os.ReadFile(path))(t); bytes.Contains(content, []byte(`"value"`)) {
		t.Error("the file has keys in the clear")
	}
	wantRefused := func(o tinkkek.Options, want error) {
		t.Helper()
		_, err := tinkkek.LoadOrCreate(path, o)
		wantError(t, err, want)
		wantError(t, tinkkek.Rotate(path, o), want)
	}
	wantRefused(tinkkek.Options{Name: "root", Encryption: newAEAD(t)}, tinkkek.ErrEncryption)
	wantRefused(tinkkek.Options{Name: "other", Encryption: o.Encryption}, tinkkek.ErrEncryption)
	wantRefused(tinkkek.Options{Name: "root", Encryption: panicky{}}, tinkkek.ErrEncryption)
	wantRefused(tinkkek.Options{Name: "root", Encryption: silent{}}, tinkkek.ErrEncryption)
	wantRefused(tinkkek.Options{Name: "root"}, tinkkek.ErrKeyset)

	down := newFakeKMS(t)
	outage := errors.New("outage")
	down.fail(outage, false)
	wantRefused(tinkkek.Options{Name: "root", Encryption: down}, outage)
	wantOpens(t, must(tinkkek.Load(path, o))(t), wrapped, key)

	clear := filepath.Join(t.TempDir(), "clear.json")
	must(tinkkek.LoadOrCreate(clear))(t)
	_, err := tinkkek.Load(clear, o)
	wantError(t, err, tinkkek.ErrKeyset)
}

// If the encryption fails, or can't be undone, nothing is left behind.
func TestCreateFails(t *testing.T) {
	dir := t.TempDir()
	down := newFakeKMS(t)
	down.fail(codeError("ThrottlingException"), false)
	for _, o := range []tinkkek.Options{{Encryption: down}, {Encryption: panicky{}}, {Encryption: silent{}}, {Encryption: writeOnly{newAEAD(t)}}} {
		_, err := tinkkek.LoadOrCreate(filepath.Join(dir, "keyset.json"), o)
		wantError(t, err, tinkkek.ErrEncryption)
		wantFiles(t, dir)
	}
}

// A running process must not go on making keys that the next one can't read.
func TestFileGone(t *testing.T) {
	dir := t.TempDir()
	path, aside := filepath.Join(dir, "keyset.json"), filepath.Join(dir, "aside.json")
	k := must(tinkkek.LoadOrCreate(path))(t)
	key := secret()
	old := wrap(t, k, key)

	// Another process rotates, wraps, and then the file is lost.
	ok(t, tinkkek.Rotate(path))
	rotated := wrap(t, must(tinkkek.Load(path))(t), key)
	ok(t, os.Rename(path, aside))
	_, err := k.Wrap(t.Context(), key, binding(t))
	wantError(t, err, kek.ErrUnavailable, fs.ErrNotExist)
	_, err = k.Unwrap(t.Context(), rotated, binding(t))
	wantError(t, err, kek.ErrUnavailable, fs.ErrNotExist)
	_, err = k.Check(t.Context())
	wantError(t, err, kek.ErrUnavailable, fs.ErrNotExist)
	wantOpens(t, k, old, key)

	// Someone makes a new one in its place.
	other := must(tinkkek.LoadOrCreate(path))(t)
	_, err = k.Wrap(t.Context(), key, binding(t))
	wantError(t, err, kek.ErrUnavailable, tinkkek.ErrKeyset)
	_, err = k.Unwrap(t.Context(), wrap(t, other, key), binding(t))
	wantError(t, err, kek.ErrUnavailable)
	wantOpens(t, k, old, key)

	// The right one is put back.
	ok(t, os.Rename(aside, path))
	wantOpens(t, k, rotated, key)
	wantOpens(t, k, wrap(t, k, key), key)

	if runtime.GOOS != "windows" { // and someone opens it to all
		ok(t, os.Chmod(path, 0o644))
		_, err = k.Wrap(t.Context(), key, binding(t))
		wantError(t, err, kek.ErrUnavailable, tinkkek.ErrInsecureFile)
		wantOpens(t, k, rotated, key)
	}
}

func TestDisabledKey(t *testing.T) {
	first := newHandle(t)
	key := secret()
	wrapped := wrap(t, must(tinkkek.New(first, tinkkek.Options{}))(t), key)
	m := keyset.NewManagerFromHandle(first)
	id := must(m.Add(aead.AES256CTRHMACSHA256KeyTemplate()))(t)
	ok(t, m.SetPrimary(id))
	ok(t, m.Disable(first.KeysetInfo().GetPrimaryKeyId()))
	k := must(tinkkek.New(must(m.Handle())(t), tinkkek.Options{}))(t)
	_, err := k.Unwrap(t.Context(), wrapped, binding(t))
	wantError(t, err, kek.ErrDenied)
	wantOpens(t, k, wrap(t, k, key), key)
}

// Keysets may have keys whose ciphertexts don't name them.
func TestRawKeys(t *testing.T) {
	template := aead.AES256CTRHMACSHA256KeyTemplate()
	template.OutputPrefixType = 3 // RAW
	k := must(tinkkek.New(must(keyset.NewHandle(template))(t), tinkkek.Options{}))(t)
	key := secret()
	wrapped := wrap(t, k, key)
	wantOpens(t, k, wrapped, key)
	wrapped[len(wrapped)-1] ^= 1
	_, err := k.Unwrap(t.Context(), wrapped, binding(t))
	wantError(t, err, kek.ErrCorrupt)
}

// A keyset that refers to a key in a KMS works in Tink, but all of its errors
// look alike there: an outage would pass for corruption.
func TestReferenceToKMS(t *testing.T) {
	const uri = "fake-kms://referred/1"
	registry.RegisterKMSClient(fakeClient{uri: newFakeKMS(t)})
	template := must(aead.CreateKMSEnvelopeAEADKeyTemplate(uri, aead.AES256CTRHMACSHA256KeyTemplate()))(t)
	handle := must(keyset.NewHandle(template))(t)
	if _, err := aead.New(handle); err != nil {
		t.Fatalf("Tink itself refuses it: %v", err)
	}
	_, err := tinkkek.New(handle, tinkkek.Options{})
	wantError(t, err, tinkkek.ErrKeyset)
}

func TestNewRefuses(t *testing.T) {
	for name, handle := range map[string]*keyset.Handle{
		"nil": nil, "zero": new(keyset.Handle), "not of AEADs": must(keyset.NewHandle(mac.HMACSHA256Tag256KeyTemplate()))(t),
	} {
		_, err := tinkkek.New(handle, tinkkek.Options{})
		if !errors.Is(err, tinkkek.ErrKeyset) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}
