package vaultpgxtest

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/tracelog"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultpgx"
)

// talker logs all that pgx's tracers are told, in every form that a log may take.
type talker struct {
	mu    sync.Mutex
	lines []string
}

func (l *talker) Log(_ context.Context, level tracelog.LogLevel, msg string, data map[string]any) {
	l.say(msg, data)
}

func (l *talker) say(what ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range what {
		j, err := json.Marshal(w)
		l.lines = append(l.lines, fmt.Sprintf("%v\n%+v\n%#v\n%s\n%s\n%v", w, w, w, w, j, err))
		if err, ok := w.(error); ok {
			l.lines = append(l.lines, err.Error())
		}
	}
}

// The tracer says all that it gets, too.
type tracer struct {
	*tracelog.TraceLog
	l *talker
}

func (t tracer) TraceQueryStart(ctx context.Context, c *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	t.l.say(d, d.Args)
	return t.TraceLog.TraceQueryStart(ctx, c, d)
}

func (t tracer) TraceBatchStart(ctx context.Context, c *pgx.Conn, d pgx.TraceBatchStartData) context.Context {
	for _, q := range d.Batch.QueuedQueries {
		t.l.say(q.SQL, q.Arguments)
	}
	return t.TraceLog.TraceBatchStart(ctx, c, d)
}

func (l *talker) holding(plaintexts ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.Join(l.lines, "\n")
	for _, p := range plaintexts {
		for _, form := range []string{p, hex.EncodeToString([]byte(p)), strings.ToUpper(hex.EncodeToString([]byte(p))),
			base64.StdEncoding.EncodeToString([]byte(p))[:len(p)], fmt.Sprint([]byte(p)), strings.Trim(fmt.Sprint([]byte(p)), "[]")} {
			if strings.Contains(all, form) {
				found = append(found, form)
			}
		}
	}
	return found
}

// TestLogsShowNoPlaintext has every statement logged, and every error: those that work,
// those that the server refuses, those that pgx can't encode and those that can't be
// sealed; through the wrapper and past it.
func TestLogsShowNoPlaintext(t *testing.T) {
	t.Parallel()
	const secret, number = "ann.secret@example.org", "078-05-1120"
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) {
			l := &talker{}
			f := setup(t, mode(m), func(c *pgxpool.Config) {
				c.ConnConfig.Tracer = tracer{&tracelog.TraceLog{Logger: l, LogLevel: tracelog.LogLevelTrace}, l}
			})
			for name, write := range writes {
				if m == pgx.QueryExecModeSimpleProtocol && name == "prepared" {
					continue
				}
				e, s, x := email(secret, name), ssn(number, name), vaultpgx.IndexOf(emailIndex, name+secret)
				noError(t, write(f, name, e, s, x))
				if err := write(f, name, e, s, x); err == nil { // the row is there already
					t.Errorf("%s: a row was written twice", name)
				} else {
					l.say(err)
				}
				l.say(write(f, name, vault.Seal(secret), s, x)) // no place
			}
			e := email(secret, "1")
			for _, db := range []vaultpgx.Conn{f.db, f.pool} {
				for _, column := range []string{"note", "number", "doc", "many"} { // of the wrong types
					for _, v := range []any{e, &e, []vault.Encrypted[string]{e}, map[string]any{"e": e}, struct{ E *vault.Encrypted[string] }{&e}, vaultpgx.IndexOf(emailIndex, secret)} {
						_, err := db.Exec(f.ctx, "INSERT INTO odd (id, "+column+") VALUES ('1', $1)", v)
						l.say(err)
						_, err = db.CopyFrom(f.ctx, pgx.Identifier{"odd"}, []string{"id", column}, pgx.CopyFromRows([][]any{{"2", v}}))
						l.say(err)
						b := &pgx.Batch{}
						b.Queue("INSERT INTO odd (id, "+column+") VALUES ('3', $1)", v)
						l.say(db.SendBatch(f.ctx, b).Close())
					}
				}
				_, err := db.Exec(f.ctx, "INSERT INTO nowhere VALUES ($1)", e)
				l.say(err)
				_, err = db.Exec(f.ctx, "INSERT INTO odd (id, note) VALUES ($1)", e, e, e) // too many
				l.say(err)
				l.say(db.QueryRow(f.ctx, "SELECT email FROM people").Scan(new(int)))
				l.say(db.QueryRow(f.ctx, "SELECT 1").Scan(&vault.Encrypted[string]{}))
			}
			if found := l.holding(secret, number); len(found) > 0 {
				t.Errorf("the log holds %q", found)
			}
			if len(l.lines) < 100 {
				t.Errorf("only %d lines were logged", len(l.lines))
			}
			f.assertSealed(t, secret, number)
		})
	}
}
