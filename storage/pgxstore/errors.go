package pgxstore

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/embedvault/vault/storage/internal/sqlcore"
)

// The errors that this store has beside those of package storage.
var (
	// ErrKeyInTx is matched when a key, or a record of the vault's own, can't be
	// stored or fetched while the application's transaction (see WithTx) is open:
	// since no second connection is free, at once if the pool may have only one,
	// after 5 seconds else; or since the transaction holds a lock for as long that
	// the key needs, as it has put an object of the same new key context before (a
	// vault never does it in that order). Nothing was stored then. Call v.Prepare
	// for the key context before Begin, or give the pool more connections.
	ErrKeyInTx = sqlcore.ErrKeyInTx

	// ErrRetry is matched when the database gave a transaction up to let another
	// one pass: a serialization failure, a deadlock, a lock that wasn't to be
	// had. Outside WithTx the store has tried for 10 seconds by then. Inside, roll
	// back and run the whole transaction again: it can't go on.
	ErrRetry = sqlcore.ErrRetry

	// ErrNotMigrated is matched when the tables aren't there: call Migrate.
	ErrNotMigrated = sqlcore.ErrNotMigrated

	// ErrNewerSchema is matched by Migrate when a later version of this package
	// made the tables. Nothing was changed.
	ErrNewerSchema = sqlcore.ErrNewerSchema
)

// classify knows what only pgx's own types say; the rest is known by SQLSTATE.
func classify(err error) sqlcore.Class {
	// A connection that didn't come about is no answer, whatever for: a password
	// that was changed, a database that isn't there yet, a certificate.
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return sqlcore.Unavailable
	}
	if strings.HasPrefix(err.Error(), "pgxpool: too many failed attempts") {
		return sqlcore.Unavailable
	}
	return sqlcore.Unknown
}
