package main

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecretsAreNotPrinted: whatever is wrong with a store's URL, its password is in no
// output, nor is a token.
func TestSecretsAreNotPrinted(t *testing.T) {
	const secret = "p4ss:w/o rd%?#"
	escaped := url.QueryEscape(secret)
	inUser, to := url.UserPassword("user", secret).String(), filepath.Join(t.TempDir(), "x")
	for _, store := range []string{
		"postgres://" + inUser + "@127.0.0.1:1/db?connect_timeout=1",
		"postgres://" + inUser + "@127.0.0.1:1/db?sslmode=nonsense",
		"postgres://" + inUser + "@127.0.0.1:port/db",
		"postgres://user:" + secret + "@127.0.0.1:1/db",
		"postgres:" + secret,
		"postgres://127.0.0.1:1/db?connect_timeout=1&password=" + escaped,
		"postgres://127.0.0.1:1/db?connect_timeout=1&sslpassword=" + escaped,
		"postgres://" + inUser + "@127.0.0.1:1/db#nonsense=1",
		"mysql://" + inUser + "@127.0.0.1:1/db",
		"mysql://" + inUser + "@127.0.0.1:1/db?tls=nonsense",
		"mysql://" + inUser + "@127.0.0.1:1/db?timeout=x",
		"mysql://user:" + secret + "@127.0.0.1:1/db",
		"mysql://",
		"ftp://" + inUser + "@127.0.0.1/db",
		secret,
	} {
		for _, args := range [][]string{
			{"keys", "--all", "--store", store}, {"copy", "--store", store, "--to", "bolt:" + to, "--json"}, {"migrate", "--store", store},
		} {
			code, out, errOut := runHere(t, func(string) string { return "" }, args...)
			if code != exitFailed && code != exitUsage {
				t.Errorf("%s: exit code %d", store, code)
			}
			for _, leak := range []string{secret, escaped, inUser, "w/o rd", "p4ss"} {
				if strings.Contains(out+errOut, leak) {
					t.Errorf("%s of %s prints the password:\n%s%s", args[0], store, out, errOut)
				}
			}
			if errOut == "" {
				t.Errorf("%s of %s says nothing", args[0], store)
			}
		}
	}
}

// TestResumingPrintsNoSecret: the command that goes on has the flags as they were given,
// but for the password.
func TestResumingPrintsNoSecret(t *testing.T) {
	a := testApp(t, nil)
	a.args = []string{"rewrap", "--all", "--store", "postgres://user:hunter22@host/db", "--reason", "it's time", "--job", "old", "--job=older"}
	if _, err := a.parseServerURL(a.args[3]); err != nil {
		t.Fatal(err)
	}
	got := a.clean(a.again("--job", "new"))
	if want := `vaultctl rewrap --all --store *** --reason 'it'\''s time' --job new`; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// TestShortPasswords: a short password is hidden where it stands as one, and a word
// that has it in it is printed.
func TestShortPasswords(t *testing.T) {
	a := testApp(t, nil)
	a.args = []string{"rewrap", "--all"}
	for _, store := range []string{"postgres://vault:vault@db.internal/app", "postgres://db.internal/app?sslpassword=all"} {
		if _, err := a.parseServerURL(store); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := a.clean(a.again("--job", "vaultctl-1")), "vaultctl rewrap --all --job vaultctl-1"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, text := range []string{"vault:vault@tcp(db)", "user=x password=vault", "mysql://root:vault@db", "sslpassword=all", "postgres://vault:vault@db.internal/app"} {
		if got := a.clean(text); strings.Contains(got, ":vault") || strings.Contains(got, "=vault") || strings.Contains(got, "=all") {
			t.Errorf("%s", got)
		}
	}
}

// TestLineBreakInAName: an object's name with a line break is one line of a list.
func TestLineBreakInAName(t *testing.T) {
	var out strings.Builder
	a := newApp(strings.NewReader(""), &out, &out, func(string) string { return "" })
	if err := a.lines().add(nil, "", "a\nb"); err != nil || out.String() != "a\\nb\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestHarmless(t *testing.T) {
	if got, want := harmless("a\x1b[2Jb\tc\nd\u009b1m"), "a\uFFFD[2Jb c\nd\uFFFD1m"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
