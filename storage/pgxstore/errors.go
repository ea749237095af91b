package pgxstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/internal/sqlcore"
)

// The errors that this store has beside those of package storage.
var (
	// ErrKeyInTx is matched when a key, or a record of the vault's own, can't be
	// stored or fetched while the application's transaction (see WithTx) is open,
	// since no second connection is free: at once if the pool may have only one,
	// after five seconds else. Call v.Prepare for the key context before Begin,
	// or give the pool more connections.
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
	// After these the server ends the connection, such as on time-outs of idle
	// sessions and transactions (57P05, 25P03).
	var said *pgconn.PgError
	if errors.As(err, &said) {
		if severity := said.SeverityUnlocalized; severity == "FATAL" || severity == "PANIC" {
			return sqlcore.Unavailable
		}
		return sqlcore.Unknown
	}
	if strings.HasPrefix(err.Error(), "pgxpool: too many failed attempts") {
		return sqlcore.Unavailable
	}
	return sqlcore.Unknown
}

// reached tells time-outs of pgx's own (ConnectTimeout) from the end of the
// caller's ctx: both match the same error, and only the former mean that the
// database can't be reached.
func reached(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	return err
}
