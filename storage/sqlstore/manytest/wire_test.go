package manytest

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek/memkek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
	"github.com/embedvault/vault/storage/sqlstore"
	"github.com/embedvault/vault/storage/sqlstore/manytest/wire"
)

// wired are the engines that are reached through the proxy.
var wired = []string{"postgres", "mariadb"}

var address = regexp.MustCompile(`127\.0\.0\.1:\d+`)

// throughProxy puts a proxy before a database.
func throughProxy(t *testing.T, target string) (*wire.Proxy, string) {
	t.Helper()
	p, err := wire.Listen(address.FindString(target))
	must(t, err)
	t.Cleanup(p.Close)
	return p, address.ReplaceAllString(target, p.Addr().String())
}

// TestWireFaults has 8 processes work while the network cuts, resets, delays,
// refuses and swallows: no call outlives its ctx, and nothing that was
// acknowledged is lost.
func TestWireFaults(t *testing.T) {
	each(t, func(t *testing.T, e engine) {
		db := e.database(t)
		direct := db.target
		var p *wire.Proxy
		p, db.target = throughProxy(t, direct)
		c := newCrewOn(t, e, db, time.Second)
		c.progress("before", 3)
		c.mark(saysDown)
		for end := time.Now().Add(lasting(3 * time.Second)); time.Now().Before(end); {
			time.Sleep(time.Duration(c.rand.IntN(200)) * time.Millisecond)
			c.storm(p)
		}
		c.progress("afterwards", 3)
		time.Sleep(time.Second)
		c.mark(saysSettled)
		c.progress("at last", 3)
		c.someOfAll()
		c.stop()
		verify(t, e, direct, c.dir, c.heard)
	}, wired...)
}

// storm does one harm, and makes it good again.
func (c *crew) storm(p *wire.Proxy) {
	long := time.Duration(100+c.rand.IntN(1500)) * time.Millisecond // calls have a second
	switch c.rand.IntN(6) {
	case 0:
		p.Cut()
	case 1:
		p.Reset()
	case 2:
		p.Refuse(true)
		p.Cut()
		time.Sleep(long / 3)
		p.Refuse(false)
	case 3:
		p.Delay(long / 5)
		time.Sleep(long)
		p.Delay(0)
	case 4: // what was on its way arrives late
		p.Hole()
		time.Sleep(long)
		p.Lift()
	case 5: // or never
		p.Hole()
		time.Sleep(long)
		p.Reset()
		p.Lift()
	}
}

// client is a vault behind the proxy, and a store that goes around it.
type client struct {
	proxy  *wire.Proxy
	vault  *vault.Vault
	store  *sqlstore.Store
	pool   *sql.DB
	direct storage.Store
	other  *vault.Vault // on direct
}

var drivers = map[string]struct {
	name    string
	dialect sqlstore.Dialect
}{"postgres": {"pgx", sqlstore.PostgreSQL}, "mariadb": {"mysql", sqlstore.MySQL}}

func newClient(t *testing.T, e engine) *client {
	t.Helper()
	db := e.database(t)
	direct, closeDirect, err := e.open(db.target)
	must(t, err)
	p, target := throughProxy(t, db.target)
	s, pool, err := openSQL(drivers[e.name].name, drivers[e.name].dialect, target, 20)
	must(t, err)
	kek := memkek.New("wire")
	v, err := vault.New(vault.Config{KEK: kek, Store: s, Namespace: namespace})
	must(t, err)
	other, err := vault.New(vault.Config{KEK: kek, Store: direct, Namespace: namespace})
	must(t, err)
	t.Cleanup(func() {
		p.Reset() // whatever hangs
		must(t, v.Close())
		must(t, other.Close())
		_ = pool.Close() // of connections that were reset
		must(t, closeDirect())
	})
	return &client{p, v, s.(*sqlstore.Store), pool, direct, other}
}

// A call is one of those that a network can harm.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// calls are of all kinds. What they need is there; round makes them new each
// time.
func (c *client) calls(t *testing.T, round string) []call {
	t.Helper()
	ctx := t.Context()
	kc := contextOf(0)
	for _, name := range []string{"there", "goes-" + round} {
		_, err := c.other.Put(ctx, kc, name, []byte("v"))
		must(t, err)
	}
	at, err := c.other.Describe(ctx, kc, "there")
	must(t, err)
	fresh := func(what string) vault.KeyContext {
		return vault.KeyContext{"organization_id": "org_" + round + "_" + what}
	}
	return []call{
		{"ping", c.store.Ping},
		{"migrate", c.store.Migrate},
		{"put", func(ctx context.Context) error { return errOf(c.vault.Put(ctx, kc, "new-"+round, []byte("v"))) }},
		{"put again", func(ctx context.Context) error { return errOf(c.vault.Put(ctx, kc, "again", []byte("v"))) }},
		{"put if version", func(ctx context.Context) error {
			return errOf(c.vault.Put(ctx, kc, "there", []byte("v"), vault.IfVersion(at.VersionID)))
		}},
		{"get", func(ctx context.Context) error { return errOf(c.vault.Get(ctx, kc, "there")) }},
		{"describe", func(ctx context.Context) error { return errOf(c.vault.Describe(ctx, kc, "there")) }},
		{"delete", func(ctx context.Context) error { return c.vault.Delete(ctx, kc, "goes-"+round) }},
		{"list", func(ctx context.Context) error { return errOf(c.vault.ListPage(ctx, kc, vault.ListOptions{})) }},
		{"list keys", func(ctx context.Context) error {
			return errOf(c.store.ListKeys(ctx, storage.KeyQuery{Contexts: everything}))
		}},
		{"prepare", func(ctx context.Context) error { return c.vault.Prepare(ctx, fresh("p")) }},
		{"encrypt", func(ctx context.Context) error { return errOf(c.vault.Encrypt(ctx, fresh("e"), []byte("v"), nil)) }},
		{"rotate", func(ctx context.Context) error { return c.vault.Rotate(ctx, kc) }},
		{"count", func(ctx context.Context) error { return errOf(c.store.CountByKey(ctx, at.KeyID)) }},
		{"latest key", func(ctx context.Context) error { return errOf(c.store.LatestKey(ctx, hashOf(0), keyctx.PurposeData)) }},
		{"system", func(ctx context.Context) error {
			return errOf(c.store.PutSystem(ctx, storage.SystemRecord{Name: "r-" + round, Value: []byte("v")}))
		}},
	}
}

func errOf[T any](_ T, err error) error { return err }

// TestWireCalls has calls of all kinds meet each fault at the same time: they
// end with their ctx, and say what it was; and all is well when it is over.
func TestWireCalls(t *testing.T) {
	const timeout = 300 * time.Millisecond
	faults := []struct {
		name  string
		do    func(p *wire.Proxy)
		fatal bool // no call can succeed
	}{
		{"hole", (*wire.Proxy).Hole, true},
		{"hole without connections", func(p *wire.Proxy) { p.Cut(); p.Hole() }, true},
		{"slow", func(p *wire.Proxy) { p.Delay(2 * timeout) }, true},
		{"refused", func(p *wire.Proxy) { p.Refuse(true); p.Cut() }, true},
		{"reset", (*wire.Proxy).Reset, false},
		{"cut", (*wire.Proxy).Cut, false},
		{"cut, again and again", func(p *wire.Proxy) {
			for range 5 {
				p.Cut()
				time.Sleep(timeout / 20)
			}
		}, false},
	}
	each(t, func(t *testing.T, e engine) {
		c := newClient(t, e)
		for i, f := range faults {
			calls := c.calls(t, fmt.Sprint(i))
			c.warm(t, len(calls))
			var wg sync.WaitGroup
			f.do(c.proxy)
			for _, call := range calls {
				wg.Go(func() {
					err := ends(t, f.name+": "+call.name, timeout, c.proxy, call.do)
					if f.fatal && err == nil || err != nil && !isFault(classOf(err)) {
						t.Errorf("%s: %s: %s: %v", f.name, call.name, classOf(err), err)
					}
				})
			}
			wg.Wait()
			c.proxy.Delay(0)
			c.proxy.Refuse(false)
			c.proxy.Reset()
			c.proxy.Lift()
			for _, call := range c.calls(t, fmt.Sprint(i, "-after")) {
				c.recovers(t, f.name+": "+call.name, call.do)
			}
		}
	}, wired...)
}

// warm makes this many connections, which then wait in the pool.
func (c *client) warm(t *testing.T, n int) {
	t.Helper()
	var conns []*sql.Conn
	for range n {
		conn, err := c.pool.Conn(t.Context())
		must(t, err)
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		must(t, conn.Close())
	}
}

// ends runs a call with a ctx that ends after a while, and fails if the call
// doesn't end with it.
func ends(t *testing.T, what string, timeout time.Duration, p *wire.Proxy, do func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- do(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-time.After(timeout + slack):
		t.Errorf("%s: it doesn't end with its ctx", what)
		p.Reset() // so that it does
		return <-ended
	}
}

// recovers runs a call until it succeeds: the pool may have connections yet that
// are gone.
func (c *client) recovers(t *testing.T, what string, do func(context.Context) error) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := do(ctx)
		cancel()
		if err == nil {
			return
		}
		if !isFault(classOf(err)) || time.Now().After(end) {
			t.Errorf("%s: afterwards: %s: %v", what, classOf(err), err)
			return
		}
	}
}
