package vaultsqltest

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
)

// tap logs what goes through a connector, as the loggers do that people put between
// database/sql and a driver: every statement with its arguments.
type tap struct {
	name string
	mu   sync.Mutex
	text strings.Builder // guarded by mu

	cut atomic.Int64 // how often the connections were cut
}

func (t *tap) log(query string, args []driver.NamedValue, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(&t.text, "%s: %s %+v %#v", t.name, query, args, args)
	for _, a := range args {
		fmt.Fprintf(&t.text, " %v %q %x %s", a.Value, fmt.Sprint(a.Value), a.Value, a.Value)
	}
	fmt.Fprintf(&t.text, " error %+v %#v\n", err, err)
}

func (t *tap) logs() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

func (t *tap) on(c driver.Connector) driver.Connector { return tapConnector{c, t} }

type tapConnector struct {
	driver.Connector
	t *tap
}

func (c tapConnector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &tapConn{Conn: inner, t: c.t, born: c.t.cut.Load()}, nil
}

// tapConn is a connection that is lost when it was cut after its birth.
type tapConn struct {
	driver.Conn
	t    *tap
	born int64
}

func (c *tapConn) lost() bool { return c.born != c.t.cut.Load() }

func (c *tapConn) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

func (c *tapConn) ResetSession(ctx context.Context) error {
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *tapConn) CheckNamedValue(nv *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(nv)
	}
	return driver.ErrSkip
}

func (c *tapConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.lost() {
		return nil, driver.ErrBadConn
	}
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c *tapConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (res driver.Result, err error) {
	defer func() { c.t.log(query, args, err) }()
	if c.lost() {
		return nil, driver.ErrBadConn
	}
	if e, ok := c.Conn.(driver.ExecerContext); ok {
		return e.ExecContext(ctx, query, args)
	}
	return nil, driver.ErrSkip
}

func (c *tapConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	defer func() { c.t.log(query, args, err) }()
	if c.lost() {
		return nil, driver.ErrBadConn
	}
	if q, ok := c.Conn.(driver.QueryerContext); ok {
		return q.QueryContext(ctx, query, args)
	}
	return nil, driver.ErrSkip
}

func (c *tapConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if c.lost() {
		return nil, driver.ErrBadConn
	}
	s, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &tapStmt{s, c, query}, nil
}

type tapStmt struct {
	driver.Stmt
	c     *tapConn
	query string
}

func (s *tapStmt) CheckNamedValue(nv *driver.NamedValue) error {
	if checker, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(nv)
	}
	return s.c.CheckNamedValue(nv)
}

func (s *tapStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (res driver.Result, err error) {
	defer func() { s.c.t.log(s.query, args, err) }()
	if s.c.lost() {
		return nil, driver.ErrBadConn
	}
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (s *tapStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	defer func() { s.c.t.log(s.query, args, err) }()
	if s.c.lost() {
		return nil, driver.ErrBadConn
	}
	return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
}
