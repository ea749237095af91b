package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
)

// nowhere is a database that can't be reached.
type nowhere struct{}

func (nowhere) Connect(context.Context) (driver.Conn, error) { return nil, driver.ErrBadConn }
func (nowhere) Driver() driver.Driver                        { return nil }

// TestNew wants New to do no I/O, and to check its options.
func TestNew(t *testing.T) {
	db := sql.OpenDB(nowhere{})
	for _, o := range []sqlstore.Options{
		{TablePrefix: "Vault_"}, {TablePrefix: "a b"}, {TablePrefix: `a"`}, {TablePrefix: "é"}, {TablePrefix: strings.Repeat("a", 32)},
		{Schema: "a.b"}, {Schema: "a\n"}, {Schema: "1"},
	} {
		if _, err := sqlstore.New(db, sqlstore.PostgreSQL, o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if _, err := sqlstore.New(db, sqlstore.MySQL, sqlstore.Options{Schema: "a"}); err == nil {
		t.Error("a schema was taken for MySQL")
	}
	if _, err := sqlstore.New(db, 0); err == nil {
		t.Error("the zero dialect was taken")
	}
	s, err := sqlstore.New(db, sqlstore.PostgreSQL)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// TestSchemaIsWhole wants every column of every dialect to have a type, and a
// comment.
func TestSchemaIsWhole(t *testing.T) {
	for _, d := range []sqlstore.Dialect{sqlstore.PostgreSQL, sqlstore.MySQL, sqlstore.SQLite} {
		s, err := sqlstore.New(sql.OpenDB(nowhere{}), d)
		if err != nil {
			t.Fatal(err)
		}
		text := s.Schema()
		if n := strings.Count(text, "CREATE TABLE"); n != 7 || strings.Contains(text, "%!") || strings.Contains(text, "  ") {
			t.Errorf("%s: %d tables:\n%s", d, n, text)
		}
	}
}

func ExampleStore_Schema() {
	store, err := sqlstore.New(sql.OpenDB(nowhere{}), sqlstore.PostgreSQL, sqlstore.Options{Schema: "secrets"})
	if err != nil {
		fmt.Println(err)
		return
	}
	first, _, _ := strings.Cut(store.Schema(), "\n\n")
	fmt.Println(first)
	// Output: -- Tables of EmbedVault for PostgreSQL, version 1.
}
