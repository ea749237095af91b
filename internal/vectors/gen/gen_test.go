package main

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/embedvault/vault/internal/vectors"
)

// elsewhere runs the test in a process of its own where GCM takes a nonce from its
// caller, if it takes none in this one, and reports whether it did.
func elsewhere(t *testing.T) bool {
	t.Helper()
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cipher.NewGCM(block); err == nil {
		return false
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.count=1", "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=off")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Fatalf("%v:\n%s", err, out)
	}
	return true
}

// The generator makes every vector that is committed, byte for byte, and there
// is none that it would still add.
func TestReproducesCommitted(t *testing.T) {
	if elsewhere(t) {
		return
	}
	dir, err := vectors.Dir()
	if err != nil {
		t.Fatal(err)
	}
	files, err := merged(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		if f.name != vectors.Files()[i] || f.added != 0 {
			t.Errorf("%s: %d vectors are not committed", f.name, f.added)
		}
		want, err := f.bytes()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, f.name))
		if err != nil {
			t.Fatal(err)
		}
		if got = bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")); !bytes.Equal(got, want) {
			t.Errorf("%s is not formatted as the generator does", f.name)
		}
	}
}

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	text := func(name, text string) any { return vectors.Text{Name: name, Result: vectors.Malformed, Text: text} }
	write := func(cases ...any) error {
		f, err := merge(dir, vectors.TextFile, cases)
		if err != nil {
			return err
		}
		if err := f.write(dir); err != nil {
			return err
		}
		return writeManifest(dir, []file{f})
	}
	names := func() (out []string) {
		b, err := os.ReadFile(filepath.Join(dir, vectors.TextFile))
		if err != nil {
			t.Fatal(err)
		}
		var vs []vectors.Text
		if err := json.Unmarshal(b, &vs); err != nil {
			t.Fatal(err)
		}
		for _, v := range vs {
			out = append(out, v.Name+"="+v.Text)
		}
		return out
	}
	check := func(want ...string) {
		t.Helper()
		got := names()
		if len(got) != len(want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
	if err := write(text("a", "1"), text("b", "<2>")); err != nil {
		t.Fatal(err)
	}
	check("a=1", "b=<2>")
	if err := write(text("c", "3"), text("b", "<2>")); err != nil { // a has lost its case and stays
		t.Fatal(err)
	}
	check("a=1", "b=<2>", "c=3")
	if err := write(text("a", "other")); !errors.Is(err, errChanged) {
		t.Errorf("changing a vector: %v", err)
	}
	check("a=1", "b=<2>", "c=3")
	if err := write(text("d", "4"), text("d", "4")); err == nil {
		t.Error("two cases of one name were taken")
	}
}

func TestCheckGrowth(t *testing.T) {
	now, err := vectors.CommittedManifest()
	if err != nil {
		t.Fatal(err)
	}
	older := now[0] + "\n" + now[len(now)-1] + "\n"
	if err := checkGrowth("-", bytes.NewBufferString(older)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", older + "0123  envelope_v1.json gone\n"} {
		path := filepath.Join(t.TempDir(), "MANIFEST")
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := checkGrowth(path, nil); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
