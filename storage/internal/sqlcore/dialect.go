package sqlcore

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/embedvault/vault/storage"
)

// Dialect is the SQL that a database speaks. The zero value is invalid.
type Dialect uint8

// The dialects.
const (
	PostgreSQL Dialect = 1
	MySQL      Dialect = 2 // and MariaDB
	SQLite     Dialect = 3
)

// Valid reports whether d is one of the dialects above.
func (d Dialect) Valid() bool { return d >= PostgreSQL && d <= SQLite }

func (d Dialect) String() string {
	switch d {
	case PostgreSQL:
		return "PostgreSQL"
	case MySQL:
		return "MySQL"
	case SQLite:
		return "SQLite"
	}
	return fmt.Sprintf("dialect(%d)", uint8(d))
}

// casts are PostgreSQL's casts of the kinds of parameters. Each parameter has
// one, so that a statement means the same in every mode of every driver, also
// where the driver sends text and doesn't ask for types.
var casts = map[string]string{
	"bytes": "bytea",
	"int":   "bigint",
	"bool":  "boolean",
	"text":  "text",
	"time":  "timestamptz",
	"id":    "uuid",
	"texts": "text::text[]",   // see textList
	"blobs": "text::bytea[]",  // see blobList
	"ints":  "text::bigint[]", // see anyList
	"times": "text::timestamptz[]",
}

// forUpdate locks the rows that a SELECT finds, and reads their newest state.
// In SQLite the transaction has the write lock already.
func (d Dialect) forUpdate() string {
	if d == SQLite {
		return ""
	}
	return " FOR UPDATE"
}

// newest makes a SELECT after forUpdate see what the lock waited for. In
// PostgreSQL at READ COMMITTED every statement does; in MySQL's default
// isolation, in an application's transaction, only locking reads do.
func (d Dialect) newest() string {
	if d == MySQL {
		return " LOCK IN SHARE MODE"
	}
	return ""
}

// ifAbsent makes an INSERT do nothing where a unique index forbids it. MySQL's
// INSERT IGNORE would ignore everything else as well: there the error is
// caught, see insert.
func (d Dialect) ifAbsent() string {
	if d == MySQL {
		return ""
	}
	return " ON CONFLICT DO NOTHING"
}

// time is a point in time as a parameter: MySQL's DATETIME depends on settings
// of the user's connection, and SQLite has no such type.
func (d Dialect) time(t time.Time) any {
	if d == PostgreSQL {
		return storage.TruncateTime(t)
	}
	return t.UnixMicro()
}

// micros is like time, for what is kept in microseconds, with 0 as NULL.
func (d Dialect) micros(us int64) any {
	if us == 0 {
		return nil
	}
	return d.time(time.UnixMicro(us))
}

// orNull is like time, with the zero time as NULL.
func (d Dialect) orNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return d.time(t)
}

// id is an object's or version's ID as a parameter.
func (d Dialect) id(id storage.ID) any {
	if d == PostgreSQL {
		return id.String()
	}
	return id[:]
}

// names says how tables are called.
type names struct{ schema, prefix string }

// identifier is the strict alphabet of what may stand in an identifier.
var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,30}$`)

func checkNames(d Dialect, n names) error {
	if !identifier.MatchString(n.prefix) {
		return fmt.Errorf("the table prefix doesn't match %s", identifier)
	}
	if n.schema == "" {
		return nil
	}
	if d != PostgreSQL {
		return fmt.Errorf("%s has no schemas: it is an option for PostgreSQL", d)
	}
	if !identifier.MatchString(n.schema) {
		return fmt.Errorf("the schema doesn't match %s", identifier)
	}
	return nil
}

// quote quotes an identifier of the strict alphabet: it may be a reserved word.
func (d Dialect) quote(s string) string {
	if d == MySQL {
		return "`" + s + "`"
	}
	return `"` + s + `"`
}

// textList and blobList are the texts of PostgreSQL's arrays: one parameter for
// any number of values, with every driver.
func textList(list []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, s := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

func blobList(list [][]byte) string {
	b := []byte{'{'}
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `"\\x`...)
		b = hex.AppendEncode(b, s)
		b = append(b, '"')
	}
	return string(append(b, '}'))
}
