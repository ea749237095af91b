// Webapp is a small service for several organisations, as one would run it: each
// gives it the API key of its payment provider, and has it make payments with that
// key. It shows secrets and the application's own rows in one transaction.
//
//	go run ./examples/webapp                     # SQLite, leaves nothing behind
//	go run ./examples/webapp -dir ./webapp-data  # SQLite, keeps its data
//	DATABASE_URL=postgres://… VAULT_KEYSET=root-keyset.json go run ./examples/webapp
//
// It prints lines to try. Without PROVIDER_URL it is its own payment provider.
//
// What to read first: payments.go (a secret is used), integrations.go (a secret is
// stored), transaction.go (what both rest on), auth.go (whose secret it is).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg := config{
		databaseURL: os.Getenv("DATABASE_URL"),
		keyset:      os.Getenv("VAULT_KEYSET"),
		provider:    os.Getenv("PROVIDER_URL"),
		log:         slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	}
	addr := flag.String("addr", "127.0.0.1:8080", "listen on this address")
	flag.StringVar(&cfg.dir, "dir", "", "keep the SQLite database and the keyset in this folder")
	flag.Parse()
	if err := run(ctx, cfg, *addr, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, cfg config, addr string, out io.Writer) (err error) {
	if cfg.dir == "" {
		if cfg.databaseURL != "" && cfg.keyset == "" {
			return errors.New("with DATABASE_URL set VAULT_KEYSET or -dir: the key must live as long as the database")
		}
		if cfg.dir, err = os.MkdirTemp("", "webapp-"); err != nil {
			return err
		}
		defer os.RemoveAll(cfg.dir)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer listener.Close() // Serve closes it too
	if cfg.provider == "" {
		demo, err := startDemoProvider()
		if err != nil {
			return err
		}
		defer demo.Close()
		cfg.provider = demo.url
	}
	a, err := newApp(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.printTryIt(ctx, out, "http://"+listener.Addr().String()); err != nil {
		return err
	}
	return serve(ctx, a, listener)
}

// grace is how long requests under way may take once the program has been told to
// stop.
const grace = 20 * time.Second

// serve answers requests until ctx ends, and then finishes those under way.
func serve(ctx context.Context, a *app, l net.Listener) error {
	srv := &http.Server{
		Handler:           a.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      60 * time.Second, // longer than a request's transaction and its call to the provider
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	a.log.Info("stopping")
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	return srv.Shutdown(late)
}
