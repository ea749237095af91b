package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/storage/sqlstore"
)

// config says where things are.
type config struct {
	databaseURL string // of PostgreSQL; "" is SQLite in dir
	dir         string // of what is kept in files
	keyset      string // the file with the root key; "" is one in dir, made if it isn't there
	provider    string // the URL of the payment provider
	log         *slog.Logger
}

// app is the application: one of each for the whole process.
type app struct {
	log      *slog.Logger
	db       *sql.DB
	store    *sqlstore.Store // on db
	vault    *vault.Vault    // on store
	provider *provider
}

// newApp opens the database and the vault in it, and brings all tables up to date.
func newApp(ctx context.Context, cfg config) (*app, error) {
	root, err := openKEK(cfg)
	if err != nil {
		return nil, err
	}
	db, dialect, err := openDatabase(cfg)
	if err != nil {
		return nil, err
	}
	a := &app{log: cfg.log, db: db, provider: newProvider(cfg.provider)}
	a.store, err = sqlstore.New(db, dialect)
	if err == nil {
		a.vault, err = vault.New(vault.Config{
			KEK:          root,
			Store:        a.store,
			KeepVersions: 3,                                 // of an API key that was replaced
			OnEvent:      vault.SlogSink(cfg.log.Handler()), // who did what; also of what is rolled back later
		})
	}
	if err == nil {
		err = a.migrate(ctx, dialect)
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// close ends it: the vault before the database that it is in.
func (a *app) close() error {
	if a.vault != nil {
		_ = a.vault.Close() // it never fails
	}
	return a.db.Close()
}

// routes says what is where. No path names the organisation: whose request it is
// the token says.
func (a *app) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", a.ready)
	mux.Handle("PUT /integration", a.forTenant(a.putIntegration))
	mux.Handle("GET /integration", a.forTenant(a.getIntegration))
	mux.Handle("DELETE /integration", a.forTenant(a.deleteIntegration))
	mux.Handle("POST /payments", a.forTenant(a.createPayment))
	mux.Handle("GET /payments/{id}", a.forTenant(a.getPayment))
	return a.logged(mux)
}

// ready makes a round trip to the database and to the root key's KMS. Don't make
// it the liveness probe: a KMS that is away for a while must not restart processes
// that serve from their caches.
func (a *app) ready(w http.ResponseWriter, r *http.Request) {
	if err := a.vault.Check(r.Context()); err != nil {
		a.log.Warn("not ready", "error", err)
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}
