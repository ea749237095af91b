package vaulttest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/embedvault/vault"
)

// Queryer is a *sql.DB, *sql.Tx or *sql.Conn.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// minPlaintext is the shortest plaintext that is looked for, in bytes: anything
// shorter is found in random bytes.
const minPlaintext = 4

// AssertSealed fails the test unless every value in a column of the database is a
// sealed field, or NULL, and holds none of the plaintexts: as they are, in
// hexadecimal or in base64. There must be a value: an empty table shows nothing. A
// plaintext has at least 4 bytes.
//
// Table and column are names of letters, digits and underscores; a table may have that
// of its schema before it, with a dot. The failure says in which row, counted as the
// database gives them, and never shows a value.
func AssertSealed(t testing.TB, db Queryer, table, column string, plaintexts ...string) {
	t.Helper()
	if !isName(table, true) || !isName(column, false) {
		t.Fatalf("vaulttest: AssertSealed: table %q and column %q must be plain names", table, column)
	}
	for i, p := range plaintexts {
		if len(p) < minPlaintext {
			t.Fatalf("vaulttest: AssertSealed: plaintext %d has %d bytes; one of fewer than %d is found by chance", i+1, len(p), minPlaintext)
		}
	}
	values, err := columnValues(t.Context(), db, table, column)
	if err != nil {
		t.Fatalf("vaulttest: AssertSealed: reading %s.%s: %v", table, column, err)
	}
	seen := 0
	for row, v := range values {
		if v == nil {
			continue
		}
		seen++
		for i, p := range plaintexts {
			if form := formIn(v, []byte(p)); form != "" {
				t.Errorf("vaulttest: %s.%s: row %d holds plaintext %d, %s", table, column, row+1, i+1, form)
			}
		}
		if info, err := vault.Inspect(v); err != nil || !isField(info) {
			t.Errorf("vaulttest: %s.%s: row %d is not a sealed field", table, column, row+1)
		}
	}
	if seen == 0 {
		t.Fatalf("vaulttest: AssertSealed: %s.%s has no value in %d rows: there is nothing to look at", table, column, len(values))
	}
}

func isField(i vault.Info) bool { return i.Kind.Reference() == 9 }

func isName(s string, dotted bool) bool {
	start := true
	for _, r := range s {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		switch {
		case letter:
			start = false
		case !start && r >= '0' && r <= '9':
		case !start && r == '.' && dotted:
			start, dotted = true, false
		default:
			return false
		}
	}
	return !start
}

// columnValues reads a column; nil is NULL.
func columnValues(ctx context.Context, db Queryer, table, column string) (values [][]byte, err error) {
	rows, err := db.QueryContext(ctx, "SELECT "+column+" FROM "+table) // both are plain names
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	for rows.Next() {
		var v any
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case nil:
			values = append(values, nil)
		case []byte:
			values = append(values, append([]byte{}, v...))
		case string:
			values = append(values, append([]byte{}, v...))
		default:
			values = append(values, fmt.Append([]byte{}, v))
		}
	}
	return values, rows.Err()
}

// formIn says in which form a plaintext stands in a value; "" if it doesn't.
func formIn(value, plaintext []byte) string {
	switch lower := bytes.ToLower(value); {
	case bytes.Contains(value, plaintext):
		return "as it is"
	case bytes.Contains(lower, []byte(hex.EncodeToString(plaintext))):
		return "in hexadecimal"
	}
	for offset := range 3 {
		for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			if bytes.Contains(value, encodedAt(enc, plaintext, offset)) {
				return "in base64"
			}
		}
	}
	return ""
}

// encodedAt returns the characters that depend on the plaintext alone where so many
// bytes stand before it.
func encodedAt(enc *base64.Encoding, plaintext []byte, offset int) []byte {
	text := enc.EncodeToString(append(make([]byte, offset), plaintext...))
	from := (offset*8 + 5) / 6
	to := (offset + len(plaintext)) * 8 / 6
	return []byte(text[from:to])
}

// Decryptions returns how many values the vault has decrypted so far: messages, fields,
// data keys and objects, those that failed not counted. It counts events, so that a
// test can say of a page that shows no secret that nothing was decrypted for it.
func (v *Vault) Decryptions() int {
	n := 0
	for _, e := range v.Events(vault.MessageDecrypted, vault.FieldDecrypted, vault.DEKDecrypted, vault.DataRead) {
		if e.Err == nil {
			n++
		}
	}
	return n
}
