// Package mariaserver runs a real MariaDB server for tests, in a throw-away
// directory and on a loopback port.
package mariaserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"

	_ "github.com/go-sql-driver/mysql" // to see whether it is ready

	"github.com/embedvault/vault/storage/sqlstore/sqltest/internal/server"
)

// Options say how the server runs.
type Options struct {
	// Durable keeps flushing at each commit on: for tests that kill the server.
	// It is off otherwise, for speed.
	Durable bool

	// Settings are more options, such as "max-allowed-packet=16M".
	Settings []string
}

// Server is a MariaDB server. Its methods are not for concurrent use.
type Server struct {
	dir  string
	bin  string
	port int
	opts Options
	p    *server.Process
	mu   sync.Mutex // guards dbs
	dbs  int
}

const account = "mysql" // of the operating system

// Start starts a server, and stops it when the test ends. If MariaDB isn't
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

// ErrMissing is matched when MariaDB isn't installed.
var ErrMissing = errors.New("MariaDB is not installed: .ci/servers, or apt-get install mariadb-server, installs it")

// New starts a server, for as long as the caller doesn't Close it.
func New(opts Options) (*Server, error) {
	bin, err := server.Find("mariadbd", "/usr/sbin", "/usr/local/sbin")
	if err != nil {
		return nil, fmt.Errorf("mariaserver: %w: %w", ErrMissing, err)
	}
	s := &Server{bin: bin, opts: opts}
	if s.dir, err = server.Dir(account); err != nil {
		return nil, fmt.Errorf("mariaserver: %w", err)
	}
	if err = s.fill(); err == nil {
		err = s.Start()
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("mariaserver: %w", err)
	}
	return s, nil
}

// template is a data directory after mariadb-install-db, made once in a process.
var template struct {
	sync.Mutex
	data string
}

// fill makes the data directory: the first by mariadb-install-db, others as its
// copies.
func (s *Server) fill() error {
	template.Lock()
	defer template.Unlock()
	if template.data != "" {
		if err := os.CopyFS(s.data(), os.DirFS(template.data)); err == nil {
			return server.Own(s.dir, account)
		}
		_ = os.RemoveAll(s.data()) // whoever made it is gone: make it anew
	}
	install, err := server.Find("mariadb-install-db", "/usr/bin", "/usr/local/bin")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	cmd := server.As(account, install, "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--datadir="+s.data())
	cmd.Dir = s.dir
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

// Start starts the server again after Stop or Kill, on the same port.
func (s *Server) Start() error {
	var err error
	if s.port == 0 {
		if s.port, err = server.FreePort(); err != nil {
			return err
		}
	}
	args := []string{"--no-defaults", "--datadir=" + s.data(), "--socket=" + filepath.Join(s.dir, "sock"), "--pid-file=" + filepath.Join(s.dir, "pid"),
		"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(s.port), "--max-connections=300", "--innodb-buffer-pool-size=128M", "--max-allowed-packet=64M"}
	if !s.opts.Durable {
		args = append(args, "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--skip-innodb-doublewrite")
	}
	for _, set := range s.opts.Settings {
		args = append(args, "--"+set)
	}
	cmd := server.As(account, s.bin, args...)
	cmd.Dir = s.dir
	if s.p, err = server.Launch(cmd); err != nil {
		return err
	}
	return s.p.Ready(func(ctx context.Context) error {
		db, err := sql.Open("mysql", s.DSN())
		if err != nil {
			return err
		}
		defer func() { _ = db.Close() }()
		return db.PingContext(ctx)
	})
}

// Stop shuts the server down properly.
func (s *Server) Stop() error { return s.p.End(syscall.SIGTERM) }

// Kill kills the server (kill -9): the next start recovers from the log.
func (s *Server) Kill() error { return s.p.End(syscall.SIGKILL) }

// Log returns what the server wrote since it was started last.
func (s *Server) Log() string { return s.p.Log() }

// Port returns the TCP port on 127.0.0.1.
func (s *Server) Port() int { return s.port }

// DSN returns a data source name for go-sql-driver, as root and in no database.
func (s *Server) DSN() string { return s.dsn("") }

func (s *Server) dsn(database string) string {
	return fmt.Sprintf("root@tcp(127.0.0.1:%d)/%s", s.port, database)
}

// NewDatabase makes an empty database and returns its data source name, to
// which ?name=value may be added.
func (s *Server) NewDatabase(ctx context.Context) (string, error) {
	s.mu.Lock()
	s.dbs++
	name := fmt.Sprintf("test%d", s.dbs)
	s.mu.Unlock()
	db, err := sql.Open("mysql", s.DSN())
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
		_ = s.p.End(syscall.SIGTERM)
	}
	_ = os.RemoveAll(s.dir)
}
