package vault

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// Config configures a [Vault]. Zero fields mean the default that is named
// beside them. Exactly one of KEK and Policy is needed, nothing else.
type Config struct {
	// KEK wraps every context's keys.
	KEK kek.Wrapper

	// Policy chooses KEKs by context: customers who bring their own keys; or, with
	// [kek.Under], the key of a wider context, which needs a Store.
	Policy kek.Policy

	// Store keeps wrapped keys and objects. Without one every envelope carries
	// its own wrapped key, and calls about objects fail with ErrNoStore.
	Store storage.Store

	// Namespace separates applications that share KEKs or a database: it
	// becomes part of every context, so that none can read another's. It can't
	// be changed later without losing access to what was written before.
	Namespace string

	// Cache bounds the cache of unwrapped keys.
	Cache CacheConfig

	// RotateAfter is the age at which a context's key is rotated, at the latest, if it
	// is in use: a new version is made beside the call that finds the old one old
	// enough. Keys that were made together are rotated over the last tenth of it, a
	// few at a time. What was encrypted before stays readable. Default 90 days;
	// negative turns it off. It needs a Store.
	RotateAfter time.Duration

	// KEKCalls bounds the calls to each KEK.
	KEKCalls KEKCallConfig

	// MaxPlaintext is the longest plaintext that Encrypt takes, in bytes.
	// Default 64 MiB. What is longer and was encrypted before still decrypts.
	MaxPlaintext int

	// MaxObject is the longest value that Put takes, in bytes. Default 16 MiB.
	MaxObject int

	// KeepVersions is how many versions of an object Put keeps, the newest
	// ones. Default all.
	KeepVersions int

	// UniqueNames makes object names unique within the namespace and not only
	// within their context: Put of a name that another context holds fails with
	// ErrExists, which reveals that it exists. It holds for objects written
	// while it is set.
	UniqueNames bool

	// SelfContained makes every new envelope carry its wrapped key although
	// there is a store, so that the KEK alone opens it. Both forms are always
	// readable. Contexts under a parent have no such envelopes: ErrNoSelfContained.
	SelfContained bool

	// OnEvent is called once for each operation, done or failed, on the
	// operation's goroutine: see [Event]. It must be safe for concurrent use
	// and must not call the vault.
	OnEvent func(context.Context, Event) error

	// FailClosed makes an operation fail with ErrEvent if OnEvent fails. What
	// was read is then not returned; what was written stays written, and the
	// error says so. Without it such failures are counted in Stats.
	FailClosed bool

	// EventContext puts the pairs of the key context into events. They are the
	// identities of your customers.
	EventContext bool

	// EventMessages makes events of successful calls of Encrypt and Decrypt and
	// their kin too. Failed ones are always events.
	EventMessages bool

	// Authorizer decides each operation before a key is used: see [Authorizer].
	// Default: everything is allowed.
	Authorizer Authorizer

	// AuthorizerTimeout bounds one decision of the Authorizer. Default 5 seconds.
	AuthorizerTimeout time.Duration

	// Tracer is told when operations, calls to KEKs and calls to the Store begin and
	// end, for traces and metrics. The zero Tracer is off.
	Tracer Tracer

	// Legacy opens an older scheme's data during a migration. Message calls give
	// it what doesn't start as an envelope does. It must authenticate data and
	// check kc and aad: who writes to your database can substitute whatever it
	// accepts. It must not keep or change what it is given, and what it returns without
	// an error is the plaintext, nil being an empty one. Its calls are
	// counted in Stats.
	Legacy func(ctx context.Context, kc KeyContext, data, aad []byte) ([]byte, error)

	// SkipWrapCheck leaves out the unwrap that checks each new wrapping before
	// its key is used. It saves one KMS call per new key; a KMS that answers
	// with garbage then costs the data written before it is noticed.
	SkipWrapCheck bool

	// SweepEvery is how often expired objects are deleted in the background.
	// Default one hour; negative turns it off. [Vault.Sweep] does it at once.
	SweepEvery time.Duration

	// NoBackground turns off everything that outlives a call: refreshing keys
	// before they expire, and sweeping. For command-line tools and functions
	// that are frozen between calls.
	NoBackground bool
}

// CacheConfig bounds the cache of unwrapped keys.
type CacheConfig struct {
	// Size is how many keys are cached. Default 100,000, at about 1 KiB each.
	Size int

	// TTL is how long a key serves before the KMS is asked again: within this
	// time a revocation takes effect where the KMS can be reached. Default 15
	// minutes.
	TTL time.Duration

	// ActiveKeyTTL is how long a key serves before its state is read again from
	// the store: within this time other processes notice that a key was
	// rotated, disabled or shredded. Default 1 minute.
	ActiveKeyTTL time.Duration

	// StaleIfUnavailable is how long beyond TTL a key goes on serving while the
	// KMS can't be reached. A KMS that refuses is never waited for. Default one
	// hour; negative turns it off.
	StaleIfUnavailable time.Duration
}

// longest is how long a key may be sealed under, at most, after it was superseded.
func (c CacheConfig) longest() time.Duration {
	return max(c.TTL+c.StaleIfUnavailable, c.ActiveKeyTTL)
}

// KEKCallConfig bounds the calls to each KEK, so that a KMS that is slow or dead
// harms those who need it as little as may be, and everyone else not at all.
// Besides, a KEK that has not answered 16 calls in a row is not asked for 5
// seconds, and then one call at a time until one is answered; what would have
// called it fails at once with ErrKEKUnavailable, or is served from the cache.
type KEKCallConfig struct {
	// Timeout bounds one call. One load of a key with all its retries has three
	// times as long. Default 5 seconds.
	Timeout time.Duration

	// Concurrency is how many calls to one KEK may be under way at once; others
	// wait for their turn. Default 32.
	Concurrency int
}

// Defaults.
const (
	defaultCacheSize    = 100_000
	defaultTTL          = 15 * time.Minute
	defaultActiveKeyTTL = time.Minute
	defaultStale        = time.Hour
	defaultSweepEvery   = time.Hour
	defaultRotateAfter  = 90 * 24 * time.Hour
	defaultMaxPlaintext = 64 << 20
	defaultMaxObject    = 16 << 20

	defaultCallTimeout    = 5 * time.Second
	defaultAuthorizerTime = 5 * time.Second
	defaultKEKConcurrency = 32
)

// withDefaults returns the configuration checked and filled in. Its errors name
// the field.
func (c Config) withDefaults() (Config, error) {
	// First, so that a Policy that is none never leaves every customer to KEK.
	if err := errors.Join(notHollow("KEK", c.KEK), notHollow("Policy", c.Policy), notHollow("Store", c.Store), notHollow("Authorizer", c.Authorizer)); err != nil {
		return c, err
	}
	switch {
	case c.KEK == nil && c.Policy == nil:
		return c, errors.New("vault: Config: set KEK or Policy")
	case c.KEK != nil && c.Policy != nil:
		return c, errors.New("vault: Config: KEK and Policy are both set; set one")
	case c.Policy == nil:
		if _, err := (kek.Choice{KEKs: []kek.Wrapper{c.KEK}}).Normalize(nil); err != nil {
			return c, fmt.Errorf("vault: Config.KEK: %w", err)
		}
		c.Policy = kek.Fixed(c.KEK)
	}
	if c.Store == nil && (c.UniqueNames || c.KeepVersions != 0) {
		return c, errors.New("vault: Config: UniqueNames and KeepVersions need a Store")
	}
	if err := keyctx.ValidateNamespace(c.Namespace); err != nil {
		return c, fmt.Errorf("vault: Config.Namespace: %w", err)
	}
	if c.FailClosed && c.OnEvent == nil {
		return c, errors.New("vault: Config.FailClosed needs OnEvent")
	}
	orOff(&c.Cache.StaleIfUnavailable, defaultStale)
	orOff(&c.SweepEvery, defaultSweepEvery)
	orOff(&c.RotateAfter, defaultRotateAfter)
	for _, d := range []*time.Duration{&c.Cache.TTL, &c.Cache.ActiveKeyTTL, &c.Cache.StaleIfUnavailable, &c.SweepEvery, &c.RotateAfter, &c.KEKCalls.Timeout, &c.AuthorizerTimeout} {
		*d = min(*d, forever)
	}
	return c, errors.Join(
		positive("Cache.Size", &c.Cache.Size, defaultCacheSize),
		positive("KEKCalls.Timeout", &c.KEKCalls.Timeout, defaultCallTimeout),
		positive("AuthorizerTimeout", &c.AuthorizerTimeout, defaultAuthorizerTime),
		positive("KEKCalls.Concurrency", &c.KEKCalls.Concurrency, defaultKEKConcurrency),
		positive("MaxPlaintext", &c.MaxPlaintext, defaultMaxPlaintext),
		positive("MaxObject", &c.MaxObject, defaultMaxObject),
		positive("KeepVersions", &c.KeepVersions, math.MaxInt32),
		positive("Cache.TTL", &c.Cache.TTL, defaultTTL),
		positive("Cache.ActiveKeyTTL", &c.Cache.ActiveKeyTTL, defaultActiveKeyTTL),
	)
}

// notHollow refuses an interface that holds a nil pointer, which is what is
// left of a constructor whose error wasn't looked at.
func notHollow(name string, v any) error {
	if v != nil && isNil(v) {
		return fmt.Errorf("vault: Config.%s holds a nil pointer; was the error of making it checked?", name)
	}
	return nil
}

// forever is the longest duration that counts, so that sums don't overflow.
const forever = time.Duration(math.MaxInt64 / 4)

// positive fills in a default for zero and refuses what is negative.
func positive[T int | time.Duration](name string, field *T, value T) error {
	switch {
	case *field < 0:
		return fmt.Errorf("vault: Config.%s is %v, want a positive value, or 0 for the default", name, *field)
	case *field == 0:
		*field = value
	}
	return nil
}

// orOff fills in a default for zero; what is negative becomes 0, which is off.
func orOff(field *time.Duration, value time.Duration) {
	switch {
	case *field == 0:
		*field = value
	case *field < 0:
		*field = 0
	}
}

// isNil reports whether what an interface holds is nil.
func isNil(v any) bool {
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map:
		return r.IsNil()
	}
	return false
}
