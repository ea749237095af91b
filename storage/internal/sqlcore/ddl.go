package sqlcore

import (
	"fmt"
	"strings"
)

// Schema returns the statements that make the tables, as text for tools of
// your own: what [Store.Migrate] runs in an empty database. Run as a whole,
// they leave the database as Migrate would.
func (s *Store) Schema() string {
	var b strings.Builder
	fmt.Fprintf(&b, "-- Tables of EmbedVault for %s, version %d.\n", s.lang.Dialect, schemaVersion)
	if s.lang.schema != "" {
		b.WriteString("\n" + s.lang.newSchema() + ";\n")
	}
	for _, st := range s.lang.ddl() {
		b.WriteString("\n" + st + ";\n")
	}
	b.WriteString("\n" + s.lang.firstVersion() + ";\n")
	return b.String()
}

// newSchema makes PostgreSQL's schema, which may be there.
func (l lang) newSchema() string { return "CREATE SCHEMA IF NOT EXISTS " + l.quote(l.schema) }

// firstVersion records the schema's version in an empty table.
func (l lang) firstVersion() string {
	return fmt.Sprintf("INSERT INTO %s (one, version) VALUES (1, %d)", l.table("schema_version"), schemaVersion)
}

// ddl makes all tables. Where a statement can't be undone, in MySQL, it can be
// run again.
func (l lang) ddl() (out []string) {
	for _, t := range tables {
		out = append(out, l.create(t))
		if l.Dialect == MySQL {
			continue // indexes and comments are in it
		}
		for _, x := range t.indexes {
			out = append(out, l.createIndex(t, x))
		}
		if l.Dialect == PostgreSQL {
			out = append(out, l.describe(t)...)
		}
	}
	return out
}

func (l lang) create(t table) string {
	var lines []string
	for _, c := range t.columns {
		lines = append(lines, l.column(c))
	}
	rest := []string{"PRIMARY KEY (" + t.primary + ")"}
	for _, f := range t.foreign {
		rest = append(rest, l.references(f))
	}
	if l.Dialect == MySQL {
		for _, x := range t.indexes {
			rest = append(rest, l.key(x))
		}
	}
	verb, tail := "CREATE TABLE ", ""
	switch l.Dialect {
	case MySQL:
		verb, tail = "CREATE TABLE IF NOT EXISTS ", " ENGINE=InnoDB ROW_FORMAT=DYNAMIC COMMENT="+quoteText(t.comment)
	case SQLite:
		tail = " STRICT"
		if t.name == "context_pairs" {
			tail += ", WITHOUT ROWID"
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s (", verb, l.table(t.name))
	if l.Dialect == SQLite {
		fmt.Fprintf(&b, " -- %s", t.comment)
	}
	for i, line := range append(lines, rest...) {
		comma := ","
		if i == len(lines)+len(rest)-1 {
			comma = ""
		}
		b.WriteString("\n\t" + line + comma)
		if l.Dialect == SQLite && i < len(t.columns) {
			b.WriteString(" -- " + t.columns[i].comment)
			if t.columns[i].kind == "time" || t.columns[i].kind == "time?" {
				b.WriteString("; microseconds since 1970, UTC")
			}
		}
	}
	return b.String() + "\n)" + tail
}

func (l lang) column(c column) string {
	kind, nullable := strings.CutSuffix(c.kind, "?")
	def := c.name + " " + kinds[kind][l.Dialect-1]
	if !nullable {
		def += " NOT NULL"
	}
	if l.Dialect == MySQL {
		comment := c.comment
		if kind == "time" {
			comment += "; microseconds since 1970, UTC"
		}
		return def + " COMMENT " + quoteText(comment)
	}
	check := checks[kind]
	if check == "" || kind == "id" && l.Dialect == PostgreSQL {
		return def
	}
	return def + " CHECK (" + fmt.Sprintf(check, c.name) + ")"
}

func (l lang) references(f reference) string {
	s := fmt.Sprintf("FOREIGN KEY (%s) REFERENCES %s (%s)", f.column, l.table(f.table), f.column)
	if f.cascade {
		s += " ON DELETE CASCADE"
	}
	return s
}

// key is an index inside MySQL's CREATE TABLE, which has no partial ones: NULLs
// are in the index, and no obstacle in a unique one.
func (l lang) key(x index) string {
	if x.unique {
		return "UNIQUE KEY " + l.quote(x.name) + " (" + x.columns + ")"
	}
	return "KEY " + l.quote(x.name) + " (" + x.columns + ")"
}

func (l lang) createIndex(t table, x index) string {
	unique := ""
	if x.unique {
		unique = "UNIQUE "
	}
	s := fmt.Sprintf("CREATE %sINDEX %s ON %s (%s)", unique, l.quote(l.prefix+t.name+"_"+x.name), l.table(t.name), x.columns)
	if x.where != "" {
		s += " WHERE " + x.where
	}
	return s
}

// describe are PostgreSQL's comments, and how long values are kept: sealed
// bytes don't compress.
func (l lang) describe(t table) []string {
	out := []string{fmt.Sprintf("COMMENT ON TABLE %s IS %s", l.table(t.name), quoteText(t.comment))}
	for _, c := range t.columns {
		out = append(out, fmt.Sprintf("COMMENT ON COLUMN %s.%s IS %s", l.table(t.name), c.name, quoteText(c.comment)))
		if c.name == "envelope" {
			out = append(out, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN envelope SET STORAGE EXTERNAL", l.table(t.name)))
		}
	}
	return out
}

// quoteText quotes a comment of this package's: none has a backslash.
func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
