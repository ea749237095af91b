package sqlcore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/embedvault/vault/storage"
)

// The errors that the SQL drivers have beside those of package storage.
var (
	// ErrKeyInTx is matched when a key can't be stored, or fetched, while the
	// application's transaction is open.
	ErrKeyInTx = errors.New("a key can't be used while the transaction holds the database: call Prepare for its context before BEGIN")

	// ErrRetry is matched when the database gave a transaction up to let another
	// one pass: a serialization failure, a deadlock, a lock that wasn't to be had.
	ErrRetry = errors.New("transaction to be retried")

	// ErrNotMigrated is matched when the tables aren't there.
	ErrNotMigrated = errors.New("the tables are not there: call Migrate")

	// ErrNewerSchema is matched when the tables were made by a later version.
	ErrNewerSchema = errors.New("the tables were made by a later version of this package")
)

// Class is what a driver's error means.
type Class uint8

// The classes.
const (
	Unknown     Class = 0 // not known here; the driver's error is only wrapped
	Unique      Class = 1 // a unique index forbids it
	Retry       Class = 2 // serialization failure, deadlock, lock not available: the transaction is to be run again
	Unavailable Class = 3 // the database can't be reached, or the connection broke
	NoTable     Class = 4 // a table isn't there
	TooLarge    Class = 5 // a value is larger than the database takes
	Closed      Class = 6 // the pool was closed
)

// class asks the user's function first, if there is one.
func (s *Store) class(err error) Class {
	if s.classify != nil {
		if c := s.classify(err); c != Unknown {
			return c
		}
	}
	return Classify(s.lang.Dialect, err)
}

// Classify says what an error of a driver for this dialect means. It knows
// pgx and lib/pq by SQLState(), modernc.org/sqlite by Code(), go-sql-driver/mysql
// and mattn/go-sqlite3, whose errors have fields only, by their text.
func Classify(d Dialect, err error) Class {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return classOfState(state.SQLState())
	}
	if d == MySQL {
		switch n := mysqlNumber(err); {
		case n == 1105 && strings.HasSuffix(err.Error(), "longer than 'max_allowed_packet' bytes"):
			return TooLarge // which has no number of its own
		case n != 0:
			return classOfMySQL(n)
		}
	}
	if d == SQLite {
		if c := classOfSQLite(err); c != Unknown {
			return c
		}
	}
	return classOfConnection(err)
}

func classOfState(state string) Class {
	switch state {
	case "23505":
		return Unique
	case "40001", "40P01", "55P03":
		return Retry
	case "42P01", "3F000": // no such table, no such schema
		return NoTable
	case "54000", "53200": // a program limit, out of memory
		return TooLarge
	case "57P01", "57P02", "57P03", "57P04", "53300", "25006": // going down, crashed, starting, database dropped, too many, read-only standby
		return Unavailable
	case "57P05", "25P03", "25P04": // the session was idle for too long, its transaction was, or took too long: the server ends it
		return Unavailable
	case "28000", "28P01", "3D000": // no connection: role, password, database
		return Unavailable
	}
	if strings.HasPrefix(state, "08") {
		return Unavailable
	}
	return Unknown
}

// mysqlNumber reads the number off the text of go-sql-driver's MySQLError,
// "Error 1213 (40001): …". What follows the number isn't looked at: it may hold
// values.
func mysqlNumber(err error) int {
	for ; err != nil; err = errors.Unwrap(err) {
		if rest, ok := strings.CutPrefix(err.Error(), "Error "); ok {
			digits, _, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(strings.TrimSuffix(digits, ":"))
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

func classOfMySQL(n int) Class {
	switch n {
	case 1062, 1586:
		return Unique
	case 1205, 1213, 1020, 3572: // lock wait timeout, deadlock, record has changed, NOWAIT
		return Retry
	case 1146:
		return NoTable
	case 1153, 1118, 1301, 139:
		return TooLarge
	case 1044, 1045, 1049, 1129, 1130, 1698: // no connection: user, password, database, host
		return Unavailable
	case 1040, 1047, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1290, 1836, 1927:
		return Unavailable
	}
	return Unknown
}

func classOfSQLite(err error) Class {
	var coded interface{ Code() int }
	if errors.As(err, &coded) {
		switch c := coded.Code(); {
		case c == 1555 || c == 2067: // PRIMARYKEY, UNIQUE
			return Unique
		case c&0xff == 5 || c&0xff == 6: // BUSY, LOCKED
			return Retry
		case c&0xff == 18: // TOOBIG
			return TooLarge
		case c&0xff == 14 || c&0xff == 10 || c&0xff == 8: // CANTOPEN, IOERR, READONLY
			return Unavailable
		}
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "no such table"):
		return NoTable
	case strings.HasPrefix(text, "UNIQUE constraint failed"):
		return Unique
	case strings.HasPrefix(text, "database is locked"), strings.HasPrefix(text, "database table is locked"):
		return Retry
	case strings.HasPrefix(text, "string or blob too big"):
		return TooLarge
	case strings.HasPrefix(text, "unable to open database"), strings.HasPrefix(text, "disk I/O error"),
		strings.HasPrefix(text, "attempt to write a readonly database"):
		return Unavailable
	}
	return Unknown
}

// classOfConnection is for what went wrong on the way. It is asked only while
// the caller's ctx goes on: a ctx that has ended is then one of the driver's own,
// such as for connecting.
func classOfConnection(err error) Class {
	var netError net.Error
	var errno syscall.Errno
	text := err.Error()
	switch {
	case strings.HasSuffix(text, "sql: database is closed"), strings.HasSuffix(text, "closed pool"):
		return Closed
	case errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return Unavailable
	case errors.As(err, &netError), errors.As(err, &errno), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	case strings.Contains(text, "failed to connect to `"): // pgx: refused, for whatever reason
		return Unavailable
	case isTLS(text):
		return Unavailable
	case strings.HasSuffix(text, "invalid connection"), strings.HasSuffix(text, "conn closed"), strings.HasSuffix(text, "bad connection"),
		strings.HasSuffix(text, "conn busy"), strings.HasSuffix(text, "busy buffer"):
		return Unavailable
	case strings.HasPrefix(text, "packet for query is too large"):
		return TooLarge
	}
	return Unknown
}

// isTLS knows what keeps a TLS connection from being made: a server without TLS,
// in the words of lib/pq and go-sql-driver/mysql, or one that isn't trusted.
func isTLS(text string) bool {
	for _, s := range []string{"SSL is not enabled on the server", "server does not support TLS", "tls: ", "x509: "} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// ours are the errors that have their meaning already.
var ours = []error{
	storage.ErrNotFound, storage.ErrExists, storage.ErrVersionConflict, storage.ErrCorrupt,
	storage.ErrTooLarge, storage.ErrInvalidCursor, storage.ErrUnavailable, storage.ErrClosed,
	ErrKeyInTx, ErrRetry, ErrNotMigrated, ErrNewerSchema, errRaced,
}

func isOurs(err error) bool {
	for _, e := range ours {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// untold is the error of a unique index, whose text has the row's values in
// MySQL: a name, or a context's namespace.
type untold struct{ err error }

func (untold) Error() string   { return "a unique index has it" }
func (e untold) Unwrap() error { return e.err }

// fail is the error that a method returns for err.
func (s *Store) fail(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	var meaning error
	if !isOurs(err) {
		meaning = s.meaning(ctx, err)
		if meaning == storage.ErrExists {
			err = untold{err}
		}
	}
	if meaning == nil || errors.Is(err, meaning) {
		return fmt.Errorf("%s: %s: %w", s.name, op, err)
	}
	return fmt.Errorf("%s: %s: %w: %w", s.name, op, meaning, err)
}

// ended is ctx's error, also where a driver keeps its deadline by a timer that
// was faster than ctx's own.
func ended(ctx context.Context) error {
	if at, ok := ctx.Deadline(); ok && !time.Now().Before(at) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

func (s *Store) meaning(ctx context.Context, err error) error {
	if err := ended(ctx); err != nil {
		return err // not every driver says so: some only that they were interrupted
	}
	switch s.class(err) {
	case Unique:
		return storage.ErrExists
	case Retry:
		return ErrRetry
	case Unavailable:
		return storage.ErrUnavailable
	case NoTable:
		return ErrNotMigrated
	case TooLarge:
		return storage.ErrTooLarge
	case Closed:
		return storage.ErrClosed
	}
	return nil
}
