package fieldtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
)

var errRolledBack = errors.New("fieldtest: the application rolls back")

func checkTxRollback(e *env) {
	p, c := e.person("p1", "org_a")
	err := e.db.Tx(e.of("org_a"), func(ctx context.Context, tx *DB) error {
		e.ok(tx.Create(ctx, p))
		got, err := tx.Get(ctx, "p1")
		e.ok(err)
		e.holds(got, c)
		return errRolledBack
	})
	e.is(err, errRolledBack)
	e.wantRows()
	e.ok(e.db.Create(e.of("org_a"), p)) // the fields are still there
	e.holds(e.get("p1", "org_a"), c)
}

// checkTxRetry runs one transaction twice with the same structs, as after a failure of
// serialization.
func checkTxRetry(e *env) {
	p, c := e.person("p1", "org_a")
	q, cq := e.person("p2", "org_a")
	for i := range 3 {
		err := e.db.Tx(e.of("org_a"), func(ctx context.Context, tx *DB) error {
			e.unchanged(p, func() { e.ok(tx.Create(ctx, p)) })
			if i == 0 {
				return errRolledBack
			}
			e.unchanged(q, func() { e.ok(tx.Create(ctx, q)) })
			if i == 1 {
				return errRolledBack
			}
			return nil
		})
		if i < 2 {
			e.is(err, errRolledBack)
			continue
		}
		e.ok(err)
	}
	e.wantRows("p1", "p2")
	e.holds(e.get("p1", "org_a"), c)
	e.holds(e.get("p2", "org_a"), cq)
}

// checkLogs wants logs to show statements, and no values, and not to seal anything
// again.
func checkLogs(e *env) {
	_, c := e.created("p1", "org_a")
	e.holds(e.get("p1", "org_a"), c)
	if !strings.Contains(e.db.Logs(), "patients") {
		e.errorf("the log shows no statement: it can't be seen what it would hold")
	}
	if n := e.count(vault.FieldEncrypted); n != 3 {
		e.errorf("three fields were written, and %d sealed", n)
	}
}

// checkLogsOfFailures wants neither logs nor errors of statements that fail to hold
// values; it is seen when the check ends.
func checkLogsOfFailures(e *env) {
	e.created("p1", "org_a")
	p, _ := e.person("p1", "org_a")
	e.refused(e.db.Create(e.of("org_a"), p), "an ID that exists")
	p, _ = e.person("p2", "")
	e.is(e.db.Create(e.ctx, p), vault.ErrNoContext)
	if e.db.RawExec != nil {
		note := vault.Seal(e.note()).At("visits", "note", "v1")
		bad := e.statement("INSERT INTO nowhere (note) VALUES (%1)", 1)
		e.refused(e.db.RawExec(e.of("org_a"), bad, note), "a table that isn't there")
		e.refused(e.db.RawExec(e.of("org_a"), e.statement("INSRT %1", 1), note), "no SQL")
		e.refused(e.db.RawExec(e.of("org_a"), bad, vault.Seal(e.note())), "a field that is nowhere")
	}
	ended, cancel := context.WithCancel(e.of("org_a"))
	cancel()
	p, _ = e.person("p3", "org_a")
	e.refused(e.db.Create(ended, p), "a ctx that has ended")
	e.wantRows("p1")
}

func checkCancelled(e *env) {
	ended, cancel := context.WithCancel(e.of("org_a"))
	cancel()
	p, c := e.person("p1", "org_a")
	e.unchanged(p, func() { e.is(e.db.Create(ended, p), context.Canceled) })
	e.wantRows()
	e.ok(e.db.Create(e.of("org_a"), p))
	e.holds(e.get("p1", "org_a"), c)
	if _, err := e.get("p1", "org_a").Email.Open(ended); err != nil {
		e.is(err, context.Canceled)
	}
}

// checkKEKUnavailable wants a row not to be written while its key can't be had.
func checkKEKUnavailable(e *env) {
	e.v.KEK.SetFault(memkek.Denied)
	p, c := e.person("p1", "org_a")
	e.unchanged(p, func() { e.is(e.db.Create(e.of("org_a"), p), vault.ErrKEKDenied) })
	e.wantRows()
	e.v.KEK.SetFault(memkek.None)
	e.ok(e.db.Create(e.of("org_a"), p))
	e.holds(e.get("p1", "org_a"), c)
}

// checkConnectionLoss writes over connections that are gone: the first attempts may
// fail, and then the same struct is written, once.
func checkConnectionLoss(e *env) {
	_, first := e.created("p1", "org_a")
	e.db.Cut()
	p, c := e.person("p2", "org_a")
	e.retried(func() error { return e.db.Create(e.of("org_a"), p) })
	e.wantRows("p1", "p2")
	e.holds(e.get("p1", "org_a"), first)
	e.holds(e.get("p2", "org_a"), c)
	if e.db.Tx == nil {
		return
	}
	p3, c3 := e.person("p3", "org_a")
	p4, c4 := e.person("p4", "org_a")
	cut := false
	e.retried(func() error {
		return e.db.Tx(e.of("org_a"), func(ctx context.Context, tx *DB) error {
			if err := tx.Create(ctx, p3); err != nil {
				return err
			}
			if !cut {
				cut = true
				e.db.Cut()
			}
			return tx.Create(ctx, p4)
		})
	})
	e.wantRows("p1", "p2", "p3", "p4")
	e.holds(e.get("p3", "org_a"), c3)
	e.holds(e.get("p4", "org_a"), c4)
}

// retried calls f until it succeeds, at most as often as there may be dead connections
// in a pool.
func (e *env) retried(f func() error) {
	var err error
	for range 25 {
		if err = f(); err == nil {
			return
		}
		e.hear(err)
	}
	e.fatalf("it never succeeds after the connections were cut: %v", err)
}

// checkConcurrent writes and reads for two tenants at the same time.
func checkConcurrent(e *env) {
	var wg sync.WaitGroup
	for g := range 6 {
		org := []string{"org_a", "org_b"}[g%2]
		wg.Go(func() {
			for i := range 4 {
				p, c := e.person(fmt.Sprintf("p%d%d", g, i), org)
				if err := e.db.Create(e.of(org), p); err != nil {
					e.errorf("create beside others: %v", err)
					return
				}
				got, err := e.db.Get(e.of(org), p.ID)
				if err != nil {
					e.errorf("get beside others: %v", err)
					return
				}
				e.holds(got, c)
			}
		})
	}
	wg.Wait()
	if n := len(e.rows("patients")); n != 24 {
		e.errorf("%d rows, want 24", n)
	}
}
