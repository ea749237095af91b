package manytest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// cluster is etcd itself, some members of it, in this process. It is not for
// concurrent use.
type cluster struct {
	dir     string
	configs []*embed.Config
	members []*embed.Etcd // nil: stopped
}

// newCluster starts n members, whose disks are synced.
func newCluster(n int) (*cluster, error) {
	dir, err := os.MkdirTemp("", "manytest-etcd-")
	if err != nil {
		return nil, err
	}
	c := &cluster{dir: dir, members: make([]*embed.Etcd, n)}
	var initial []string
	var all []int
	for i := range n {
		cfg, err := memberConfig(dir, fmt.Sprint("m", i))
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		initial = append(initial, cfg.Name+"="+cfg.AdvertisePeerUrls[0].String())
		c.configs = append(c.configs, cfg)
		all = append(all, i)
	}
	for _, cfg := range c.configs {
		cfg.InitialCluster = strings.Join(initial, ",")
	}
	if err := c.start(all...); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func memberConfig(dir, name string) (*embed.Config, error) {
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = name, filepath.Join(dir, name)
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
	return cfg, nil
}

// freeAddress returns an address on which nothing listens.
func freeAddress() (url.URL, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return url.URL{}, err
	}
	defer func() { _ = l.Close() }()
	return url.URL{Scheme: "http", Host: l.Addr().String()}, nil
}

// start starts members, and waits until they take part.
func (c *cluster) start(which ...int) error {
	errs := make([]error, len(which))
	var wg sync.WaitGroup
	for n, i := range which {
		wg.Go(func() { errs[n] = c.startOne(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *cluster) startOne(i int) error {
	m, err := embed.StartEtcd(c.configs[i])
	if err != nil {
		return err
	}
	c.members[i] = m
	select {
	case <-m.Server.ReadyNotify():
		return nil
	case <-time.After(30 * time.Second):
		return fmt.Errorf("member %d doesn't get ready", i)
	}
}

func (c *cluster) stop(i int) {
	if m := c.members[i]; m != nil {
		c.members[i] = nil
		m.Close()
	}
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

func (c *cluster) endpoints() (out []string) {
	for _, cfg := range c.configs {
		out = append(out, cfg.ListenClientUrls[0].String())
	}
	return out
}

// close stops all members, at the same time: each waits for the others a while.
func (c *cluster) close() {
	var wg sync.WaitGroup
	for i := range c.members {
		wg.Go(func() { c.stop(i) })
	}
	wg.Wait()
	_ = os.RemoveAll(c.dir)
}
