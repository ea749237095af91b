package main

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/embedvault/vault/storage/sqlstore/sqltest/mariaserver"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
)

// TestPostgreSQL and TestMySQL copy a store into a real database and verify it there.
func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	srv := pgserver.Start(t, pgserver.Options{})
	dsn, err := srv.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	onServer(t, dsn+"#schema=vaults")
}

func TestMySQL(t *testing.T) {
	t.Parallel()
	srv := mariaserver.Start(t, mariaserver.Options{})
	dsn, err := srv.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	onServer(t, mysqlURL(t, dsn, srv.Port())+"#table-prefix=v_")
}

// mysqlURL makes a URL of the driver's form, user:password@tcp(host:port)/database?….
func mysqlURL(t *testing.T, dsn string, port int) string {
	t.Helper()
	user, rest, _ := strings.Cut(dsn, "@")
	name, password, _ := strings.Cut(user, ":")
	_, database, ok := strings.Cut(rest, "/")
	if !ok {
		t.Fatalf("a DSN of another form")
	}
	database, _, _ = strings.Cut(database, "?")
	return fmt.Sprintf("mysql://%s@127.0.0.1:%d/%s", url.UserPassword(name, password), port, database)
}

func onServer(t *testing.T, store string) {
	t.Helper()
	w := newWorld(t)
	w.must("app", "put", "secret", "value-1", "organization_id=org_01")
	w.must("app", "put", "secret", "value-2", "organization_id=org_01")
	w.must("app", "put", "other", "value-3", "organization_id=org_02")
	if r := w.run("vaultctl", "copy", "--to", store); r.code != exitFailed || !strings.Contains(r.stderr, "Migrate") {
		t.Errorf("a copy into a database without tables: exit code %d, %s", r.code, r.stderr)
	}
	w.must("vaultctl", "migrate", "--store", store)
	w.must("vaultctl", "migrate", "--store", store)
	w.must("vaultctl", "copy", "--to", store)
	w.must("vaultctl", "copy", "--to", store, "--verify-only")
	if out := w.must("vaultctl", "keys", "--all", "--count", "--store", store).stdout; !strings.Contains(out, "org_02") || !strings.Contains(out, "2 versions") {
		t.Errorf("keys:\n%s", out)
	}
	w.must("vaultctl", "rotate", "organization_id=org_01", "--store", store)
	w.must("vaultctl", "reencrypt", "--all", "--old-versions", "--store", store)
	if out := w.must("vaultctl", "verify", "--all", "--store", store).stdout; !strings.Contains(out, "2 objects, 3 versions, 3 readable") {
		t.Errorf("verify:\n%s", out)
	}
	w.must("vaultctl", "shred", "organization_id=org_02", "--yes", "--store", store, "--receipt", "r.json")
	w.must("vaultctl", "shred", "verify", filepath.Join(w.dir, "r.json"), "--store", store)
}
