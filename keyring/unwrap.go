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
	err = r.retry(ctx, func(ctx context.Context) error {
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
// failed, or takes long. One that takes long is let finish, unless nothing may
// outlive the call: only so can one that is slow be told from one that is dead.
func (r *Keyring) unwrapAny(ctx context.Context, keks []kek.Wrapper, w wrapped, b kek.Binding) (*envelope.Key, error) {
	asked := newAsking(ctx, r, len(keks))
	defer asked.end()
	errs := make([]error, len(keks))
	for n, i := range r.answeringFirst(keks) {
		if !asked.ask(i, keks[i], w.wrappings[i].Wrapped, b) {
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
	ctx     context.Context // of the calls: ends with the caller's while it waits, and with Close
	cancel  context.CancelFunc
	unlink  []func() bool
	results chan answer // has room for all
	open    int         // asked, and not yet answered

	mu      sync.Mutex // guards what follows
	running int        // calls under way
	over    bool       // nobody takes answers any more
}

func newAsking(ctx context.Context, r *Keyring, n int) *asking {
	a := &asking{r: r, results: make(chan answer, n)}
	a.ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	a.unlink = []func() bool{context.AfterFunc(ctx, a.cancel), context.AfterFunc(r.done, a.cancel)}
	return a
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
func (a *asking) ask(i int, w kek.Wrapper, blob []byte, b kek.Binding) bool {
	a.mu.Lock()
	a.running++
	a.mu.Unlock()
	ok := a.r.goRun(func() {
		got := answer{i, nil, fmt.Errorf("%w: %w", kek.ErrUnavailable, errGoexit)}
		defer func() {
			if p := recover(); p != nil { // of a URI method: see guarded for the rest
				got.err = fmt.Errorf("%w: %s", kek.ErrUnavailable, panicText(p))
			}
			a.deliver(got)
		}()
		var secret []byte
		if secret, got.err = a.r.callUnwrap(a.ctx, w, blob, b); got.err == nil {
			got.key, got.err = checkID(secret, b)
		}
	})
	if ok {
		a.open++
	} else {
		a.deliver(answer{i: i, err: ErrClosed})
	}
	return ok
}

// deliver hands over an answer, or zeroes it if it comes too late.
func (a *asking) deliver(got answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running--
	if !a.over {
		a.results <- got
		return
	}
	if got.key != nil {
		got.key.Destroy()
	}
	if a.running == 0 {
		a.unlink[1]()
		a.cancel()
	}
}

// end zeroes what was delivered and not taken. What is still under way goes on
// without the caller, unless nothing may.
func (a *asking) end() {
	a.unlink[0]()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	for len(a.results) > 0 {
		if got := <-a.results; got.key != nil {
			got.key.Destroy()
		}
	}
	if a.running == 0 {
		a.unlink[1]()
	}
	if a.running == 0 || a.r.cfg.NoBackground {
		a.cancel()
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := joinAll(r.each(keks, func(i int) (err error) {
		if shares[i], err = r.callUnwrap(ctx, keks[i], w.wrappings[i].Wrapped, b); err == nil {
			err = checkLen(shares[i])
		}
		if kek.Class(err) == kek.ErrDenied {
			cancel() // that is the answer: don't wait for one that hangs
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
