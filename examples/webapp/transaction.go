package main

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/embedvault/vault/storage/sqlstore"
)

// attempts is how often a transaction is tried that the database gives up.
const attempts = 10

// inTx runs f in one transaction. Calls of the vault with the ctx that f is given
// are part of it, as are statements on tx: all of it is committed, or nothing is. f
// may run more than once, and so does nothing that a rollback doesn't undo.
//
// Nothing slow belongs into f, such as a call to somebody else's server: other
// transactions wait for this one's locks.
func (a *app) inTx(ctx context.Context, t tenant, f func(ctx context.Context, tx *sql.Tx) error) error {
	for attempt := 1; ; attempt++ {
		err := a.once(ctx, t, f)
		if err == nil || attempt == attempts || !passing(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(time.Duration(attempt) * 20 * time.Millisecond)):
		}
	}
}

func (a *app) once(ctx context.Context, t tenant, f func(ctx context.Context, tx *sql.Tx) error) error {
	// The organisation's key comes before BEGIN. It is never part of a transaction,
	// and SQLite has no second writer that could store it meanwhile. Nearly always
	// it is in the cache, and this costs nothing.
	if err := t.secrets.Prepare(ctx); err != nil {
		return err
	}
	// One snapshot for all that f reads: an account and the API key to it are of the
	// same moment. SQLite has nothing else.
	tx, err := a.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	if err := f(a.store.WithTx(ctx, tx), tx); err != nil {
		return err
	}
	return tx.Commit()
}

// passing tells whether the same transaction may do better when it is run again.
func passing(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01": // serialization failure, deadlock
		return true
	}
	return sqliteCode(err)&0xff == sqlite3.SQLITE_BUSY ||
		errors.Is(err, sqlstore.ErrRetry) || errors.Is(err, sqlstore.ErrKeyInTx)
}
