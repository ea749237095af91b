package tinkkek_test

import (
	"crypto/fips140"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// What this package can do, in a process where nothing but the algorithms of the
// FIPS 140-3 module may be used.
func TestUnderFIPS140Only(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), must(os.Executable())(t), "-test.count=1", "-test.v",
		"-test.run=^(TestConformance|TestLoadOrCreate|TestRotate|TestEncryptedFile|TestGCMKeyset|Example)")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	if !strings.Contains(string(out), "--- PASS: TestGCMKeyset") {
		t.Fatal("it ran no tests")
	}
}

// Tink's AES-GCM keysets work, except where they aren't allowed: then it is an
// error when the keyset is loaded, not when it is first needed.
func TestGCMKeyset(t *testing.T) {
	handle := must(keyset.NewHandle(aead.AES256GCMKeyTemplate()))(t)
	path := filepath.Join(t.TempDir(), "keyset.json")
	ok(t, os.WriteFile(path, jsonOf(t, handle), 0o600))
	k, err := tinkkek.Load(path)
	_, newErr := tinkkek.New(handle, tinkkek.Options{})
	if fips140.Enabled() && strings.Contains(os.Getenv("GODEBUG"), "fips140=only") {
		wantError(t, err, tinkkek.ErrKeyset)
		wantError(t, newErr, tinkkek.ErrKeyset)
		return
	}
	ok(t, errors.Join(err, newErr))
	key := secret()
	old := wrap(t, k, key)
	ok(t, tinkkek.Rotate(path)) // to a key that is allowed everywhere
	wantOpens(t, k, wrap(t, k, key), key)
	wantOpens(t, k, old, key)
}
