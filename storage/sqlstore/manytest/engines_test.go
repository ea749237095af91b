package manytest

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/etcdstore"
	"github.com/embedvault/vault/storage/sqlstore"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/mariaserver"
	"github.com/embedvault/vault/storage/sqlstore/sqltest/pgserver"
)

// engine is a database that processes share.
type engine struct {
	name string

	// open opens it, in any process.
	open func(target string) (storage.Store, func() error, error)

	// database makes an empty one, which stays as long as the server does.
	database func(t *testing.T) database
}

// database is one database of a server that a test can harm.
type database struct {
	target string // for engine.open

	// crash takes the server away, or a part of it, with no warning; how says
	// which of its ways to use. start brings it back.
	crash func(how int) error
	start func() error
}

var engines = []engine{
	{name: "postgres", open: openPostgres, database: newPostgres},
	{name: "mariadb", open: openMaria, database: newMaria},
	{name: "etcd", open: openEtcd, database: newEtcd},
}

func engineNamed(name string) (engine, bool) {
	i := slices.IndexFunc(engines, func(e engine) bool { return e.name == name })
	if i < 0 {
		return engine{}, false
	}
	return engines[i], true
}

// each runs a test on every engine, or on those with these names. SQL's wait at
// the same time; etcd, which works in this process, needs it for itself.
func each(t *testing.T, f func(t *testing.T, e engine), names ...string) {
	for _, e := range engines {
		if len(names) == 0 || slices.Contains(names, e.name) {
			t.Run(e.name, func(t *testing.T) {
				if e.name != "etcd" {
					t.Parallel()
				}
				f(t, e)
			})
		}
	}
}

// poolSize is how many connections a process has at most.
const poolSize = 6

func openSQL(driver string, d sqlstore.Dialect, target string, conns int) (storage.Store, *sql.DB, error) {
	db, err := sql.Open(driver, target)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	s, err := sqlstore.New(db, d)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return s, db, nil
}

func openMigrated(driver string, d sqlstore.Dialect, target string) (storage.Store, func() error, error) {
	s, db, err := openSQL(driver, d, target, poolSize)
	if err != nil {
		return nil, nil, err
	}
	if err := migrated(s.(*sqlstore.Store)); err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return s, db.Close, nil
}

func openPostgres(target string) (storage.Store, func() error, error) {
	return openMigrated("pgx", sqlstore.PostgreSQL, target)
}

func openMaria(target string) (storage.Store, func() error, error) {
	return openMigrated("mysql", sqlstore.MySQL, target)
}

func openEtcd(target string) (storage.Store, func() error, error) {
	endpoints, prefix, _ := strings.Cut(target, " ")
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(endpoints, ","), Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
	if err != nil {
		return nil, nil, err
	}
	s, err := etcdstore.New(client, etcdstore.Options{Prefix: prefix})
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return s, client.Close, nil
}

// once is a server that all tests of this process use.
type once[S any] struct {
	mu   sync.Mutex
	done bool
	s    S
	err  error
	n    int // counts databases, where the server doesn't
}

// get starts it, if that wasn't done yet. Where its programs are missing the
// test is skipped.
func (o *once[S]) get(t *testing.T, missing error, start func() (S, error)) S {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.done {
		o.s, o.err = start()
		o.done = true
	}
	if missing != nil && errors.Is(o.err, missing) && os.Getenv("VAULT_TEST_REQUIRE") != "1" {
		t.Skip(o.err)
	}
	must(t, o.err)
	return o.s
}

var (
	postgres once[*pgserver.Server]
	maria    once[*mariaserver.Server]
	etcd     once[*cluster]
)

func closeServers() {
	if postgres.s != nil {
		postgres.s.Close()
	}
	if maria.s != nil {
		maria.s.Close()
	}
	if etcd.s != nil {
		etcd.s.close()
	}
}

// Servers sync their disks: they are killed.

func postgresServer(t *testing.T) *pgserver.Server {
	t.Helper()
	return postgres.get(t, pgserver.ErrMissing, func() (*pgserver.Server, error) { return pgserver.New(pgserver.Options{Durable: true}) })
}

func mariaServer(t *testing.T) *mariaserver.Server {
	t.Helper()
	return maria.get(t, mariaserver.ErrMissing, func() (*mariaserver.Server, error) { return mariaserver.New(mariaserver.Options{Durable: true}) })
}

func newPostgres(t *testing.T) database {
	t.Helper()
	s := postgresServer(t)
	target, err := s.NewDatabase(t.Context())
	must(t, err)
	return database{target, func(how int) error {
		if how%2 == 0 {
			return s.Crash()
		}
		return s.Kill()
	}, s.Start}
}

func newMaria(t *testing.T) database {
	t.Helper()
	s := mariaServer(t)
	target, err := s.NewDatabase(t.Context())
	must(t, err)
	return database{target, func(int) error { return s.Kill() }, s.Start}
}

// newEtcd is a prefix on three members. A crash takes the leader away, or one
// that follows.
func newEtcd(t *testing.T) database {
	t.Helper()
	c := etcd.get(t, nil, func() (*cluster, error) { return newCluster(3) })
	etcd.mu.Lock()
	etcd.n++
	prefix := fmt.Sprintf("many/%d/", etcd.n)
	etcd.mu.Unlock()
	away := 0
	return database{strings.Join(c.endpoints(), ",") + " " + prefix, func(how int) error {
		away = (c.leader() + how) % 3
		c.stop(away)
		return nil
	}, func() error { return c.start(away) }}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
