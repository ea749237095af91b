package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/internal/sqlcore"
)

// Dialect is the SQL that a database speaks. The zero value is invalid.
type Dialect = sqlcore.Dialect

// The dialects.
const (
	PostgreSQL = sqlcore.PostgreSQL
	MySQL      = sqlcore.MySQL // and MariaDB
	SQLite     = sqlcore.SQLite
)

// Options are what may be chosen. The zero value is right for most.
type Options struct {
	// TablePrefix is what the names of tables start with: [a-z_][a-z0-9_]{0,30};
	// "" is vault_. Stores with different prefixes share nothing.
	TablePrefix string

	// Schema is PostgreSQL's schema for the tables, of the same alphabet; "" is
	// the first one in the connection's search_path. Migrate makes it if it isn't
	// there.
	Schema string

	// Classify says what a driver's error means, or [Unknown]: then the store
	// finds out by itself. It is needed for drivers that are not on the list in
	// the package's comment, if they don't have the methods that these have.
	Classify func(error) Class
}

// Class is what a driver's error means: see [Options.Classify].
type Class = sqlcore.Class

// The classes.
const (
	Unknown     = sqlcore.Unknown     // not known: the driver's error is only wrapped
	Unique      = sqlcore.Unique      // a unique index forbids it
	Retry       = sqlcore.Retry       // serialization failure, deadlock, lock not to be had: run the transaction again
	Unavailable = sqlcore.Unavailable // the database can't be reached, or the connection broke
	NoTable     = sqlcore.NoTable     // a table isn't there
	TooLarge    = sqlcore.TooLarge    // a value is larger than the database takes
	Closed      = sqlcore.Closed      // the pool was closed
)

// The errors that this store has beside those of package storage.
var (
	// ErrKeyInTx is matched when a key, or a record of the vault's own, can't be
	// stored or fetched while the application's transaction (see WithTx) is open:
	// in SQLite, where that holds the only write lock; where no second connection
	// comes free for 5 seconds; and where the transaction holds a lock for as long
	// that the key needs, since it has put an object of the same new key context
	// before (a vault never does it in that order). Nothing was stored then. Call
	// v.Prepare for the key context before BEGIN.
	ErrKeyInTx = sqlcore.ErrKeyInTx

	// ErrRetry is matched when the database gave a transaction up to let another
	// one pass: a serialization failure, a deadlock, a lock that wasn't to be
	// had. Outside WithTx the store has tried for 10 seconds by then. Inside, roll
	// back and run the whole transaction again: it can't go on, and in MySQL
	// parts of it may be undone already.
	ErrRetry = sqlcore.ErrRetry

	// ErrNotMigrated is matched when the tables aren't there: call Migrate.
	ErrNotMigrated = sqlcore.ErrNotMigrated

	// ErrNewerSchema is matched by Migrate when a later version of this package
	// made the tables. Nothing was changed.
	ErrNewerSchema = sqlcore.ErrNewerSchema
)

type core = sqlcore.Store

// Store is a store in an SQL database. It is safe for concurrent use. It has
// the methods of [storage.Store], and beside them
//
//	Migrate(ctx context.Context) error // makes the tables
//	Schema() string                    // the statements that do
//
// Close the *sql.DB when it isn't needed any more; the store itself holds
// nothing.
type Store struct {
	*core
	db *db
}

var _ storage.Store = (*Store)(nil)

// New returns a store on the application's own pool. It does no I/O: a database
// that can't be reached, or has no tables yet, is met by the first call. It
// fails if the dialect or an option is not one.
func New(pool *sql.DB, d Dialect, opts ...Options) (*Store, error) {
	if pool == nil || len(opts) > 1 {
		return nil, errors.New("sqlstore: it needs a pool, and at most one Options")
	}
	var o Options
	if len(opts) == 1 {
		o = opts[0]
	}
	on := &db{pool: pool, dialect: d}
	c, err := sqlcore.New(on, sqlcore.Config{Driver: "sqlstore", Dialect: d, Prefix: o.TablePrefix, Schema: o.Schema, Classify: o.Classify})
	if err != nil {
		return nil, err
	}
	return &Store{c, on}, nil
}

// Migrate makes the tables, or brings them up to date. Call it before the store
// is used, at each start of the program: any number of processes may at once.
// It needs the right to create tables, unless all is done already. In MySQL it
// refuses connections with autocommit off or at READ UNCOMMITTED. See
// [ErrNewerSchema].
func (s *Store) Migrate(ctx context.Context) error { return s.core.Migrate(ctx) }

// Schema returns the statements that make the tables, with comments on the
// columns, for teams with a migration tool of their own. Run as a whole they do
// what Migrate does in an empty database.
func (s *Store) Schema() string { return s.core.Schema() }

// WithTx returns a ctx with which the store's object operations are part of the
// application's transaction: they see what it wrote, they are committed with it
// and rolled back with it. Operations on keys aren't: they go to the pool and
// are committed at once, so that nothing that was sealed meanwhile and kept
// elsewhere is lost with a rollback. Where that can't be, they fail with
// [ErrKeyInTx].
//
// tx must be of a pool for the same database, and is used by one goroutine at a
// time, as ever. It is the application's to commit or to roll back. After
// [storage.ErrNotFound], [storage.ErrExists] and [storage.ErrVersionConflict] it
// may go on as if the call had not been. After any other error, the end of ctx
// during the call included, it is to be rolled back: PostgreSQL refuses
// everything else, and in MySQL and SQLite what came before may be gone while
// what comes after is committed. Other stores may have their transactions in the
// same ctx.
func (s *Store) WithTx(ctx context.Context, tx *sql.Tx) context.Context {
	return context.WithValue(ctx, joined{s.db}, tx)
}
