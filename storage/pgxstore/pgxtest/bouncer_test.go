package pgxtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/pgxstore"
	"github.com/embedvault/vault/storage/storagetest"
)

var errNoBouncer = errors.New("PgBouncer is not installed")

// bouncer starts a real PgBouncer in transaction mode before the server of the
// tests, with so many connections to each database, for which clients wait so
// many seconds. It returns what makes a database and gives its URL through it.
func bouncer(t *testing.T, poolSize, patience int) func(testing.TB) string {
	t.Helper()
	srv := server(t)
	program, err := findBouncer()
	absent(t, err, errNoBouncer)
	dir, err := os.MkdirTemp("", "vault-pgbouncer-")
	noError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	noError(t, os.Chmod(dir, 0o755)) // it reads them as another user
	port := freePort(t)
	users, config := filepath.Join(dir, "users"), filepath.Join(dir, "pgbouncer.ini")
	noError(t, os.WriteFile(users, []byte(`"postgres" ""`+"\n"), 0o644))
	noError(t, os.WriteFile(config, fmt.Appendf(nil, `[databases]
* = host=127.0.0.1 port=%d user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = %d
max_client_conn = 500
query_wait_timeout = %d
server_idle_timeout = 2
`, srv.Port(), port, users, poolSize, patience), 0o644))
	launch(t, program, config)
	through := func(t testing.TB) string {
		u, err := url.Parse(database(t))
		noError(t, err)
		u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		return u.String()
	}
	ready(t, through(t))
	return through
}

func findBouncer() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoBouncer
}

// launch runs it until the test ends; it refuses root.
func launch(t *testing.T, program, config string) {
	t.Helper()
	cmd := exec.Command(program, config)
	if os.Getuid() == 0 {
		cmd = exec.Command("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", program, config)
	}
	noError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // ends at once
		_ = cmd.Wait()
	})
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	noError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func ready(t testing.TB, dsn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, dsn)
		if err == nil {
			_ = conn.Close(ctx)
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestStoreBehindPgBouncer runs the suite in transaction mode.
func TestStoreBehindPgBouncer(t *testing.T) {
	t.Parallel()
	through := bouncer(t, 8, 60)
	storagetest.Run(t, harness(through, mode(pgx.QueryExecModeExec)))
}

// TestBouncerSharesConnections has 16 goroutines on a pool of 16 connections,
// with three to the server: each call may meet another one, and finds nothing
// there of the call before.
func TestBouncerSharesConnections(t *testing.T) {
	t.Parallel()
	for _, m := range []pgx.QueryExecMode{pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		t.Run(m.String(), func(t *testing.T) {
			dsn := bouncer(t, 3, 60)(t)
			pool := open(t, dsn, mode(m), maxConns(16))
			s := on(t, pool)
			noError(t, s.Migrate(t.Context()))
			var wg sync.WaitGroup
			var mu sync.Mutex // guards pids
			pids := map[int32]bool{}
			for i := range 16 {
				wg.Go(func() {
					for j := range 10 {
						r := object(t, tenant(i%4), fmt.Sprintf("o%d-%d", i, j), unique)
						if _, err := s.PutObject(t.Context(), r, now); err != nil {
							t.Error(err)
						}
						if err := s.ImportVersion(t.Context(), object(t, tenant(i%4), r.Name+"-imported")); err != nil {
							t.Error(err)
						}
						if got, err := s.GetObject(t.Context(), ref(r)); err != nil || got.VersionID != r.VersionID {
							t.Error("another object came back", err)
						}
						var pid int32
						if err := pool.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
							t.Error(err)
						}
						mu.Lock()
						pids[pid] = true
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if len(pids) == 0 || len(pids) > 3 {
				t.Errorf("%d connections to the server", len(pids))
			}
		})
	}
}

// TestTxBehindPgBouncer has keys take a second connection to the server, and if
// there is none, PgBouncer's time-out end the wait.
func TestTxBehindPgBouncer(t *testing.T) {
	t.Parallel()
	for _, size := range []int{2, 1} {
		dsn := bouncer(t, size, 2)(t)
		pool := open(t, dsn, mode(pgx.QueryExecModeExec))
		s := on(t, pool)
		noError(t, s.Migrate(t.Context()))
		tx := begin(t, pool)
		ctx := s.WithTx(t.Context(), tx)
		_, err := s.PutObject(ctx, object(t, tenant(1), "a"), now)
		noError(t, err)
		k := key(t, tenant(2), 1)
		if size == 2 {
			noError(t, s.InsertKey(ctx, k))
		} else {
			err := s.InsertKey(ctx, k)
			wantErr(t, err, storage.ErrUnavailable)
			if errors.Is(err, pgxstore.ErrKeyInTx) {
				t.Error(err)
			}
		}
		noError(t, tx.Rollback(t.Context()))
		if has(t, s, object(t, tenant(1), "a")) {
			t.Error("an object outlived the rollback")
		}
		_, err = s.GetKey(t.Context(), k.KeyID)
		if size == 2 {
			noError(t, err)
		} else {
			wantErr(t, err, storage.ErrNotFound)
		}
	}
}
