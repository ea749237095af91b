package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyring"
	"github.com/embedvault/vault/storage"
)

func (a *app) verifyCommand() *cobra.Command {
	var all, keysOnly bool
	var concurrency int
	c := &cobra.Command{
		Use:   "verify {PAIR… | --all}",
		Short: "Unwrap every key and decrypt every stored version, and show none",
		Long: `Unwraps every key of every context that contains the pairs, with each of its KEKs where
one suffices (any-of), and decrypts every version of every object, current or not. Nothing
that was decrypted is printed or kept. What is under shredded or disabled keys is counted
and is no failure. Nothing is written; each decryption is an event, data.read.

Versions under each key are also looked up from the key's side: those whose object, or
whose object's current version, is gone are found so. What can't be seen are an object
without any version, and a version of such an object whose key is gone too.

Exit code 1 if anything can't be read, a wrapping doesn't open, or nothing matches.
"rewrap --force" mends wrappings, as long as one of the key's KEKs opens it.`,
		Example: "  vaultctl verify --all --json\n  vaultctl verify organization_id=org_01 --keys-only",
	}
	f := c.Flags()
	f.BoolVar(&all, "all", false, "everything of the namespace")
	f.BoolVar(&keysOnly, "keys-only", false, "don't decrypt objects")
	f.IntVar(&concurrency, "concurrency", 8, "how many at the same time")
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := selection(args, all)
		if err != nil {
			return err
		}
		if concurrency < 1 || concurrency > 256 {
			return usage("--concurrency is 1 to 256")
		}
		return a.with(ctx, needs{access: reading, keks: true}, func(s *session) error {
			v := &verification{a: a, s: s, match: match, concurrency: concurrency, keysOnly: keysOnly}
			err := v.run(ctx)
			if errors.Is(err, errNothing) {
				return err
			}
			return errors.Join(v.print(), a.interrupted(ctx, err, "", ""))
		})
	})
}

// errUnreadable is matched when a verification found what can't be read.
var errUnreadable = errors.New("not everything can be read")

// verification is one run of verify.
type verification struct {
	a           *app
	s           *session
	match       vault.KeyContext
	concurrency int
	keysOnly    bool
	meter       *meter
	ring        *keyring.Keyring

	mu  sync.Mutex // guards out
	out verifyOut
}

func (v *verification) run(ctx context.Context) (err error) {
	if v.ring, err = v.s.newRing(v.s.policy); err != nil {
		return err
	}
	defer v.ring.Close()
	if err := v.s.mustHold(ctx, v.match); err != nil {
		return err
	}
	v.meter, err = v.a.meter("verify", func() (int64, error) { return v.count(ctx) })
	if err != nil {
		return err
	}
	defer v.meter.end()
	if err := v.keys(ctx); err != nil {
		return err
	}
	if !v.keysOnly {
		if err := v.objects(ctx); err != nil {
			return err
		}
	}
	if o := v.out; o.KeysFailed+o.WrappingsFailed+o.VersionsFailed+o.VersionsLost > 0 {
		return fmt.Errorf("%w: %d keys don't unwrap, nor do %d wrappings of others, %d versions don't decrypt, %d have lost their object",
			errUnreadable, o.KeysFailed, o.WrappingsFailed, o.VersionsFailed, o.VersionsLost)
	}
	return nil
}

func (v *verification) count(ctx context.Context) (int64, error) {
	n, err := v.s.countKeys(ctx, filter(v.match))
	if err != nil || v.keysOnly {
		return n, err
	}
	f := v.s.contexts(v.match)
	more, err := countObjects(ctx, v.s.store, f)
	return n + more, err
}

func (v *verification) keys(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(v.concurrency)
	var listing error
	for k, err := range v.s.Keys(ctx, filter(v.match)) {
		if err != nil {
			listing = err
			break
		}
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := v.key(gctx, k); err != nil || v.keysOnly {
				return err
			}
			return v.lost(gctx, k)
		})
		v.meter.set(v.seen())
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return listing
}

// key unwraps a key.
func (v *verification) key(ctx context.Context, k vault.KeyInfo) error {
	var err error
	if k.State != vault.StateShredded {
		var key *keyring.Key
		if key, err = v.ring.ByID(ctx, keyring.Context{Hash: k.ContextHash, Pairs: k.Context}, k.Purpose, k.ID); err == nil {
			key.Release()
		}
		err = v.s.explain(ctx, k.ID, err)
	}
	var wrappings int64
	var bad []failure
	if err == nil && k.State != vault.StateShredded && k.Quorum == kek.AnyOf && len(k.KEKs) > 1 {
		if wrappings, bad, err = v.wrappings(ctx, k); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	v.tally(func(o *verifyOut) {
		o.Keys++
		o.Wrappings += wrappings
		o.WrappingsFailed += int64(len(bad))
		for _, f := range bad {
			o.fail(f)
		}
		switch {
		case k.State == vault.StateShredded, errors.Is(err, vault.ErrKeyShredded):
			o.KeysShredded++
		case errors.Is(err, vault.ErrKeyDisabled):
			o.KeysDisabled++
		case err != nil:
			o.KeysFailed++
			o.fail(failure{KeyID: k.ID.String(), ContextHash: k.ContextHash.String(), Version: k.Version, Error: v.a.clean(err.Error())})
		default:
			o.KeysUnwrapped++
		}
	})
	return nil
}

func (v *verification) objects(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(v.concurrency)
	var listing error
	for rec, err := range v.s.objects(ctx, v.match, "") {
		if err != nil {
			listing = err
			break
		}
		if gctx.Err() != nil {
			break
		}
		v.tally(func(o *verifyOut) { o.Objects++ })
		g.Go(func() error { return v.object(gctx, rec) })
		v.meter.set(v.seen())
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return listing
}

// object decrypts all versions of an object.
func (v *verification) object(ctx context.Context, rec storage.ObjectRecord) error {
	for version, err := range v.s.versions(ctx, rec.ID) {
		if err != nil {
			return err
		}
		if _, err = v.s.Get(ctx, version.Context.WithoutNamespace(), version.Name, vault.AtVersion(version.VersionID)); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err = v.s.explain(ctx, version.KeyID, err)
		v.tally(func(o *verifyOut) { o.version(version, v.a, err) })
	}
	return nil
}

func (v *verification) tally(f func(*verifyOut)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f(&v.out)
}

func (v *verification) seen() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.out.Keys + v.out.Objects
}
