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

// Commit implements [sqlcore.Tx]. If it fails nothing is known in MySQL.
func (t *byHand) Commit(ctx context.Context) error {
	defer t.end()
	if t.dialect == sqlcore.SQLite {
		return t.commitSQLite(ctx)
	}
	_, err := t.c.ExecContext(ctx, "COMMIT")
	if err != nil {
		giveUp(t.c)
	}
	return err
}

// commitSQLite isn't cut off by the end of ctx: drivers may then report what is
// done as interrupted. A COMMIT that fails leaves the transaction open: it is
// rolled back.
func (t *byHand) commitSQLite(ctx context.Context) error {
	err := ctx.Err()
	if err == nil {
		late, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		defer context.AfterFunc(ctx, func() { time.AfterFunc(lateSQLite, cancel) })()
		_, err = t.c.ExecContext(late, "COMMIT")
	}
	if err != nil {
		t.rollbackSQLite(ctx)
	}
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

// lateSQLite is how long the end of a transaction may take after ctx has ended:
// there is no server that could be out of reach.
const lateSQLite = 5 * time.Second

// rollbackSQLite goes on after the end of ctx. That there is no transaction is
// all right, as it may have ended by itself; a database in memory would go with
// its connection.
func (t *byHand) rollbackSQLite(ctx context.Context) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateSQLite)
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
