package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/embedvault/vault/storage"
)

// driver is the name in this store's cursors and errors.
const driver = "etcdstore"

const (
	// DefaultPrefix starts all keys, if nothing else is chosen.
	DefaultPrefix = "vault/"

	// DefaultMaxRequestBytes is the largest request that etcd takes, unless it
	// was started with another --max-request-bytes.
	DefaultMaxRequestBytes = 1536 << 10

	maxPrefixLen       = 128
	minMaxRequestBytes = 256 << 10

	// DefaultRequestTimeout is longer than etcd itself takes to give up on a
	// request that finds no quorum.
	DefaultRequestTimeout = 15 * time.Second
)

// Options are what can be chosen.
type Options struct {
	// Prefix starts all keys of the store; "" means [DefaultPrefix]. It is 1 to
	// 128 of the letters a–z and A–Z, digits, '.', '_', '-' and '/', and ends
	// with '/'. Stores with different prefixes have nothing in common, also where
	// one prefix starts with the other.
	Prefix string

	// MaxRequestBytes is the cluster's --max-request-bytes; 0 means
	// [DefaultMaxRequestBytes]. At least 256 KiB.
	MaxRequestBytes int

	// RequestTimeout is how long one request may take, of the one to four that
	// most calls make, whatever the caller's ctx says: the client waits for ever
	// if no member can be reached. 0 means [DefaultRequestTimeout]. What fails
	// earlier as a member is away is asked again for three seconds.
	RequestTimeout time.Duration
}

// Store is a store in etcd. It is safe for concurrent use. Make one with [New].
// It has nothing to close.
//
// What is in etcd, key by key (‖ is concatenation, integers are big endian,
// part is u16 length ‖ bytes, records are in the form of package storage's
// codec). All keys start with prefix ‖ 0x01, then:
//
//	'o' ‖ context hash (32) ‖ name                   → row of the current version
//	'h' ‖ object ID (16) ‖ ~u64 number               → row of an older version
//	'b' ‖ object ID ‖ u64 number                     → envelope that is not in its row
//	'm' ‖ object ID ‖ u64 number                     → version ID ‖ key ID; every version
//	'v' ‖ object ID ‖ version ID                     → u64 number; every version
//	'i' ‖ object ID                                  → context hash ‖ name
//	'O' ‖ ~context hash ‖ ~name                      → name
//	'u' ‖ context hash ‖ i64 updated at ‖ object ID  → name
//	'U' ‖ ~(context hash ‖ i64 updated at ‖ object ID) → name
//	'k' ‖ key ID ‖ object ID ‖ u64 number            → context hash ‖ name; every version
//	'e' ‖ part namespace ‖ i64 expires at ‖ object ID → context hash ‖ name; current versions that expire
//	'n' ‖ part namespace ‖ name                      → object ID ‖ context hash, of a unique name
//	'j' ‖ object ID                                  → u64 number; versions up to it are debris
//	'c' ‖ pair token (16) ‖ context hash             → nothing; contexts that have objects
//	'd' ‖ pair token ‖ ~context hash                 → nothing; the same, backwards
//	'w' ‖ context hash ‖ u8 purpose ‖ u32 version    → key record
//	'K' ‖ key ID                                     → context hash ‖ u8 purpose ‖ u32 version
//	'P' ‖ parent ID ‖ context hash ‖ u8 purpose ‖ u32 version → nothing; keys that have a parent
//	'C' ‖ pair token ‖ context hash                  → nothing; contexts that have keys
//	's' ‖ name                                       → u8 0x31 ‖ value of a system record
//
// A row is
//
//	u8 0x41 ‖ u8 flags (bit 0: the envelope is in 'b') ‖ u64 how many versions
//	the object has ‖ u32 length of the envelope in 'b' ‖ object record
//
// where the number of versions counts for the current version's row only, and
// an envelope of more than 4 KiB is not in the row: so that lists don't read it,
// and a version that becomes an older one doesn't write it again.
//
// etcd reads ranges forwards only, so what is listed backwards has an entry of
// its own in which all bytes are turned (~; a name's end is then marked by
// 0xff 0xff, and its byte 0xff stands as 0xff 0x00). An i64 has its sign bit
// turned so that its bytes sort as it does. A pair token is the start of a hash
// of one pair of a context, its namespace counting as a pair whether it has one
// or not, or of no pair, for all contexts: what is found through it is checked
// again. The revision of a system record is etcd's mod revision.
type Store struct {
	client     *clientv3.Client
	base       string
	maxRequest int
	timeout    time.Duration
	decoder    storage.Decoder
}

var _ storage.Store = (*Store)(nil)

// New returns the store on this client. It does no I/O: [Store.Ping] tells
// whether etcd can be reached. At most one Options is taken.
func New(client *clientv3.Client, opts ...Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("etcdstore: no client")
	}
	if len(opts) > 1 {
		return nil, errors.New("etcdstore: more than one Options")
	}
	var o Options
	if len(opts) == 1 {
		o = opts[0]
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if err := checkPrefix(o.Prefix); err != nil {
		return nil, err
	}
	switch {
	case o.MaxRequestBytes == 0:
		o.MaxRequestBytes = DefaultMaxRequestBytes
	case o.MaxRequestBytes < minMaxRequestBytes:
		return nil, fmt.Errorf("etcdstore: Options.MaxRequestBytes is %d, at least %d are needed", o.MaxRequestBytes, minMaxRequestBytes)
	}
	switch {
	case o.RequestTimeout == 0:
		o.RequestTimeout = DefaultRequestTimeout
	case o.RequestTimeout < 0:
		return nil, fmt.Errorf("etcdstore: Options.RequestTimeout is %v", o.RequestTimeout)
	}
	return &Store{client: client, base: o.Prefix + layoutVersion, maxRequest: o.MaxRequestBytes, timeout: o.RequestTimeout}, nil
}

func checkPrefix(p string) error {
	if len(p) > maxPrefixLen {
		return fmt.Errorf("etcdstore: Options.Prefix has %d bytes, at most %d are allowed", len(p), maxPrefixLen)
	}
	for i := range len(p) {
		c := p[i]
		ok := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-' || c == '/'
		if !ok {
			return fmt.Errorf("etcdstore: Options.Prefix has the byte %#02x", c)
		}
	}
	if p[len(p)-1] != '/' {
		return errors.New("etcdstore: Options.Prefix doesn't end with '/'")
	}
	return nil
}

// Ping implements [storage.Store]. It takes a quorum to answer.
func (s *Store) Ping(ctx context.Context) error {
	return s.view(ctx, "ping", func(r *snap) error {
		_, err := r.get(s.base)
		return err
	})
}
