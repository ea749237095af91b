package vaulttest_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaulttest"
)

// oneColumn is a database whose every query gives these values.
type oneColumn struct {
	values []driver.Value
	next   int
	asked  string
}

func (d *oneColumn) Connect(context.Context) (driver.Conn, error) { return d, nil }
func (d *oneColumn) Driver() driver.Driver                        { return nil }
func (d *oneColumn) Prepare(q string) (driver.Stmt, error)        { d.asked, d.next = q, 0; return d, nil }
func (d *oneColumn) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }
func (d *oneColumn) Close() error                                 { return nil }
func (d *oneColumn) NumInput() int                                { return 0 }
func (d *oneColumn) Exec([]driver.Value) (driver.Result, error)   { return nil, driver.ErrSkip }
func (d *oneColumn) Query([]driver.Value) (driver.Rows, error)    { return d, nil }
func (d *oneColumn) Columns() []string                            { return []string{"c"} }
func (d *oneColumn) Next(dst []driver.Value) error {
	if d.next == len(d.values) {
		return io.EOF
	}
	dst[0] = d.values[d.next]
	d.next++
	return nil
}

// recordTB notes what an assertion says.
type recordTB struct {
	testing.TB
	said []string
}

func (r *recordTB) Helper() {}
func (r *recordTB) Errorf(format string, a ...any) {
	r.said = append(r.said, fmt.Sprintf(format, a...))
}
func (r *recordTB) Fatalf(format string, a ...any) { r.Errorf(format, a...); runtime.Goexit() }

// assert returns what AssertSealed says of these values.
func assert(t *testing.T, table, column string, plaintexts []string, values ...driver.Value) string {
	t.Helper()
	d := &oneColumn{values: values}
	db := sql.OpenDB(d)
	defer db.Close()
	r := &recordTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		vaulttest.AssertSealed(r, db, table, column, plaintexts...)
	}()
	<-done
	if want := "SELECT " + column + " FROM " + table; d.asked != "" && d.asked != want {
		t.Errorf("it asked %q", d.asked)
	}
	return strings.Join(r.said, "\n")
}

func TestAssertSealed(t *testing.T) {
	v := vaulttest.New(t)
	const secret = "s3cret-Value?~"
	seal := func(x any) []byte {
		b, err := v.SealField(t.Context(), org, vault.At("t", "c", 1), x)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	message, err := v.Encrypt(t.Context(), org, []byte("m"), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := vault.SealedText[string]{Encrypted: vault.SealedBytes[string](seal(secret))}.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	plain := []string{secret, "another one"}
	for name, good := range map[string][]driver.Value{
		"sealed": {seal(secret), nil, seal("")}, "as string": {string(seal(secret))}, "text form": {string(text)},
	} {
		if said := assert(t, "app.users", "ssn_1", plain, good...); said != "" {
			t.Errorf("%s: %s", name, said)
		}
	}
	embed := func(s string) []byte { return append(seal("x"), s...) }
	for name, c := range map[string]struct {
		want  string
		value driver.Value
	}{
		"plain": {"row 2 holds plaintext 1, as it is", secret}, "within": {"as it is", embed("{" + secret + "}")}, "bytes": {"as it is", []byte(secret)},
		"hex": {"in hexadecimal", hex.EncodeToString([]byte(secret))}, "HEX": {"in hexadecimal", strings.ToUpper(hex.EncodeToString([]byte(secret)))},
		"base64": {"in base64", base64.StdEncoding.EncodeToString([]byte(secret))}, "base64 1": {"in base64", base64.StdEncoding.EncodeToString([]byte("x" + secret + "y"))},
		"base64 2": {"in base64", base64.URLEncoding.EncodeToString([]byte("xy" + secret))}, "other": {"not a sealed field", "something else"},
		"second": {"plaintext 2", "another one"}, "message": {"not a sealed field", message}, "number": {"not a sealed field", int64(7)}, "empty": {"not a sealed field", []byte{}},
	} {
		said := assert(t, "users", "ssn", plain, seal("fine"), c.value)
		if !strings.Contains(said, c.want) || !strings.Contains(said, "row 2") || strings.Contains(said, secret) {
			t.Errorf("%s: %q, want %q", name, said, c.want)
		}
	}
	for name, said := range map[string]string{
		"no rows": assert(t, "users", "ssn", plain), "NULL alone": assert(t, "users", "ssn", plain, nil, nil), "short": assert(t, "users", "ssn", []string{"abc"}, seal("x")),
		"injected table": assert(t, "users; DROP TABLE users", "ssn", plain, seal("x")), "injected column": assert(t, "users", "ssn FROM x --", plain, seal("x")),
		"empty name": assert(t, "", "ssn", plain, seal("x")), "dotted column": assert(t, "users", "u.ssn", plain, seal("x")), "two dots": assert(t, "a.b.c", "ssn", plain, seal("x")), "quote": assert(t, `"users"`, "ssn", plain, seal("x")), "digit": assert(t, "1users", "ssn", plain, seal("x")), "dot at the end": assert(t, "users.", "ssn", plain, seal("x")),
	} {
		if said == "" {
			t.Errorf("%s: it says nothing", name)
		}
	}
}

func TestDecryptions(t *testing.T) {
	v := vaulttest.New(t)
	ctx := t.Context()
	at := vault.At("t", "c", 1)
	sealed, err := v.SealField(ctx, org, at, "x")
	if err != nil {
		t.Fatal(err)
	}
	if n := v.Decryptions(); n != 0 {
		t.Fatalf("%d before any", n)
	}
	if err := v.OpenField(ctx, org, at, sealed, new(string)); err != nil {
		t.Fatal(err)
	}
	if err := v.OpenField(ctx, org, vault.At("t", "c", 2), sealed, new(string)); err == nil {
		t.Fatal("it opens elsewhere")
	}
	message, err := v.Encrypt(ctx, org, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Decrypt(ctx, org, message, nil); err != nil {
		t.Fatal(err)
	}
	if n := v.Decryptions(); n != 2 {
		t.Fatalf("%d, want 2", n)
	}
}
