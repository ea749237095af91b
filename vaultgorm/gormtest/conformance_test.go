package gormtest

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/vaultgorm"
	"github.com/embedvault/vault/vaulttest/fieldtest"
)

// The adapter passes the suite that all adapters pass.
func TestConformance(t *testing.T) {
	for _, en := range engines {
		t.Run(en.name, func(t *testing.T) {
			t.Parallel()
			fieldtest.Run(t, harness(en))
		})
	}
}

func harness(en engine) fieldtest.Harness {
	h := fieldtest.Harness{
		New: func(t *testing.T, v *vault.Vault) *fieldtest.DB { return newConformance(t, en, v) },
	}
	if en.dialect == fieldtest.SQLite {
		h.Absent = map[string]string{"Cut": "the database is in the process, and there is no connection to lose"}
	}
	return h
}

func newConformance(t *testing.T, en engine, v *vault.Vault) *fieldtest.DB {
	e := &env{e: en, log: &buffer{}, dsn: en.database(t), ctx: t.Context()}
	e.raw = must(sql.Open(en.driver, e.dsn))(t)
	t.Cleanup(func() { _ = e.raw.Close() })
	for _, s := range fieldtest.Schema(en.dialect) {
		e.exec(t, s)
	}
	e.more = []any{&fieldtest.Patient{}, &fieldtest.Visit{}}
	return e.fieldDB(t, e.open(t, options{}, v), v)
}

// fieldDB is what the suite asks for.
func (e *env) fieldDB(t *testing.T, db *gorm.DB, v *vault.Vault) *fieldtest.DB {
	out := rows(db)
	out.Raw = fieldtest.SQL(e.raw, e.e.dialect)
	out.With = func(v *vault.Vault) *fieldtest.DB { return e.fieldDB(t, e.open(t, options{}, v), v) }
	out.Prepared = func() *fieldtest.DB {
		return e.fieldDB(t, e.open(t, options{Config: gorm.Config{PrepareStmt: true}}, v), v)
	}
	out.Logs = e.log.String
	switch e.e.dialect {
	case fieldtest.PostgreSQL:
		out.Cut = func() {
			e.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		}
	case fieldtest.MySQL:
		out.Cut = func() { e.killAll(t) }
	}
	out.Tx = func(ctx context.Context, f func(ctx context.Context, tx *fieldtest.DB) error) error {
		return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return f(ctx, rows(tx)) })
	}
	return out
}

func (e *env) killAll(t *testing.T) {
	rs := must(e.raw.QueryContext(t.Context(), "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"))(t)
	var ids []int
	for rs.Next() {
		var id int
		ok(t, rs.Scan(&id))
		ids = append(ids, id)
	}
	ok(t, rs.Err())
	for _, id := range ids {
		_, _ = e.raw.ExecContext(t.Context(), fmt.Sprintf("KILL %d", id)) // it may have gone by itself
	}
}

// rows are the operations on rows, as GORM's users write them.
func rows(db *gorm.DB) *fieldtest.DB {
	with := func(ctx context.Context) *gorm.DB { return db.WithContext(ctx) }
	patients := func(tx *gorm.DB) ([]*fieldtest.Patient, error) {
		var out []*fieldtest.Patient
		return out, tx.Order("id").Find(&out).Error
	}
	return &fieldtest.DB{
		Create:    func(ctx context.Context, p *fieldtest.Patient) error { return with(ctx).Create(p).Error },
		CreateAll: func(ctx context.Context, ps []*fieldtest.Patient) error { return with(ctx).Create(ps).Error },
		CreateVisit: func(ctx context.Context, v *fieldtest.Visit) error {
			return with(ctx).Create(v).Error
		},
		Get: func(ctx context.Context, id string) (*fieldtest.Patient, error) {
			p := new(fieldtest.Patient)
			return p, with(ctx).First(p, "id = ?", id).Error
		},
		List: func(ctx context.Context) ([]*fieldtest.Patient, error) { return patients(with(ctx)) },
		Find: func(ctx context.Context, email string) ([]*fieldtest.Patient, error) {
			return patients(with(ctx).Where(vaultgorm.Eq("Email", email)))
		},
		Save:   func(ctx context.Context, p *fieldtest.Patient) error { return with(ctx).Save(p).Error },
		Update: func(ctx context.Context, p *fieldtest.Patient) error { return with(ctx).Updates(p).Error },
		Upsert: func(ctx context.Context, p *fieldtest.Patient) error {
			return with(ctx).Clauses(clause.OnConflict{UpdateAll: true}).Create(p).Error
		},
		UpdateMap: func(ctx context.Context, id string, set map[string]any) error {
			return with(ctx).Model(&fieldtest.Patient{ID: id}).Updates(set).Error
		},
		UpdateColumn: func(ctx context.Context, id, column string, value any) error {
			return with(ctx).Model(&fieldtest.Patient{ID: id}).UpdateColumn(column, value).Error
		},
		DeleteLike: func(ctx context.Context, example *fieldtest.Patient) error {
			return with(ctx).Where(example).Delete(&fieldtest.Patient{}).Error
		},
		Preload: func(ctx context.Context, id string) (*fieldtest.Patient, error) {
			p := new(fieldtest.Patient)
			return p, with(ctx).Preload("Visits").First(p, "id = ?", id).Error
		},
		Join: func(ctx context.Context) ([]*fieldtest.Visit, error) {
			var out []*fieldtest.Visit
			return out, with(ctx).Joins("Patient").Order("visits.id").Find(&out).Error
		},
		Scan: func(ctx context.Context, id string) (c fieldtest.Card, err error) {
			return c, with(ctx).Model(&fieldtest.Patient{}).Where("id = ?", id).Scan(&c).Error
		},
		Pluck: func(ctx context.Context, column string) (out []vault.Encrypted[string], err error) {
			return out, with(ctx).Model(&fieldtest.Patient{}).Order("id").Pluck(column, &out).Error
		},
		RawQuery: func(ctx context.Context, query string) (out []fieldtest.Card, err error) {
			return out, with(ctx).Raw(query).Scan(&out).Error
		},
		RawExec: func(ctx context.Context, query string, args ...any) error {
			return with(ctx).Exec(query, args...).Error
		},
	}
}
