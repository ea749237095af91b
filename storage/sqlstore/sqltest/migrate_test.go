package sqltest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

func isErr(err, target error) bool { return errors.Is(err, target) }

// migrateChild is set in the environment of processes that only migrate: to the
// engine's name, a space, and the data source name.
const migrateChild = "VAULT_TEST_MIGRATE_CHILD"

func runMigrateChild(what string) int {
	name, dsn, _ := strings.Cut(what, " ")
	for _, e := range engines {
		if e.name != name {
			continue
		}
		db, err := sql.Open(e.driver, dsn+e.options)
		if err == nil {
			var s *sqlstore.Store
			if s, err = sqlstore.New(db, e.dialect); err == nil {
				err = s.Migrate(context.Background())
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	return 2
}

func TestMigrateByManyProcesses(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		dsn := e.database(t)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), migrateChild+"="+e.name+" "+dsn)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		db := e.open(t, dsn)
		for range 4 {
			wg.Go(func() {
				s, err := sqlstore.New(db, e.dialect)
				if err == nil {
					err = s.Migrate(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		var n, v int
		noError(t, db.QueryRow("SELECT count(*), max(version) FROM vault_schema_version").Scan(&n, &v))
		if n != 1 || v != 1 {
			t.Errorf("%d rows, version %d", n, v)
		}
		s, err := sqlstore.New(db, e.dialect)
		noError(t, err)
		put(t, s, object(t, tenant(1), "a"))
		noError(t, s.Migrate(t.Context()))
		if !has(t, s, object(t, tenant(1), "a")) {
			t.Error("Migrate lost an object")
		}
	})
}

func TestNewerSchemaIsRefused(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		_, err := db.Exec("UPDATE vault_schema_version SET version = 2")
		noError(t, err)
		wantErr(t, s.Migrate(t.Context()), sqlstore.ErrNewerSchema)
	})
}

func TestNotMigrated(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		s, err := sqlstore.New(e.open(t, e.database(t)), e.dialect)
		noError(t, err)
		for op, err := range everyMethod(t.Context(), t, s) {
			if !isErr(err, sqlstore.ErrNotMigrated) || isErr(err, storage.ErrNotFound) {
				t.Errorf("%s: %v", op, err)
			}
		}
	})
}

// everyMethod calls all that needs the tables, with arguments that are valid.
func everyMethod(ctx context.Context, t testing.TB, s storage.Store) map[string]error {
	t.Helper()
	r, k := object(t, tenant(1), "a", unique), key(t, tenant(1), 1)
	all := storage.ContextFilter{All: true, AnyNamespace: true}
	match := storage.ContextFilter{Match: tenant(1)}
	errs := map[string]error{}
	_, errs["GetKey"] = s.GetKey(ctx, k.KeyID)
	_, errs["LatestKey"] = s.LatestKey(ctx, k.ContextHash, k.Purpose)
	errs["InsertKey"] = s.InsertKey(ctx, k)
	errs["UpdateKey"] = s.UpdateKey(ctx, k)
	errs["DeleteKey"] = s.DeleteKey(ctx, k.KeyID, 1)
	_, errs["ListKeys"] = s.ListKeys(ctx, storage.KeyQuery{Contexts: all})
	_, errs["ListKeys match"] = s.ListKeys(ctx, storage.KeyQuery{Contexts: match})
	_, errs["PutObject"] = s.PutObject(ctx, r, storage.PutGuard{Now: base, Keep: 2})
	_, errs["GetObject"] = s.GetObject(ctx, ref(r))
	_, errs["GetObjects"] = s.GetObjects(ctx, r.ContextHash, []string{"a"}, base)
	_, errs["DeleteObject"] = s.DeleteObject(ctx, ref(r), storage.ID{})
	_, errs["ListObjects"] = s.ListObjects(ctx, storage.ObjectQuery{Contexts: all})
	_, errs["ListObjects match"] = s.ListObjects(ctx, storage.ObjectQuery{Contexts: match})
	_, errs["ListVersions"] = s.ListVersions(ctx, storage.VersionQuery{Object: r.ID})
	_, errs["DeleteExpired"] = s.DeleteExpired(ctx, "", base, 10)
	errs["ReplaceEnvelope"] = s.ReplaceEnvelope(ctx, r.ID, r.VersionID, r.KeyID, k.KeyID, nil)
	_, errs["CountByKey"] = s.CountByKey(ctx, r.KeyID)
	_, errs["ListByKey"] = s.ListByKey(ctx, storage.ByKeyQuery{KeyID: r.KeyID})
	errs["ImportVersion"] = s.ImportVersion(ctx, r)
	_, errs["GetSystem"] = s.GetSystem(ctx, "a")
	_, errs["PutSystem"] = s.PutSystem(ctx, storage.SystemRecord{Name: "a"})
	errs["DeleteSystem"] = s.DeleteSystem(ctx, "a", 1)
	_, errs["ListSystem"] = s.ListSystem(ctx, "", "", 0)
	return errs
}

// TestAutocommitOff is a connection on which a single statement is acknowledged
// and never committed.
func TestAutocommitOff(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"?autocommit=0", "?autocommit=0&interpolateParams=true"} {
		e := engine{driver: "mysql", dialect: sqlstore.MySQL, options: options}
		s, err := sqlstore.New(e.open(t, mariaDatabase(t)), e.dialect)
		noError(t, err)
		if s.Migrate(t.Context()) == nil {
			t.Errorf("%s was taken", options)
		}
	}
}

// TestReadUncommitted is a connection on which a key is found that is never
// committed.
func TestReadUncommitted(t *testing.T) {
	t.Parallel()
	e := engine{driver: "mysql", dialect: sqlstore.MySQL}
	dsn := mariaDatabase(t)
	s, err := sqlstore.New(e.open(t, dsn), e.dialect)
	noError(t, err)
	noError(t, s.Migrate(t.Context())) // it is refused where all is done, too
	for level, taken := range map[string]bool{"READ-UNCOMMITTED": false, "READ-COMMITTED": true, "REPEATABLE-READ": true, "SERIALIZABLE": true} {
		e.options = "?tx_isolation=%27" + level + "%27"
		s, err := sqlstore.New(e.open(t, dsn), e.dialect)
		noError(t, err)
		if err := s.Migrate(t.Context()); (err == nil) != taken {
			t.Errorf("%s: %v", level, err)
		}
	}
}

// TestLeastPrivileges has a role that may read and write the tables and nothing
// else, as programs should that don't make them.
func TestLeastPrivileges(t *testing.T) {
	where(t, hasServer, func(t *testing.T, e engine) {
		dsn := e.database(t)
		db := e.open(t, dsn)
		s, err := sqlstore.New(db, e.dialect)
		noError(t, err)
		noError(t, s.Migrate(t.Context()))
		owner, current := "postgres@", "SELECT current_database()"
		grants := []string{"CREATE ROLE least_{} LOGIN", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO least_{}"}
		if e.dialect == sqlstore.MySQL {
			owner, current = "root@", "SELECT DATABASE()"
			grants = []string{"CREATE USER least_{}@'%'", "GRANT SELECT, INSERT, UPDATE, DELETE ON {}.* TO least_{}@'%'"}
		}
		var name string
		noError(t, db.QueryRow(current).Scan(&name))
		for _, grant := range grants {
			_, err := db.Exec(strings.ReplaceAll(grant, "{}", name))
			noError(t, err)
		}
		s, err = sqlstore.New(e.open(t, strings.Replace(dsn, owner, "least_"+name+"@", 1)), e.dialect)
		noError(t, err)
		noError(t, s.Migrate(t.Context()))
		for op, err := range everyMethod(t.Context(), t, s) {
			if err != nil && !isErr(err, storage.ErrNotFound) && !isErr(err, storage.ErrVersionConflict) && !isErr(err, storage.ErrExists) {
				t.Errorf("%s: %v", op, err)
			}
		}
	})
}

// TestSchemaText runs the text that Schema gives, by hand, and wants a database
// with which Migrate has nothing to do.
func TestSchemaText(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		opts := []sqlstore.Options{{}}
		if e.dialect == sqlstore.PostgreSQL {
			opts = append(opts, sqlstore.Options{Schema: "secrets"}) // which isn't there
		}
		db := e.open(t, e.database(t))
		for _, o := range opts {
			s, err := sqlstore.New(db, e.dialect, o)
			noError(t, err)
			for _, st := range strings.SplitAfter(s.Schema(), ";\n") {
				if strings.TrimSpace(st) != "" {
					_, err := db.Exec(st)
					noError(t, err)
				}
			}
			noError(t, s.Migrate(t.Context()))
			put(t, s, object(t, tenant(1), "a"))
			if strings.Contains(s.Schema(), "%!") {
				t.Error(s.Schema())
			}
		}
	})
}

func TestPrefixAndSchema(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		db := e.open(t, e.database(t))
		opts := []sqlstore.Options{{}, {TablePrefix: "select"}, {TablePrefix: "a_23456789012345678901234567890"}}
		if e.dialect == sqlstore.PostgreSQL {
			opts = append(opts, sqlstore.Options{Schema: "user"}, sqlstore.Options{Schema: "tenant_2", TablePrefix: "t"})
		}
		for i, o := range opts {
			s, err := sqlstore.New(db, e.dialect, o)
			noError(t, err)
			noError(t, s.Migrate(t.Context()))
			noError(t, s.Migrate(t.Context()))
			if has(t, s, object(t, tenant(1), "a")) {
				t.Errorf("store %d shares a table with another", i)
			}
			put(t, s, object(t, tenant(1), "a"))
		}
		for _, bad := range []string{"Vault_", "1a", "a-b", "a b", `a"`, "a'", "a`", "a;drop table x", "a.b", "é", "a\x00", "vault_\n",
			"a_234567890123456789012345678901", "{objects}", "$1"} {
			if _, err := sqlstore.New(db, e.dialect, sqlstore.Options{TablePrefix: bad}); err == nil {
				t.Errorf("prefix %q was taken", bad)
			}
			if _, err := sqlstore.New(db, e.dialect, sqlstore.Options{Schema: bad}); err == nil {
				t.Errorf("schema %q was taken", bad)
			}
		}
		if _, err := sqlstore.New(db, 0); err == nil {
			t.Error("no dialect was taken for one")
		}
		if _, err := sqlstore.New(nil, e.dialect); err == nil {
			t.Error("no pool was taken for one")
		}
	})
}
