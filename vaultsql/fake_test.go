package vaultsql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// script is a driver that notes what it is asked. What it can do is said by which of
// the types below it gives.
type script struct {
	conn func(c *fakeConn) driver.Conn
	stmt func(s *fakeStmt) driver.Stmt

	mu     sync.Mutex // guards the rest
	calls  []string
	args   []any // of the statements that were run
	opened int
	closed bool
}

func (s *script) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

func (s *script) ran(how, query string, args []driver.NamedValue) {
	shown := []string{}
	for _, a := range args {
		shown = append(shown, fmt.Sprintf("%s/%d:%T", a.Name, a.Ordinal, a.Value))
		s.mu.Lock()
		s.args = append(s.args, a.Value)
		s.mu.Unlock()
	}
	s.note("%s %q %v", how, query, shown)
}

func (s *script) Connect(context.Context) (driver.Conn, error) {
	s.mu.Lock()
	s.opened++
	s.mu.Unlock()
	c := &fakeConn{s}
	if s.conn == nil {
		return c, nil
	}
	return s.conn(c), nil
}

func (s *script) Open(string) (driver.Conn, error) { return s.Connect(context.Background()) }

func (s *script) Driver() driver.Driver { return s }

func (s *script) Close() error {
	s.closed = true
	return nil
}

// fakeConn has no optional interface.
type fakeConn struct{ s *script }

func (c *fakeConn) Close() error { return nil }

func (c *fakeConn) Begin() (driver.Tx, error) {
	c.s.note("Begin")
	return fakeTx{c.s}, nil
}

func (c *fakeConn) Prepare(query string) (driver.Stmt, error) {
	c.s.note("Prepare %q", query)
	s := &fakeStmt{c.s, query}
	if c.s.stmt == nil {
		return s, nil
	}
	return c.s.stmt(s), nil
}

type fakeTx struct{ s *script }

func (t fakeTx) Commit() error   { t.s.note("Commit"); return nil }
func (t fakeTx) Rollback() error { t.s.note("Rollback"); return nil }

// fakeStmt has no optional interface.
type fakeStmt struct {
	s     *script
	query string
}

func (s *fakeStmt) Close() error  { s.s.note("Close"); return nil }
func (s *fakeStmt) NumInput() int { return -1 }

func numbered(args []driver.Value) (out []driver.NamedValue) {
	for i, a := range args {
		out = append(out, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return out
}

func (s *fakeStmt) Exec(args []driver.Value) (driver.Result, error) {
	s.s.ran("Stmt.Exec", s.query, numbered(args))
	return driver.RowsAffected(1), nil
}

func (s *fakeStmt) Query(args []driver.Value) (driver.Rows, error) {
	s.s.ran("Stmt.Query", s.query, numbered(args))
	return &fakeRows{}, nil
}

// fakeRows are rows with an optional interface, which must be seen.
type fakeRows struct{ read bool }

func (r *fakeRows) Columns() []string                       { return []string{"a"} }
func (r *fakeRows) Close() error                            { return nil }
func (r *fakeRows) ColumnTypeDatabaseTypeName(i int) string { return fmt.Sprint("FAKE", i) }
func (r *fakeRows) HasNextResultSet() bool                  { return !r.read }
func (r *fakeRows) NextResultSet() error                    { r.read = true; return nil }
func (r *fakeRows) Next([]driver.Value) error               { return io.EOF }

// legacyConn runs statements without a ctx.
type legacyConn struct{ *fakeConn }

func (c legacyConn) Exec(query string, args []driver.Value) (driver.Result, error) {
	c.s.ran("Exec", query, numbered(args))
	return driver.RowsAffected(1), nil
}

func (c legacyConn) Query(query string, args []driver.Value) (driver.Rows, error) {
	c.s.ran("Query", query, numbered(args))
	return &fakeRows{}, nil
}

// fullConn has every optional interface.
type fullConn struct{ *fakeConn }

func (c fullConn) Ping(context.Context) error         { c.s.note("Ping"); return nil }
func (c fullConn) ResetSession(context.Context) error { c.s.note("ResetSession"); return nil }
func (c fullConn) IsValid() bool                      { c.s.note("IsValid"); return true }

func (c fullConn) BeginTx(_ context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.s.note("BeginTx %v", o)
	return fakeTx{c.s}, nil
}

func (c fullConn) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	c.s.note("PrepareContext")
	return c.Prepare(query)
}

func (c fullConn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.s.ran("ExecContext", query, args)
	return driver.RowsAffected(1), nil
}

func (c fullConn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.s.ran("QueryContext", query, args)
	return &fakeRows{}, nil
}

// option is an argument that fullConn takes for itself, and odd one that it knows.
type (
	option struct{}
	odd    struct{ n int }
)

func (c fullConn) CheckNamedValue(nv *driver.NamedValue) error {
	switch v := nv.Value.(type) {
	case option:
		return driver.ErrRemoveArgument
	case odd:
		nv.Value = int64(v.n)
		return nil
	case []byte:
		c.s.note("CheckNamedValue of bytes")
	}
	return driver.ErrSkip
}

// skippingConn runs no statement that isn't prepared.
type skippingConn struct{ *fakeConn }

func (c skippingConn) ExecContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Result, error) {
	c.s.note("ExecContext skips %q", query)
	return nil, driver.ErrSkip
}

func (c skippingConn) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	c.s.note("QueryContext skips %q", query)
	return nil, driver.ErrSkip
}

// fullStmt has every optional interface.
type fullStmt struct{ *fakeStmt }

func (s fullStmt) ExecContext(_ context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.s.ran("Stmt.ExecContext", s.query, args)
	return driver.RowsAffected(1), nil
}

func (s fullStmt) QueryContext(_ context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.s.ran("Stmt.QueryContext", s.query, args)
	return &fakeRows{}, nil
}

func (s fullStmt) CheckNamedValue(nv *driver.NamedValue) error {
	s.s.note("Stmt.CheckNamedValue")
	if v, ok := nv.Value.(odd); ok {
		nv.Value = int64(v.n)
		return nil
	}
	return driver.ErrSkip
}

// convertingStmt has a converter for each column.
type convertingStmt struct{ *fakeStmt }

func (s convertingStmt) ColumnConverter(i int) driver.ValueConverter { return converter{s.s, i} }

type converter struct {
	s *script
	i int
}

var errNotForColumn = errors.New("fake: not for this column")

func (c converter) ConvertValue(v any) (driver.Value, error) {
	c.s.note("ConvertValue %d %T", c.i, v)
	switch v := v.(type) {
	case odd:
		return int64(v.n), nil
	case []byte:
		return string(v), nil
	case bool:
		return nil, errNotForColumn
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}

// scripts are drivers that can do different things.
func scripts() map[string]*script {
	as := func(f func(*fakeConn) driver.Conn, g func(*fakeStmt) driver.Stmt) *script {
		return &script{conn: f, stmt: g}
	}
	full := func(c *fakeConn) driver.Conn { return fullConn{c} }
	skips := func(c *fakeConn) driver.Conn { return skippingConn{c} }
	fullS := func(s *fakeStmt) driver.Stmt { return fullStmt{s} }
	converts := func(s *fakeStmt) driver.Stmt { return convertingStmt{s} }
	return map[string]*script{
		"nothing":                  as(nil, nil),
		"legacy":                   as(func(c *fakeConn) driver.Conn { return legacyConn{c} }, nil),
		"everything":               as(full, fullS),
		"everything but in stmts":  as(full, nil),
		"everything but in conns":  as(nil, fullS),
		"skips":                    as(skips, nil),
		"skips, full statements":   as(skips, fullS),
		"converts":                 as(nil, converts),
		"skips and converts":       as(skips, converts),
		"checks, and converts too": as(full, converts),
	}
}

func (s *script) trace() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}
