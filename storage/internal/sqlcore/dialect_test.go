package sqlcore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/embedvault/vault/storage"
)

func TestCompile(t *testing.T) {
	const text = "SELECT {1 bytes}, {0 int} FROM {objects} WHERE a = {1 bytes}"
	for _, c := range []struct {
		l    lang
		want string
		args []any
	}{
		{lang{PostgreSQL, names{"s", "p_"}}, `SELECT $2::bytea, $1::bigint FROM "s"."p_objects" WHERE a = $2::bytea`, []any{0, 1}},
		{lang{MySQL, names{"", "p_"}}, "SELECT ?, ? FROM `p_objects` WHERE a = ?", []any{1, 0, 1}},
		{lang{SQLite, names{"", "p_"}}, `SELECT ?, ? FROM "p_objects" WHERE a = ?`, []any{1, 0, 1}},
	} {
		st := c.l.compile(text)
		if got := st.args([]any{0, 1}); st.text != c.want || !slices.Equal(got, c.args) {
			t.Errorf("%s: got %s, %v", c.l.Dialect, st.text, got)
		}
	}
}

func TestPrefixEnd(t *testing.T) {
	for prefix, want := range map[string]string{"a": "b", "a\xff": "b", "": "", "\xff\xff": "", "az": "a{"} {
		if got := string(prefixEnd([]byte(prefix))); got != want {
			t.Errorf("%q: got %q, want %q", prefix, got, want)
		}
	}
}

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
		{PostgreSQL, stateError("42P01"), NoTable},
		{PostgreSQL, stateError("22003"), Unknown},
		{PostgreSQL, text("Error 1062 (23000): it isn't MySQL"), Unknown},
		{MySQL, text("Error 1213 (40001): Deadlock found"), Retry},
		{MySQL, text("Error 1062: Duplicate entry"), Unique},
		{MySQL, fmt.Errorf("in it: %w", text("Error 1205 (HY000): Lock wait")), Retry},
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
