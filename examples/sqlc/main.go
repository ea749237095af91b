// Sqlc shows encrypted columns in an application on PostgreSQL, pgx and sqlc: it creates
// users, finds one by the e-mail address, lists them without decrypting, moves them to a
// new key and cuts off a tenant.
//
//	DATABASE_URL=postgres://… go run .
//
// It makes what it needs in that database, and the file root-keyset.json: use one that
// is for trying things out. users.go is what an application takes over, docs/FIELDS.md
// goes through it. The package db was written by sqlc, by
//
//	go generate ./...
package main

//go:generate env CGO_ENABLED=0 go tool -modfile=tools.mod sqlc generate

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/examples/sqlc/db"
	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage/pgxstore"
)

//go:embed sql/schema.sql
var schema string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv("DATABASE_URL"), "root-keyset.json", os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sqlc:", err)
		os.Exit(1)
	}
}

// run opens a vault whose keys are in the same database, and shows what can be done.
func run(ctx context.Context, url, keyset string, out io.Writer) error {
	if url == "" {
		return fmt.Errorf("set DATABASE_URL to a PostgreSQL database to try this in")
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	store, err := pgxstore.New(pool)
	if err != nil {
		return err
	}
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, "DROP TABLE IF EXISTS users; "+schema); err != nil {
		return err
	}
	root, err := tinkkek.LoadOrCreate(keyset)
	if err != nil {
		return err
	}
	v, err := vault.New(vault.Config{KEK: root, Store: store})
	if err != nil {
		return err
	}
	defer v.Close()
	a, err := newApp(v, pool)
	if err != nil {
		return err
	}
	return demo(ctx, a, out)
}

// demo is a day in the application's life.
func demo(ctx context.Context, a *app, out io.Writer) error {
	for _, u := range []newUser{
		{"acme", "Ann", "Ann@Example.org", "078-05-1120"},
		{"acme", "Bob", "bob@example.org", ""},
		{"globex", "Cyd", "cyd@example.org", "219-09-9999"},
	} {
		if _, err := a.create(ctx, u); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "three users are there, and the database has none of their addresses")

	ann, err := a.byEmail(ctx, "acme", "ann@example.org")
	if err != nil {
		return err
	}
	email, err := ann.Email.Open(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "found by the address: %s, who writes it %s; printed it is %v\n", ann.Name, email, ann.Email)

	if err := show(ctx, a, out, "a page of users, of which nothing was decrypted", func(u db.ListUsersRow) string {
		return fmt.Sprint(u.Email)
	}); err != nil {
		return err
	}

	moved, err := a.rotate(ctx, "acme")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "acme has a new key, and %d rows are under it; the index is as it was\n", moved)
	if _, err := a.byEmail(ctx, "acme", "ann@example.org"); err != nil {
		return err
	}

	if _, err := a.v.Disable(ctx, tenant("globex")); err != nil {
		return err
	}
	return show(ctx, a, out, "globex is cut off, and its rows still load", func(u db.ListUsersRow) string {
		email, err := u.Email.Open(ctx)
		if err != nil {
			return reason(err)
		}
		return email
	})
}

// show prints all users, page by page, in the order of their names.
func show(ctx context.Context, a *app, out io.Writer, title string, column func(db.ListUsersRow) string) error {
	fmt.Fprintln(out, title+":")
	for after := ""; ; {
		users, err := a.page(ctx, after, 2)
		if err != nil {
			return err
		}
		for _, u := range users {
			fmt.Fprintf(out, "  %-6s %-4s %s\n", u.OrgID, u.Name, column(u))
			after = u.ID
		}
		if len(users) < 2 {
			return nil
		}
	}
}
