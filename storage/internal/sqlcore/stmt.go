package sqlcore

import (
	"context"
	"strconv"
	"strings"
)

// Statements are written once for all dialects, with two kinds of marks:
//
//	{objects}   the table objects, with prefix and schema
//	{2 bytes}   the parameter with index 2, of this kind (see casts)
//	{bytes}     in a builder: the next parameter
//
// Values are always parameters. What else goes into a statement is constant
// text of this package and the names of tables, made of the checked schema and
// prefix.

// lang is a dialect with the names of the tables.
type lang struct {
	Dialect
	names
}

// table is the full name of a table.
func (l lang) table(name string) string {
	t := l.quote(l.prefix + name)
	if l.schema != "" {
		t = l.quote(l.schema) + "." + t
	}
	return t
}

// param is the placeholder of the n-th parameter, from 1.
func (l lang) param(n int, kind string) string {
	if l.Dialect != PostgreSQL {
		return "?"
	}
	return "$" + strconv.Itoa(n) + "::" + casts[kind]
}

// marks calls text for what stands between marks and mark for the marks.
func marks(s string, text, mark func(string)) {
	for {
		before, rest, found := strings.Cut(s, "{")
		text(before)
		if !found {
			return
		}
		m, after, _ := strings.Cut(rest, "}")
		mark(m)
		s = after
	}
}

// stmt is a statement in one dialect. order is which arguments its placeholders
// stand for; nil: the arguments as they are.
type stmt struct {
	text  string
	order []int
}

// compile makes a statement with numbered parameters.
func (l lang) compile(s string) stmt {
	var b strings.Builder
	var order []int
	marks(s, func(t string) { b.WriteString(t) }, func(m string) {
		number, kind, isParam := strings.Cut(m, " ")
		if !isParam {
			b.WriteString(l.table(m))
			return
		}
		n, _ := strconv.Atoi(number)
		b.WriteString(l.param(n+1, kind))
		order = append(order, n)
	})
	if l.Dialect == PostgreSQL {
		order = nil
	}
	return stmt{b.String(), order}
}

func (st stmt) args(args []any) []any {
	if st.order == nil {
		return args
	}
	out := make([]any, len(st.order))
	for i, n := range st.order {
		out[i] = args[n]
	}
	return out
}

func (st stmt) exec(ctx context.Context, q Querier, args ...any) (int64, error) {
	return q.Exec(ctx, st.text, st.args(args)...)
}

func (st stmt) query(ctx context.Context, q Querier, each func(scan func(...any) error) error, args ...any) error {
	return q.Query(ctx, each, st.text, st.args(args)...)
}

// row reads the only row, and reports whether there is one.
func (st stmt) row(ctx context.Context, q Querier, dest []any, args ...any) (ok bool, err error) {
	err = st.query(ctx, q, func(scan func(...any) error) error {
		ok = true
		return scan(dest...)
	}, args...)
	return ok && err == nil, err
}

// insert runs an INSERT that ends in ifAbsent, and reports whether it inserted.
func (s *Store) insert(ctx context.Context, q Querier, st stmt, args ...any) (bool, error) {
	n, err := st.exec(ctx, q, args...)
	if err != nil && s.lang.Dialect == MySQL && s.class(err) == Unique {
		return false, nil
	}
	return n > 0, err
}

// builder puts together a statement whose parts depend on the call.
type builder struct {
	lang
	text strings.Builder
	bind []any
}

// add appends text; its parameters are args, in their order.
func (b *builder) add(s string, args ...any) {
	marks(s, func(t string) { b.text.WriteString(t) }, func(m string) {
		if _, isParam := casts[m]; !isParam {
			b.text.WriteString(b.table(m))
			return
		}
		b.bind = append(b.bind, args[0])
		args = args[1:]
		b.text.WriteString(b.param(len(b.bind), m))
	})
}

// in appends that column is one of the values. Lists are filled up to a power
// of two, so that there are few different statements.
func (b *builder) in(column string, values [][]byte) {
	if b.Dialect == PostgreSQL {
		b.add(column+" = ANY({blobs})", blobList(values))
		return
	}
	b.add(column + " IN (")
	n := 1
	for n < len(values) {
		n *= 2
	}
	for i := range n {
		if i > 0 {
			b.add(", ")
		}
		b.add("{bytes}", values[min(i, len(values)-1)])
	}
	b.add(")")
}

func (b *builder) query(ctx context.Context, q Querier, each func(scan func(...any) error) error) error {
	return q.Query(ctx, each, b.text.String(), b.bind...)
}
