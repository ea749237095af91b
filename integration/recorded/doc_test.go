// Package recorded_test gives the drivers real answers of AWS, Google and
// Microsoft. gocloud.dev has recordings of such calls in its module, which are
// read from the module cache; nothing of them is copied.
//
// A recording can't be replayed to a driver as it is: what a driver sends, a
// binding and checksums among it, was never recorded. So the calls are made to
// a server of ours or to one of a few lines here, and the answer to the one call
// that matters is the recorded one, byte for byte, with its status and headers.
package recorded_test

import (
	"crypto/rand"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	_ "gocloud.dev/gcerrors" // keeps gocloud.dev, and so its recordings, in go.mod
)

// recordings returns the directory of a driver's recordings in gocloud.dev.
func recordings(t testing.TB, driver string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "gocloud.dev").Output()
	ok(t, err)
	return filepath.Join(strings.TrimSpace(string(out)), "secrets", driver, "testdata")
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantClass checks that err matches class and no other.
func wantClass(t testing.TB, what string, err, class error) {
	t.Helper()
	for _, c := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if errors.Is(err, c) != (c == class) {
			t.Errorf("%s: got error %.300v, want one that matches %v alone", what, err, class)
			return
		}
	}
}

func newKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return key
}

func binding(t testing.TB) kek.Binding {
	t.Helper()
	kc := keyctx.KeyContext{"organization_id": "org_01"}
	hash, err := kc.Hash()
	ok(t, err)
	return kek.Binding{ContextHash: hash, Purpose: keyctx.PurposeData, Version: 1, Context: kc}
}
