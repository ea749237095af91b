package sqlcore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/embedvault/vault/storage"
)

type stateError string

func (e stateError) Error() string    { return "state " + string(e) }
func (e stateError) SQLState() string { return string(e) }

type codeError int

func (e codeError) Error() string { return "code" }
func (e codeError) Code() int     { return int(e) }

func TestClassify(t *testing.T) {
	text := errors.New
	for _, c := range []struct {
		d    Dialect
		err  error
		want Class
	}{
		{PostgreSQL, stateError("23505"), Unique},
		{PostgreSQL, fmt.Errorf("in it: %w", stateError("40P01")), Retry},
		{PostgreSQL, stateError("08006"), Unavailable},
		{PostgreSQL, stateError("57P01"), Unavailable},
		{PostgreSQL, stateError("57P05"), Unavailable},
		{PostgreSQL, stateError("25P03"), Unavailable},
		{PostgreSQL, stateError("28000"), Unavailable},
		{PostgreSQL, stateError("28P01"), Unavailable},
		{PostgreSQL, stateError("3D000"), Unavailable},
		{PostgreSQL, stateError("25001"), Unknown},
		{PostgreSQL, text("failed to connect to `user=a database=b`: tls error: refused"), Unavailable},
		{PostgreSQL, text("pq: SSL is not enabled on the server"), Unavailable},
		{PostgreSQL, text("tls: failed to verify certificate: x509: certificate signed by unknown authority"), Unavailable},
		{MySQL, text("TLS requested but server does not support TLS"), Unavailable},
		{SQLite, codeError(8 | 1<<8), Unavailable},
		{SQLite, text("attempt to write a readonly database"), Unavailable},
		{PostgreSQL, stateError("42P01"), NoTable},
		{PostgreSQL, stateError("22003"), Unknown},
		{PostgreSQL, text("Error 1062 (23000): it isn't MySQL"), Unknown},
		{MySQL, text("Error 1213 (40001): Deadlock found"), Retry},
		{MySQL, text("Error 1062: Duplicate entry"), Unique},
		{MySQL, fmt.Errorf("in it: %w", text("Error 1205 (HY000): Lock wait")), Retry},
		{MySQL, text("Error 1045 (28000): Access denied"), Unavailable},
		{MySQL, text("Error 1049 (42000): Unknown database"), Unavailable},
		{MySQL, text("Error 1146 (42S02): Table doesn't exist"), NoTable},
		{MySQL, text("Error "), Unknown},
		{MySQL, text("Error 99999999999999999999 (x): y"), Unknown},
		{MySQL, text("Error 1366 (HY000): Incorrect value: 'Error 1213 (40001): '"), Unknown},
		{MySQL, text("invalid connection"), Unavailable},
		{SQLite, codeError(2067), Unique},
		{SQLite, codeError(5 | 2<<8), Retry},
		{SQLite, text("database is locked"), Retry},
		{SQLite, text("no such table: vault_keys"), NoTable},
		{SQLite, text("sql: database is closed"), Closed},
		{PostgreSQL, &net.OpError{Op: "dial", Err: errors.New("refused")}, Unavailable},
		{PostgreSQL, io.ErrUnexpectedEOF, Unavailable},
		{MySQL, driver.ErrBadConn, Unavailable},
		{MySQL, fmt.Errorf("dial: %w", context.DeadlineExceeded), Unavailable},
		{PostgreSQL, fmt.Errorf("dial: %w", context.Canceled), Unavailable},
		{MySQL, fmt.Errorf("read: %w", os.ErrDeadlineExceeded), Unavailable},
	} {
		if got := Classify(c.d, c.err); got != c.want {
			t.Errorf("%s, %v: got %d, want %d", c.d, c.err, got, c.want)
		}
	}
}

// TestFail wants a driver's error to be there, with its meaning before it.
func TestFail(t *testing.T) {
	s := &Store{name: "x", lang: lang{Dialect: PostgreSQL}}
	cause := stateError("57P01")
	err := s.fail(context.Background(), "get", cause)
	if !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, cause) || errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.fail(ended, "get", stateError("57014")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := s.fail(ended, "get", storage.ErrNotFound); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// TestDuplicateIsUntold has MySQL's error of a unique index, whose text has the
// row's values.
func TestDuplicateIsUntold(t *testing.T) {
	s := &Store{name: "x", lang: lang{Dialect: MySQL}}
	cause := errors.New("Error 1062 (23000): Duplicate entry 'app-xyzzy' for key 'unique_name'")
	err := s.fail(context.Background(), "put", cause)
	if !errors.Is(err, storage.ErrExists) || !errors.Is(err, cause) || strings.Contains(err.Error(), "xyzzy") {
		t.Errorf("got %v", err)
	}
}

// due is a ctx whose deadline has come and whose timer hasn't noticed yet.
type due struct{ context.Context }

func (due) Deadline() (time.Time, bool) { return time.Now(), true }

// TestWhoseTimeout tells time-outs of a driver's own from the end of the
// caller's ctx: both may match the same error, and only the former mean that
// the database can't be reached.
func TestWhoseTimeout(t *testing.T) {
	s := &Store{name: "x", lang: lang{Dialect: MySQL}}
	alive, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	late, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	for _, timeout := range []error{context.DeadlineExceeded, context.Canceled, os.ErrDeadlineExceeded} {
		cause := fmt.Errorf("connect: %w", timeout)
		if err := s.fail(alive, "get", cause); !errors.Is(err, storage.ErrUnavailable) || !errors.Is(err, cause) {
			t.Errorf("the driver's own: got %v", err)
		}
		for _, ctx := range []context.Context{late, due{context.Background()}} {
			if err := s.fail(ctx, "get", cause); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("the caller's: got %v", err)
			}
		}
	}
}
