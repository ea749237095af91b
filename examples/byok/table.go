package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	_ "modernc.org/sqlite" // any driver will do; the application's own

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
)

// schema is the application's own table of its customers' keys. It is not in the
// vault's database: who writes there must not be able to choose KEKs.
const schema = `
CREATE TABLE customer_keks (
	organization_id text NOT NULL,
	kek_uri         text NOT NULL,
	state           text NOT NULL CHECK (state IN ('active', 'previous')),
	changed_at      timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
	PRIMARY KEY (organization_id, kek_uri)
)`

// opener opens a KEK by its URI, or by another name its system has for it.
type opener func(ctx context.Context, name string) (kek.Wrapper, error)

// kekTable is a kek.Policy that reads the table.
type kekTable struct {
	db       *sql.DB
	fallback kek.Wrapper // for organisations without a key of their own
	open     opener

	mu     sync.Mutex // guards opened
	opened map[string]kek.Wrapper
}

func openTable(path string, fallback kek.Wrapper, open opener) (*kekTable, error) {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec(schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &kekTable{db: db, fallback: fallback, open: open, opened: map[string]kek.Wrapper{}}, nil
}

func (t *kekTable) close() { _ = t.db.Close() }

// Choose implements kek.Policy. A query that fails is an error, never the
// fallback: that would put a customer's data under the wrong key.
func (t *kekTable) Choose(ctx context.Context, kc vault.KeyContext) (kek.Choice, error) {
	rows, err := t.db.QueryContext(ctx,
		`SELECT kek_uri, state FROM customer_keks WHERE organization_id = ? ORDER BY changed_at DESC, kek_uri`, kc["organization_id"])
	if err != nil {
		return kek.Choice{}, fmt.Errorf("reading customer_keks: %w", err)
	}
	defer rows.Close()
	var c kek.Choice
	for rows.Next() {
		var uri, state string
		if err := rows.Scan(&uri, &state); err != nil {
			return kek.Choice{}, err
		}
		w, err := t.wrapper(ctx, uri)
		if err != nil {
			return kek.Choice{}, err
		}
		if state == "active" {
			c.KEKs = append(c.KEKs, w)
		} else {
			c.Previous = append(c.Previous, kek.Choice{KEKs: []kek.Wrapper{w}, Quorum: kek.AnyOf})
		}
	}
	if len(c.KEKs) == 0 {
		c.KEKs = []kek.Wrapper{t.fallback}
	}
	c.Quorum = kek.AnyOf // several active ones: any of them
	return c, rows.Err()
}

// wrapper returns the KEK with this URI, opened once.
func (t *kekTable) wrapper(ctx context.Context, uri string) (kek.Wrapper, error) {
	if uri == t.fallback.URI() {
		return t.fallback, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.opened[uri]; w != nil {
		return w, nil
	}
	w, err := t.open(ctx, uri)
	if err != nil {
		return nil, err
	}
	t.opened[uri] = w
	return w, nil
}

// bringKey makes w the organisation's KEK. What it had before becomes previous.
func (t *kekTable) bringKey(ctx context.Context, org string, w kek.Wrapper) error {
	t.mu.Lock()
	t.opened[w.URI()] = w
	t.mu.Unlock()
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a Commit it does nothing
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{`INSERT INTO customer_keks (organization_id, kek_uri, state) VALUES (?, ?, 'previous') ON CONFLICT DO NOTHING`, []any{org, t.fallback.URI()}},
		{`UPDATE customer_keks SET state = 'previous', changed_at = CURRENT_TIMESTAMP WHERE organization_id = ?`, []any{org}},
		{`INSERT INTO customer_keks (organization_id, kek_uri, state) VALUES (?, ?, 'active')
			ON CONFLICT (organization_id, kek_uri) DO UPDATE SET state = 'active', changed_at = CURRENT_TIMESTAMP`, []any{org, w.URI()}},
	} {
		if _, err := tx.ExecContext(ctx, q.sql, q.args...); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// dropPrevious forgets the KEKs that the organisation had before: after a rewrap
// that ended without an error.
func (t *kekTable) dropPrevious(ctx context.Context, org string) error {
	_, err := t.db.ExecContext(ctx, `DELETE FROM customer_keks WHERE organization_id = ? AND state = 'previous'`, org)
	return err
}
