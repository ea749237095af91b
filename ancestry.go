package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/storage"
)

// ancestry knows the states of keys under which others are wrapped, for one pass: a
// key under one that is shredded or disabled is that too. It is for one goroutine. It
// believes the records, and reads each parent's once, unless there are very many.
type ancestry struct {
	v     *Vault
	known map[KeyID]storage.State // with their own ancestors'
}

// manyAncestors is how many keys an ancestry remembers.
const manyAncestors = 10_000

func (v *Vault) newAncestry() *ancestry { return &ancestry{v, map[KeyID]storage.State{}} }

// state returns the state that takes effect of a key that has this one by itself, under
// this parent or none.
func (a *ancestry) state(ctx context.Context, own storage.State, parent KeyID) (storage.State, error) {
	return a.stateFrom(ctx, own, parent, keyctx.MaxPairs+3)
}

func (a *ancestry) stateFrom(ctx context.Context, own storage.State, parent KeyID, depth int) (storage.State, error) {
	if parent.IsZero() || own == storage.StateShredded || depth == 0 {
		return own, nil
	}
	above, ok := a.known[parent]
	if !ok {
		rec, err := a.v.cfg.Store.GetKey(ctx, parent)
		if errors.Is(err, storage.ErrNotFound) {
			return own, nil // it may be restored
		}
		if err != nil {
			return own, fmt.Errorf("reading key %s: %w", parent.Short(), err)
		}
		if above, err = a.stateFrom(ctx, rec.State, rec.ParentID, depth-1); err != nil {
			return own, err
		}
		if len(a.known) >= manyAncestors {
			clear(a.known)
		}
		a.known[parent] = above
	}
	if above == storage.StateShredded || above == storage.StateDisabled {
		return above, nil
	}
	return own, nil
}
