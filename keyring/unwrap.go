package keyring

import (
	"context"
	"crypto/subtle"
	"fmt"
	"sync"
	"time"

	"github.com/embedvault/vault/envelope"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// wrapped is a context key as a record or an envelope brings it: not believed.
type wrapped struct {
	id        keyctx.KeyID
	purpose   keyctx.Purpose
	version   uint32
	quorum    keyctx.Quorum
	wrappings []keyctx.Wrapping
}

// unwrap returns the key, checked: the wrappings are what the policy says for
// the asserted context, what came out is 32 bytes and not all zero, and its ID,
// computed again for the asserted context, is w.id. No KEK is called before the
// policy has agreed.
func (r *Keyring) unwrap(ctx context.Context, c Context, w wrapped) (*envelope.Key, error) {
	choice, err := r.choose(ctx, c)
	if err != nil {
		return nil, err
	}
	keks, err := choice.Match(w.quorum, w.wrappings)
	if err != nil {
		return nil, fmt.Errorf("key %s of context %s: %w", w.id.Short(), c.Hash.Short(), err)
	}
	b := r.binding(c, w.id, w.purpose, w.version)
	var key *envelope.Key
	err = r.retry(ctx, func() error {
		if w.quorum == keyctx.AllOf {
			key, err = r.unwrapAll(ctx, keks, w, b)
		} else {
			key, err = r.unwrapAny(ctx, keks, w, b)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("unwrapping key %s of context %s: %w", w.id.Short(), c.Hash.Short(), err)
	}
	return key, nil
}

// hedgeAfter is how long one KEK of an any-of is waited for before the next is
// asked as well.
const hedgeAfter = time.Second

// unwrapAny asks one KEK after the other until one gives the key, those that
// have not been answering last. The next is asked when the one before has
// failed, or takes long.
func (r *Keyring) unwrapAny(ctx context.Context, keks []kek.Wrapper, w wrapped, b kek.Binding) (*envelope.Key, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asked := &asking{r: r, results: make(chan answer, len(keks))}
	defer asked.end()
	errs := make([]error, len(keks))
	for n, i := range r.answeringFirst(keks) {
		if !asked.ask(ctx, i, keks[i], w.wrappings[i].Wrapped, b) {
			return nil, ErrClosed
		}
		if key := asked.await(errs, hedge(ctx, len(keks)-n-1)); key != nil {
			return recorded(key, errs)
		}
	}
	for asked.open > 0 {
		if key := asked.await(errs, forever); key != nil {
			return recorded(key, errs)
		}
	}
	return nil, joinAny(errs)
}

// recorded returns the key, unless an event that had to be recorded wasn't.
func recorded(key *envelope.Key, errs []error) (*envelope.Key, error) {
	if err := firstUnrecorded(errs); err != nil {
		key.Destroy()
		return nil, err
	}
	return key, nil
}

// asking is several KEKs being asked for one key.
type asking struct {
	r       *Keyring
	results chan answer // has room for all
	open    int         // asked, and not yet answered

	mu   sync.Mutex // guards over
	over bool       // nobody takes answers any more
}

// answer is what the KEK with this index gave.
type answer struct {
	i   int
	key *envelope.Key
	err error
}

// forever is longer than any load.
const forever = time.Duration(1<<63 - 1)

// ask has w unwrap in a goroutine of its own; false if the keyring is closed.
func (a *asking) ask(ctx context.Context, i int, w kek.Wrapper, blob []byte, b kek.Binding) bool {
	ok := a.r.goRun(func() {
		defer func() {
			if p := recover(); p != nil { // of a URI method: see call for the rest
				a.deliver(answer{i, nil, fmt.Errorf("%w: %s", kek.ErrUnavailable, panicText(p))})
			}
		}()
		secret, err := a.r.callUnwrap(ctx, w, blob, b)
		var key *envelope.Key
		if err == nil {
			key, err = checkID(secret, b)
		}
		a.deliver(answer{i, key, err})
	})
	if ok {
		a.open++
	}
	return ok
}

// deliver hands over an answer, or zeroes it if it comes too late.
func (a *asking) deliver(got answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		a.results <- got
	} else if got.key != nil {
		got.key.Destroy()
	}
}

// end zeroes what was delivered and not taken.
func (a *asking) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	for len(a.results) > 0 {
		if got := <-a.results; got.key != nil {
			got.key.Destroy()
		}
	}
}

// await returns the key of the first answer that has it, or nil when one that
// hasn't came, noted in errs, or none came in time.
func (a *asking) await(errs []error, wait time.Duration) *envelope.Key {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case got := <-a.results:
		a.open--
		errs[got.i] = got.err
		return got.key
	case <-timer.C:
		return nil
	}
}

// answeringFirst returns the indexes of keks in the order in which to try them.
func (r *Keyring) answeringFirst(keks []kek.Wrapper) []int {
	order, last := make([]int, 0, len(keks)), []int(nil)
	for i, k := range keks {
		if len(keks) > 1 && !r.stateOf(k.URI()).answering() {
			last = append(last, i)
		} else {
			order = append(order, i)
		}
	}
	return append(order, last...)
}

// hedge returns how long to wait for one KEK before the next is asked, of which
// more are left: so long that there is time for all of them before ctx ends.
func hedge(ctx context.Context, left int) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return hedgeAfter
	}
	return min(hedgeAfter, time.Until(end)/time.Duration(left+1))
}

// unwrapAll asks all KEKs at once and puts their shares together.
func (r *Keyring) unwrapAll(ctx context.Context, keks []kek.Wrapper, w wrapped, b kek.Binding) (*envelope.Key, error) {
	shares := make([][]byte, len(keks))
	err := joinAll(r.each(keks, func(i int) (err error) {
		if shares[i], err = r.callUnwrap(ctx, keks[i], w.wrappings[i].Wrapped, b); err == nil {
			err = checkLen(shares[i])
		}
		return err
	}))
	defer func() {
		for _, s := range shares {
			clear(s)
		}
	}()
	if err != nil {
		return nil, err
	}
	secret := make([]byte, envelope.KeySize)
	for _, s := range shares {
		subtle.XORBytes(secret, secret, s)
	}
	return checkID(secret, b)
}

func checkLen(secret []byte) error {
	if len(secret) != envelope.KeySize {
		return fmt.Errorf("%w: the KEK gave %d bytes, want %d", kek.ErrCorrupt, len(secret), envelope.KeySize)
	}
	return nil
}

// checkID makes a key of what a KEK gave, if it is the key that b names. It
// zeroes secret.
func checkID(secret []byte, b kek.Binding) (*envelope.Key, error) {
	defer clear(secret)
	key, err := envelope.NewKey(secret, b.ContextHash, b.Purpose, b.Version)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kek.ErrCorrupt, err)
	}
	if !key.ID().Equal(b.KeyID) {
		key.Destroy()
		return nil, fmt.Errorf("%w: the unwrapped key doesn't have the key ID", kek.ErrCorrupt)
	}
	return key, nil
}
