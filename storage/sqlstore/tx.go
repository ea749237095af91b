package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strings"
	"time"

	"github.com/embedvault/vault/storage/internal/sqlcore"
)

// tx is a transaction of PostgreSQL's: its COMMIT must be the driver's, which
// knows that the server answers that of a failed transaction with "ROLLBACK",
// and no error.
type tx struct {
	querier
	tx *sql.Tx
}

// begin names the isolation level: the user's default may be another.
func begin(ctx context.Context, on interface {
	BeginTx(context.Context, *sql.TxOptions) (*sql.Tx, error)
}) (sqlcore.Tx, error) {
	t, err := on.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return nil, err
	}
	return &tx{querier{t}, t}, nil
}

// Commit implements [sqlcore.Tx].
func (t *tx) Commit(context.Context) error { return t.tx.Commit() }

// Rollback implements [sqlcore.Tx]. database/sql gives a connection up that it
// can't roll back.
func (t *tx) Rollback(context.Context) { _ = t.tx.Rollback() }

// byHand is a transaction that statements begin and end. In SQLite, since
// database/sql can't say BEGIN IMMEDIATE. In MySQL, since database/sql ends
// transactions with no ctx, and go-sql-driver/mysql would then wait for the
// answer of a server that the network has swallowed for as long as TCP does.
type byHand struct {
	querier
	c       *sql.Conn
	dialect sqlcore.Dialect
	owns    bool // the connection: it goes back to the pool at the end
}

// beginByHand begins. If it fails, c is as it was before, or was given up.
func beginByHand(ctx context.Context, c *sql.Conn, d sqlcore.Dialect, owns bool) (sqlcore.Tx, error) {
	t := &byHand{querier{c}, c, d, owns}
	if d == sqlcore.SQLite {
		return t.beginImmediate(ctx)
	}
	for _, statement := range []string{"SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"} {
		if _, err := c.ExecContext(ctx, statement); err != nil {
			giveUp(c) // the application's next transaction must not get the level
			return nil, err
		}
	}
	return t, nil
}

// beginImmediate takes the write lock from the beginning.
func (t *byHand) beginImmediate(ctx context.Context) (sqlcore.Tx, error) {
	if _, err := t.c.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		if ctx.Err() != nil {
			// Had it begun all the same, the next user of the connection would be
			// in it.
			t.rollbackSQLite(ctx)
		}
		return nil, err
	}
	return t, nil
}

// Commit implements [sqlcore.Tx]. A COMMIT that fails leaves SQLite's
// transaction open: it is rolled back. In MySQL nothing is known then.
func (t *byHand) Commit(ctx context.Context) error {
	_, err := t.c.ExecContext(ctx, "COMMIT")
	switch {
	case err != nil && t.dialect == sqlcore.SQLite:
		t.rollbackSQLite(ctx)
	case err != nil:
		giveUp(t.c)
	}
	t.end()
	return err
}

// Rollback implements [sqlcore.Tx]. MySQL's rolls back by itself where it can't
// be told to: when it finds that the connection is gone.
func (t *byHand) Rollback(ctx context.Context) {
	if t.dialect == sqlcore.SQLite {
		t.rollbackSQLite(ctx)
	} else if _, err := t.c.ExecContext(ctx, "ROLLBACK"); err != nil {
		giveUp(t.c)
	}
	t.end()
}

// rollbackSQLite goes on after the end of ctx: there is no server that could be
// out of reach. That there is no transaction is all right, as it may have ended
// by itself; a database in memory would go with its connection.
func (t *byHand) rollbackSQLite(ctx context.Context) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_, err := t.c.ExecContext(late, "ROLLBACK")
	if err != nil && !strings.Contains(err.Error(), "no transaction is active") {
		giveUp(t.c)
	}
}

func (t *byHand) end() {
	if t.owns {
		_ = t.c.Close()
	}
}

// giveUp closes a connection, instead of leaving it to the pool's next user.
func giveUp(c *sql.Conn) {
	_ = c.Raw(func(any) error { return driver.ErrBadConn })
}
