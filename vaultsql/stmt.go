package vaultsql

import (
	"context"
	"database/sql/driver"
)

// stmt is a prepared statement of another driver; see conn.
type stmt struct {
	driver.Stmt
	c     *conn
	query string
	once  *sealedOnce // for its first run
}

var (
	_ driver.StmtExecContext   = (*stmt)(nil)
	_ driver.StmtQueryContext  = (*stmt)(nil)
	_ driver.NamedValueChecker = (*stmt)(nil)
	_ driver.ColumnConverter   = (*stmt)(nil) //nolint:staticcheck // drivers have it
)

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	sealed, err := s.seal(ctx, args)
	if err != nil {
		return nil, err
	}
	if e, ok := s.Stmt.(driver.StmtExecContext); ok {
		return e.ExecContext(ctx, sealed)
	}
	plain, err := ordinals(ctx, sealed)
	if err != nil {
		return nil, err
	}
	return s.Stmt.Exec(plain) //nolint:staticcheck // what database/sql does with such a driver
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	sealed, err := s.seal(ctx, args)
	if err != nil {
		return nil, err
	}
	if q, ok := s.Stmt.(driver.StmtQueryContext); ok {
		return q.QueryContext(ctx, sealed)
	}
	plain, err := ordinals(ctx, sealed)
	if err != nil {
		return nil, err
	}
	return s.Stmt.Query(plain) //nolint:staticcheck // what database/sql does with such a driver
}

func (s *stmt) seal(ctx context.Context, args []driver.NamedValue) ([]driver.NamedValue, error) {
	once := s.once
	s.once = nil
	return s.c.seal(ctx, s.query, args, s.Stmt, once)
}

// CheckNamedValue is that of the inner statement, or else of its connection, which is
// the order in which database/sql asks them.
func (s *stmt) CheckNamedValue(nv *driver.NamedValue) error {
	if takeField(nv) {
		return nil
	}
	if checker, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(nv)
	}
	return s.c.CheckNamedValue(nv)
}

func (s *stmt) ColumnConverter(i int) driver.ValueConverter {
	if cc, ok := s.Stmt.(driver.ColumnConverter); ok { //nolint:staticcheck // drivers have it
		return cc.ColumnConverter(i)
	}
	return driver.DefaultParameterConverter
}
