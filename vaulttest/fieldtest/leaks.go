package fieldtest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/embedvault/vault"
)

// fieldKind is the kind byte of a field's envelope.
const fieldKind = 9

// nothingLeaked ends every check: all encrypted columns hold sealed fields or NULL, and
// no plaintext is in any column, log line or error.
func (e *env) nothingLeaked() {
	for table, columns := range encryptedColumns {
		rows, err := e.db.Raw.Rows(e.ctx, table)
		if err != nil {
			e.errorf("reading %s: %v", table, err)
			continue
		}
		for _, row := range rows {
			for column, value := range row {
				e.noSecret(value, "the column "+table+"."+column)
				if slices.Contains(columns, column) && value != nil && !e.spoilt[string(value)] {
					e.sealed(value, table+"."+column)
				}
			}
		}
	}
	if e.db.Logs != nil {
		e.noSecret([]byte(e.db.Logs()), "the log")
	}
	e.mu.Lock()
	said := strings.Join(e.said, "\n")
	e.mu.Unlock()
	e.noSecret([]byte(said), "an error")
}

// sealed wants a value to be a sealed field.
func (e *env) sealed(value []byte, where string) {
	if info, err := vault.Inspect(value); err != nil || info.Kind.Reference() != fieldKind {
		e.errorf("%s holds something that is not a sealed field", where)
	}
}

// noSecret wants no plaintext in some bytes, in no form in which programs print it.
func (e *env) noSecret(b []byte, where string) {
	e.mu.Lock()
	secrets := append(slices.Clone(e.secrets), fmt.Sprint(weight))
	e.mu.Unlock()
	for _, s := range secrets {
		if form := formOf(b, s); form != "" {
			e.errorf("%s holds plaintext, %s", where, form)
			return
		}
	}
}

// formOf says in which form a plaintext stands in some bytes; "" if it doesn't.
func formOf(b []byte, secret string) string {
	has := func(s string) bool { return bytes.Contains(b, []byte(s)) }
	numbers := strings.Trim(fmt.Sprint([]byte(secret)), "[]")
	switch {
	case has(secret) || has(strings.ToUpper(secret)):
		return "as it is"
	case has(hex.EncodeToString([]byte(secret))) || has(strings.ToUpper(hex.EncodeToString([]byte(secret)))):
		return "in hexadecimal"
	case has(numbers):
		return "as numbers"
	case has(strings.ReplaceAll(numbers, " ", ", ")):
		return "as numbers"
	}
	for offset := range 3 { // base64 depends on how many bytes stand before it
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", offset) + secret))
		from, to := (offset*8+5)/6, (offset+len(secret))*8/6
		if has(text[from:to]) || has(strings.NewReplacer("+", "-", "/", "_").Replace(text[from:to])) {
			return "in base64"
		}
	}
	return ""
}

// raw returns a column of a row as the database has it.
func (e *env) raw(table, id, column string) []byte {
	rows, err := e.db.Raw.Rows(e.ctx, table)
	e.ok(err)
	for _, row := range rows {
		if string(row["id"]) == id {
			return row[column]
		}
	}
	e.fatalf("there is no row %s in %s", id, table)
	return nil
}

// rows returns the IDs in a table.
func (e *env) rows(table string) []string {
	rows, err := e.db.Raw.Rows(e.ctx, table)
	e.ok(err)
	ids := []string{}
	for _, row := range rows {
		ids = append(ids, string(row["id"]))
	}
	return ids
}

// wantRows wants exactly these rows of patients.
func (e *env) wantRows(want ...string) {
	if got := e.rows("patients"); !slices.Equal(got, want) {
		e.errorf("patients has the rows %q, want %q", got, want)
	}
}

// swap exchanges two values in the database.
func (e *env) swap(table1, id1, column1, table2, id2, column2 string) {
	a, b := e.raw(table1, id1, column1), e.raw(table2, id2, column2)
	e.ok(e.db.Raw.Set(e.ctx, table1, id1, column1, b))
	e.ok(e.db.Raw.Set(e.ctx, table2, id2, column2, a))
}

// spoil writes something into an encrypted column that isn't a sealed field.
func (e *env) spoil(table, id, column string, value []byte) {
	if e.spoilt == nil {
		e.spoilt = map[string]bool{}
	}
	e.spoilt[string(value)] = true
	e.ok(e.db.Raw.Set(e.ctx, table, id, column, value))
}
