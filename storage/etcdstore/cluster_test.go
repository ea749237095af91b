package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/embedvault/vault/storage/etcdstore"
)

// cluster is etcd itself, some members of it, in this process.
type cluster struct {
	configs []*embed.Config
	members []*embed.Etcd // nil: stopped
}

// freeAddress returns an address on which nothing listens. Its port is none that
// the system gives to outgoing connections: a client that dials a member that
// is stopped could be given that very port, and keep it.
func freeAddress() (url.URL, error) {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 20_000+rand.IntN(12_000)))
		if err == nil {
			defer l.Close()
			return url.URL{Scheme: "http", Host: l.Addr().String()}, nil
		}
	}
	return url.URL{}, errors.New("no free port")
}

// newCluster starts n members. change may change their configuration.
func newCluster(dir string, n int, change func(*embed.Config)) (*cluster, error) {
	c := &cluster{members: make([]*embed.Etcd, n)}
	var initial []string
	for i := range n {
		cfg := embed.NewConfig()
		cfg.Name = fmt.Sprint("m", i)
		cfg.Dir = filepath.Join(dir, cfg.Name)
		cfg.TickMs, cfg.ElectionMs = 50, 500
		cfg.EnableGRPCGateway = false // nobody asks it, and its logger is global
		cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
		peer, err := freeAddress()
		if err != nil {
			return nil, err
		}
		client, err := freeAddress()
		if err != nil {
			return nil, err
		}
		cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
		initial = append(initial, cfg.Name+"="+peer.String())
		if change != nil {
			change(cfg)
		}
		c.configs = append(c.configs, cfg)
	}
	for _, cfg := range c.configs {
		cfg.InitialCluster = strings.Join(initial, ",")
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return c, c.start(all...)
}

// start starts members, and waits until they take part.
func (c *cluster) start(which ...int) error {
	errs := make([]error, len(which))
	var wg sync.WaitGroup
	for n, i := range which {
		wg.Go(func() {
			m, err := embed.StartEtcd(c.configs[i])
			if err == nil {
				c.members[i] = m
				select {
				case <-m.Server.ReadyNotify():
				case <-time.After(30 * time.Second):
					err = fmt.Errorf("member %d doesn't get ready", i)
				}
			}
			errs[n] = err
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			c.stop(which...)
			return err
		}
	}
	return nil
}

func (c *cluster) stop(which ...int) {
	var wg sync.WaitGroup
	for _, i := range which {
		if m := c.members[i]; m != nil {
			c.members[i] = nil
			wg.Go(m.Close)
		}
	}
	wg.Wait()
}

// stopAll stops all members at once, without looking for another leader.
func (c *cluster) stopAll() {
	var all []int
	for i, m := range c.members {
		if m != nil {
			m.Server.HardStop()
		}
		all = append(all, i)
	}
	c.stop(all...)
}

// leader returns the member that leads.
func (c *cluster) leader() int {
	for i, m := range c.members {
		if m != nil && m.Server.Leader() == m.Server.MemberID() {
			return i
		}
	}
	return 0
}

// client connects to members; none given: to all.
func (c *cluster) client(which ...int) (*clientv3.Client, error) {
	if len(which) == 0 {
		for i := range c.configs {
			which = append(which, i)
		}
	}
	var endpoints []string
	for _, i := range which {
		endpoints = append(endpoints, c.configs[i].ListenClientUrls[0].String())
	}
	return clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop(), DialTimeout: 5 * time.Second})
}

// shared starts the cluster of one that most tests run on, each under a prefix
// of its own: three members in one process would only take three times as long.
// It is started by the first test that wants it, not by TestMain: what runs
// beside testing.M.Run races with it.
var shared = sync.OnceValues(func() (*cluster, error) {
	dir, err := os.MkdirTemp("", "etcdstore")
	if err != nil {
		return nil, err
	}
	stopShared = append(stopShared, func() { os.RemoveAll(dir) })
	c, err := newCluster(dir, 1, unsynced)
	if err == nil {
		stopShared = append(stopShared, c.stopAll)
	}
	return c, err
})

var stopShared []func()

// unsynced is for members whose disks are not what is tested.
func unsynced(cfg *embed.Config) { cfg.UnsafeNoFsync = true }

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range slices.Backward(stopShared) {
		f()
	}
	os.Exit(code)
}

// connectShared connects to the shared cluster.
func connectShared(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := shared()
	if err != nil {
		t.Fatalf("etcd doesn't start: %v", err)
	}
	return connect(t, c)
}

func connect(t testing.TB, c *cluster, which ...int) *clientv3.Client {
	t.Helper()
	client, err := c.client(which...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() }) // a test may have closed it
	return client
}

var prefixes atomic.Int64

func newPrefix() string { return fmt.Sprintf("test/%d/", prefixes.Add(1)) }

func newStore(t testing.TB, client *clientv3.Client, o etcdstore.Options) *etcdstore.Store {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = newPrefix()
	}
	s, err := etcdstore.New(client, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// within runs f with a ctx that ends after d, and fails if f takes much longer.
func within(t *testing.T, d time.Duration, f func(ctx context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	err := f(ctx)
	if took := time.Since(start); took > d+5*time.Second {
		t.Errorf("it took %v, its ctx ended after %v", took, d)
	}
	return err
}
