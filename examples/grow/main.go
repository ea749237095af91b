// Grow shows the day on which one file and one process are not enough any more: a
// vault on bbolt moves to PostgreSQL.
//
//	go run ./examples/grow                      # to SQLite; makes a vault to move, and leaves nothing behind
//	go run ./examples/grow -dir ./vault-data    # moves the vault in this folder, and keeps it
//	DATABASE_URL=postgres://… go run ./examples/grow -dir ./vault-data
//
// The folder is as examples/quickstart makes it: root-keyset.json and vault.db. Keys
// and values move as they are, encrypted: nothing is decrypted or wrapped anew, and
// no KMS is asked. Interrupted or run twice, it goes on where it was. In the
// application one line changes: see vaults in check.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/embedvault/vault/kek/tinkkek"
	"github.com/embedvault/vault/storage/boltstore"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := config{databaseURL: os.Getenv("DATABASE_URL"), secrets: 200}
	flag.StringVar(&cfg.dir, "dir", "", "move the vault in this folder; one is made there if there is none")
	flag.Parse()
	if err := run(ctx, cfg, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "grow:", err)
		os.Exit(1)
	}
}

// config says what to move, and where to.
type config struct {
	dir         string // with the root key and the vault on bbolt
	databaseURL string // of PostgreSQL; "" is a SQLite file in dir
	secrets     int    // how many each organisation has in a vault that is made here
}

// run moves the vault.
func run(ctx context.Context, cfg config, out io.Writer) (err error) {
	dir := cfg.dir
	if dir == "" {
		if cfg.databaseURL != "" {
			return errors.New("with DATABASE_URL give -dir: what is moved there needs the root key in that folder")
		}
		if dir, err = os.MkdirTemp("", "grow-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := tinkkek.LoadOrCreate(filepath.Join(dir, "root-keyset.json"))
	if err != nil {
		return err
	}
	old, err := boltstore.Open(filepath.Join(dir, "vault.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	if err := fill(ctx, root, old, cfg.secrets, out); err != nil {
		return err
	}
	db, dialect, err := openDatabase(cfg.databaseURL, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	grown, err := openStore(ctx, db, dialect)
	if err != nil {
		return err
	}
	if err := move(ctx, grown, old, out); err != nil {
		return err
	}
	return check(ctx, root, old, grown, out)
}
