package sqlcore

import "context"

// Querier runs statements: on a pool, on one connection, or in a transaction.
//
// Arguments are only nil, bool, int64, string, []byte (nil is never given; an
// empty one is an empty string of bytes, not NULL) and time.Time (PostgreSQL
// only, always UTC). Destinations of scan are *bool, *int64, *[]byte (NULL
// gives nil) and types with a Scan(any) error method like [database/sql.Scanner].
// Both calls end when ctx does.
//
// Errors are the driver's own, wrapped or not: [Store] finds out what they mean.
type Querier interface {
	// Exec runs a statement and says how many rows it changed.
	Exec(ctx context.Context, query string, args ...any) (rows int64, err error)

	// Query runs a statement and calls each for every row, with a function that
	// reads it. Whatever happens, the rows are closed when it returns. An error
	// of each ends it and is returned as it is. each runs no other statement.
	Query(ctx context.Context, each func(scan func(dest ...any) error) error, query string, args ...any) error
}

// Tx is a transaction that this package began. One of the two methods is called
// exactly once, and nothing after it.
type Tx interface {
	Querier

	// Commit commits. An error means that it isn't known whether it did, save
	// for a serialization failure.
	Commit(ctx context.Context) error

	// Rollback rolls back, also when ctx has ended and after errors; if that
	// can't be done the connection is given up rather than returned to a pool.
	Rollback(ctx context.Context)
}

// Session runs statements outside transactions, each committed by itself, and
// begins transactions. One that doesn't begin with "SELECT " may write: it is
// sent once, and if its answer is lost that is an error.
type Session interface {
	Querier

	// Begin starts a transaction: at READ COMMITTED, or in SQLite as a writer
	// (BEGIN IMMEDIATE).
	Begin(ctx context.Context) (Tx, error)
}

// DB is what a driver for this package is: a pool of connections to one
// database, and the transactions of the application on it. All methods are
// safe for concurrent use.
//
//   - storage/sqlstore implements it on *sql.DB and *sql.Tx;
//   - storage/pgxstore on *pgxpool.Pool and pgx.Tx, always with [PostgreSQL].
type DB interface {
	Session

	// Ping makes a round trip.
	Ping(ctx context.Context) error

	// Joined returns the application's transaction that ctx carries for this
	// store, or nil. The Querier neither commits nor rolls back.
	Joined(ctx context.Context) Querier

	// Acquire takes one connection out of the pool, until release is called. It
	// waits for one no longer than ctx lasts.
	Acquire(ctx context.Context) (s Session, release func(), err error)

	// MaxConns is how many connections the pool may have; 0: any number.
	MaxConns() int
}
