package pgxstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/internal/sqlcore"
)

// Options are what may be chosen. The zero value is right for most. They mean
// the same as in package sqlstore.
type Options struct {
	// TablePrefix is what the names of tables start with: [a-z_][a-z0-9_]{0,30};
	// "" is vault_. Stores with different prefixes share nothing.
	TablePrefix string

	// Schema is the schema for the tables, of the same alphabet; "" is the first
	// one in the connection's search_path. Migrate makes it if it isn't there.
	Schema string
}

type core = sqlcore.Store

// Store is a store in PostgreSQL. It is safe for concurrent use. It has the
// methods of [storage.Store], and beside them
//
//	Migrate(ctx context.Context) error // makes the tables
//	Schema() string                    // the statements that do
//
// Close the pool when it isn't needed any more; the store itself holds nothing.
type Store struct {
	*core
	db *db
}

var _ storage.Store = (*Store)(nil)

// New returns a store on the application's own pool. It does no I/O: a database
// that can't be reached, or has no tables yet, is met by the first call. It
// fails if there is no pool, or an option is not one.
func New(pool *pgxpool.Pool, opts ...Options) (*Store, error) {
	if pool == nil || len(opts) > 1 {
		return nil, errors.New("pgxstore: it needs a pool, and at most one Options")
	}
	var o Options
	if len(opts) == 1 {
		o = opts[0]
	}
	on := newDB(pool)
	c, err := sqlcore.New(on, sqlcore.Config{Driver: "pgxstore", Dialect: sqlcore.PostgreSQL, Prefix: o.TablePrefix, Schema: o.Schema, Classify: classify})
	if err != nil {
		return nil, err
	}
	return &Store{c, on}, nil
}

// Migrate makes the tables, or brings them up to date. Call it before the store
// is used, at each start of the program: any number of processes may at once,
// also where some use package sqlstore. It needs the right to create tables,
// unless all is done already. See [ErrNewerSchema].
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
// tx must be of a connection to the same database, out of this pool or not, and
// is used by one goroutine at a time, as ever. It may be a nested one (of
// [pgx.Tx.Begin]). It is the application's to commit or to roll back. After
// [storage.ErrNotFound], [storage.ErrExists] and [storage.ErrVersionConflict] it
// may go on as if the call had not been. After any other error it is to be rolled
// back: PostgreSQL refuses everything else. If ctx ends during a call, pgx closes
// the transaction's connection, and nothing of it is committed. Other stores may
// have their transactions in the same ctx. A nil tx takes the store's
// transaction out of ctx.
func (s *Store) WithTx(ctx context.Context, tx pgx.Tx) context.Context {
	if p, isPool := tx.(*pgxpool.Tx); isPool && p == nil {
		tx = nil // which isn't what Go says of it
	}
	return context.WithValue(ctx, joined{s.db}, tx)
}
