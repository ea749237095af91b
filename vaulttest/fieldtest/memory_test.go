package fieldtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

var (
	errTaken = errors.New("memory: the ID is taken")
	errLost  = errors.New("memory: the connection is lost")
	errNone  = errors.New("memory: no such row")
	errSQL   = errors.New("memory: that isn't SQL")
)

type row = map[string][]byte

// memory is a database in memory.
type memory struct {
	mu     sync.Mutex // guards the rest
	tables map[string]map[string]row
	dead   bool // the next statement fails
	epoch  int  // of connections
	log    strings.Builder
}

func newMemory() *memory {
	return &memory{tables: map[string]map[string]row{"patients": {}, "visits": {}}}
}

func (m *memory) Rows(_ context.Context, table string) ([]row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return sorted(m.tables[table]), nil
}

func sorted(rows map[string]row) []row {
	out := []row{}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		out = append(out, maps.Clone(rows[id]))
	}
	return out
}

func (m *memory) Set(_ context.Context, table, id, column string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tables[table][id][column] = value
	return nil
}

// conn is a connection, in a transaction if own is not nil.
type conn struct {
	*memory
	own   map[string]map[string]row
	epoch int
}

func (c *conn) data() map[string]map[string]row {
	if c.own != nil {
		return c.own
	}
	return c.tables
}

// run runs a statement, and logs it.
func (c *conn) run(ctx context.Context, statement string, args any, f func(map[string]map[string]row) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintf(&c.log, "%s %+v\n", statement, args)
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.dead || c.own != nil && c.epoch != c.memory.epoch {
		c.dead = false
		return errLost
	}
	return f(c.data())
}

func (c *conn) insert(ctx context.Context, table string, r row, replace bool, args any) error {
	return c.run(ctx, "INSERT INTO "+table, args, func(t map[string]map[string]row) error {
		id := string(r["id"])
		if t[table][id] != nil && !replace {
			return errTaken
		}
		t[table][id] = maps.Clone(r)
		return nil
	})
}

func (c *conn) update(ctx context.Context, table, id string, set row, args any) error {
	return c.run(ctx, "UPDATE "+table, args, func(t map[string]map[string]row) error {
		if t[table][id] == nil {
			return errNone
		}
		maps.Copy(t[table][id], set)
		return nil
	})
}

// query returns the rows that match, in order.
func (c *conn) query(ctx context.Context, table string, match func(row) bool) (out []row, err error) {
	err = c.run(ctx, "SELECT FROM "+table, nil, func(t map[string]map[string]row) error {
		out = slices.DeleteFunc(sorted(t[table]), func(r row) bool { return !match(r) })
		return nil
	})
	return out, err
}

func (c *conn) delete(ctx context.Context, table string, match func(row) bool) error {
	return c.run(ctx, "DELETE FROM "+table, nil, func(t map[string]map[string]row) error {
		maps.DeleteFunc(t[table], func(_ string, r row) bool { return match(r) })
		return nil
	})
}

// begin returns a connection in a transaction.
func (c *conn) begin() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := map[string]map[string]row{}
	for name, rows := range c.tables {
		own[name] = map[string]row{}
		for id, r := range rows {
			own[name][id] = maps.Clone(r)
		}
	}
	return &conn{c.memory, own, c.memory.epoch}
}

func (c *conn) commit() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != c.memory.epoch {
		return errLost
	}
	c.tables = c.own
	return nil
}

func (m *memory) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	m.epoch++
}

func (m *memory) logs() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.String()
}
