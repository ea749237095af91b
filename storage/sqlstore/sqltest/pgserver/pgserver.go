// Package pgserver runs a real PostgreSQL server for tests, in a throw-away
// directory and on a loopback port.
package pgserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // to see whether it is ready

	"github.com/embedvault/vault/storage/sqlstore/sqltest/internal/server"
)

// Options say how the server runs.
type Options struct {
	// Durable keeps fsync and all that on: for tests that kill the server. It is
	// off otherwise, for speed.
	Durable bool

	// Settings are more settings, such as "max_connections=20".
	Settings []string
}

// Server is a PostgreSQL server. Its methods are not for concurrent use.
type Server struct {
	dir  string
	bin  string
	port int
	opts Options
	p    *server.Process
	mu   sync.Mutex // guards dbs
	dbs  int
}

const account = "postgres" // of the operating system, and in the database

// Start starts a server, and stops it when the test ends. If PostgreSQL isn't
// installed the test is skipped, or fails with VAULT_TEST_REQUIRE=1.
func Start(t testing.TB, opts Options) *Server {
	t.Helper()
	s, err := New(opts)
	if errors.Is(err, ErrMissing) && os.Getenv("VAULT_TEST_REQUIRE") != "1" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// ErrMissing is matched when PostgreSQL isn't installed.
var ErrMissing = errors.New("PostgreSQL is not installed: .ci/servers, or apt-get install postgresql, installs it")

// New starts a server, for as long as the caller doesn't Close it.
func New(opts Options) (*Server, error) {
	initdb, err := server.Find("initdb", "/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin")
	if err != nil {
		return nil, fmt.Errorf("pgserver: %w: %w", ErrMissing, err)
	}
	s := &Server{bin: filepath.Dir(initdb), opts: opts}
	if s.dir, err = server.Dir(account); err != nil {
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	if err = s.fill(); err == nil {
		err = s.Start()
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	return s, nil
}

// template is a data directory after initdb, made once in a process.
var template struct {
	sync.Mutex
	data string
}

// fill makes the data directory: the first by initdb, others as its copies.
func (s *Server) fill() error {
	template.Lock()
	defer template.Unlock()
	if template.data != "" {
		if err := os.CopyFS(s.data(), os.DirFS(template.data)); err == nil {
			return errors.Join(os.Chmod(s.data(), 0o700), server.Own(s.dir, account))
		}
		_ = os.RemoveAll(s.data()) // whoever made it is gone: make it anew
	}
	cmd := server.As(account, filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", account, "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8")
	if err := server.Run(cmd); err != nil {
		return err
	}
	keep := s.data() + ".new"
	if err := os.CopyFS(keep, os.DirFS(s.data())); err != nil {
		return err
	}
	template.data = keep
	return nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Start starts the server again after Stop, Crash or Kill, on the same port.
// After a Kill the server's other processes may need a moment to notice, and
// until then it refuses: Start tries again.
func (s *Server) Start() error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := s.start()
		if err == nil || s.p == nil || !strings.Contains(s.p.Log(), "still in use") || time.Now().After(deadline) {
			return err
		}
	}
}

func (s *Server) start() error {
	var err error
	if s.port == 0 {
		if s.port, err = server.FreePort(); err != nil {
			return err
		}
	}
	args := []string{"-D", s.data(), "-k", s.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(s.port),
		"-c", "max_connections=200", "-c", "shared_buffers=64MB", "-c", "log_min_messages=fatal"}
	if !s.opts.Durable {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	for _, set := range s.opts.Settings {
		args = append(args, "-c", set)
	}
	s.p, err = server.Launch(server.As(account, filepath.Join(s.bin, "postgres"), args...))
	if err != nil {
		return err
	}
	return s.p.Ready(func(ctx context.Context) error {
		db, err := sql.Open("pgx", s.DSN())
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		return db.PingContext(ctx)
	})
}

// Stop ends connections, writes a checkpoint and stops (fast).
func (s *Server) Stop() error { return s.p.End(syscall.SIGINT) }

// Crash stops at once and without a checkpoint (immediate): the next start
// recovers from the log.
func (s *Server) Crash() error { return s.p.End(syscall.SIGQUIT) }

// Kill kills the server's first process (kill -9). The others notice and end.
func (s *Server) Kill() error { return s.p.End(syscall.SIGKILL) }

// Log returns what the server wrote since it was started last.
func (s *Server) Log() string { return s.p.Log() }

// Port returns the TCP port on 127.0.0.1.
func (s *Server) Port() int { return s.port }

// DSN returns a URL for the database postgres, as its superuser.
func (s *Server) DSN() string { return s.dsn(account) }

func (s *Server) dsn(database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", account, s.port, database)
}

// NewDatabase makes an empty database and returns its URL.
func (s *Server) NewDatabase(ctx context.Context) (string, error) {
	s.mu.Lock()
	s.dbs++
	name := fmt.Sprintf("test%d", s.dbs)
	s.mu.Unlock()
	db, err := sql.Open("pgx", s.DSN())
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	return s.dsn(name), nil
}

// Close stops the server and removes its directory.
func (s *Server) Close() {
	if s.p != nil {
		_ = s.p.End(syscall.SIGINT)
	}
	_ = os.RemoveAll(s.dir)
}
