package vault

import (
	"fmt"
	"strconv"
	"strings"
)

// tagName is the struct tag that says how a column is encrypted:
//
//	tag    = option { ";" option }
//	option = "index:" column "," normaliser { "," attr }
//	       | "bind:column"
//	       | "column:" name
//	       | "table:" name
//	       | "context:" key "=" Field { "," key "=" Field }
//	attr   = "unique" | "scope:global" | "bits:" number | "generation:" number
//	       | "and:" Field "=" normaliser
//
// There is no white space, and nothing that isn't understood is skipped. Field is the
// name of a Go field of the model. index, bind and column stand on a field that is an
// Encrypted; table and context on any, also on a blank one (_ struct{}), once in a
// model. docs/FIELDS.md, "Tags".
const tagName = "vault"

// fieldTag is a tag, read but not yet held against its model.
type fieldTag struct {
	indexes    []tagIndex
	bindColumn bool
	column     string
	table      string
	context    []tagContext
}

type tagIndex struct {
	column     string // physical
	normaliser string
	unique     bool
	global     bool
	bits       int
	generation uint32
	and        []tagAnd
}

type tagAnd struct{ field, normaliser string }

type tagContext struct{ key, field string }

// columnOnly reports whether the tag says something of the column it stands on.
func (t fieldTag) columnOnly() bool {
	return len(t.indexes) > 0 || t.bindColumn || t.column != ""
}

// parseFieldTag reads a tag. Its errors say what to write instead.
func parseFieldTag(tag string) (fieldTag, error) {
	var t fieldTag
	if tag == "" {
		return t, tagError("it is empty; leave it out")
	}
	for option := range strings.SplitSeq(tag, ";") {
		name, value, _ := strings.Cut(option, ":")
		if strings.ContainsAny(option, " \t\r\n") {
			return t, tagError("%.60q has white space; leave it out", option)
		}
		if value == "" {
			return t, tagError("%.60q is not an option; want index:COLUMN,NORMALISER or bind:column, column:NAME, table:NAME, context:KEY=Field, separated by semicolons", option)
		}
		if err := t.set(name, value); err != nil {
			return t, err
		}
	}
	return t, nil
}

func tagError(format string, args ...any) error {
	return fmt.Errorf("the vault tag: "+format, args...)
}

func (t *fieldTag) set(name, value string) error {
	once := func(field *string) error {
		if *field != "" {
			return tagError("%s stands in it twice", name)
		}
		if reason := badLocationName(value); reason != "" {
			return tagError("%s: %s", name, reason)
		}
		*field = value
		return nil
	}
	switch name {
	case "index":
		return t.setIndex(value)
	case "column":
		return once(&t.column)
	case "table":
		return once(&t.table)
	case "context":
		return t.setContext(value)
	case "bind":
		if value != "column" || t.bindColumn {
			return tagError("bind:%.40s; want bind:column, once, or nothing to bind to the row", value)
		}
		t.bindColumn = true
		return nil
	}
	return tagError("it has no option %.40q; want index, bind, column, table or context", name)
}

func (t *fieldTag) setContext(value string) error {
	for pair := range strings.SplitSeq(value, ",") {
		key, field, ok := strings.Cut(pair, "=")
		if !ok || key == "" || !isGoName(field) {
			return tagError("context:%.60q; want context:KEY=Field, such as context:organization_id=OrgID", pair)
		}
		if err := (KeyContext{key: "x"}).Validate(); err != nil {
			return tagError("context: %w", err)
		}
		for _, c := range t.context {
			if c.key == key {
				return tagError("context: the key %q stands in it twice", key)
			}
		}
		t.context = append(t.context, tagContext{key, field})
	}
	return nil
}

func (t *fieldTag) setIndex(value string) error {
	parts := strings.Split(value, ",")
	if len(parts) < 2 || parts[0] == "" {
		return tagError("index:%.60s; want index:COLUMN,NORMALISER, such as index:email_bidx,email@1", value)
	}
	ix := tagIndex{column: parts[0], normaliser: parts[1]}
	if reason := badLocationName(ix.column); reason != "" {
		return tagError("index: %s", reason)
	}
	if err := knownNormaliser(ix.normaliser); err != nil {
		return err
	}
	for _, attr := range parts[2:] {
		if err := ix.set(attr); err != nil {
			return err
		}
	}
	if ix.unique && ix.bits != 0 {
		return tagError("index %s: it has few bits, so that many values share one: it can't be unique", ix.column)
	}
	t.indexes = append(t.indexes, ix)
	return nil
}

func (ix *tagIndex) set(attr string) error {
	name, value, _ := strings.Cut(attr, ":")
	bad := func() error {
		return tagError("index %s: %.60q; want unique, scope:global, bits:%d to bits:%d, generation:2 or more, or and:Field=NORMALISER, each once", ix.column, attr, minIndexBits, maxIndexBits)
	}
	switch {
	case attr == "unique" && !ix.unique:
		ix.unique = true
	case attr == "scope:global" && !ix.global:
		ix.global = true
	case name == "bits" && ix.bits == 0:
		n, err := decimal(value)
		if err != nil || n < minIndexBits || n > maxIndexBits {
			return bad()
		}
		ix.bits = int(n)
	case name == "generation" && ix.generation == 0:
		n, err := decimal(value)
		if err != nil || n < 2 {
			return bad()
		}
		ix.generation = n
	case name == "and":
		field, normaliser, ok := strings.Cut(value, "=")
		if !ok || !isGoName(field) {
			return bad()
		}
		if err := knownNormaliser(normaliser); err != nil {
			return err
		}
		ix.and = append(ix.and, tagAnd{field, normaliser})
	default:
		return bad()
	}
	return nil
}

func knownNormaliser(name string) error {
	if _, ok := normalisers[name]; !ok {
		return tagError("the normaliser %.40q is none of %s", name, normaliserNames())
	}
	return nil
}

// decimal reads a number that is written in one way only.
func decimal(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && strconv.FormatUint(n, 10) != s {
		err = strconv.ErrSyntax
	}
	return uint32(n), err
}

// isGoName reports whether s can be the name of an exported field, or of one in an
// embedded struct that isn't promoted: names with dots between them.
func isGoName(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || part[0] < 'A' || part[0] > 'Z' {
			return false
		}
		for _, r := range part {
			if r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
				return false
			}
		}
	}
	return true
}
