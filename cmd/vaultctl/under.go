package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
)

// underFlags say which contexts' keys are wrapped under the keys of wider contexts,
// which no file with rules says: in the application it is kek.Under around them.
type underFlags struct {
	levels []string // each the pair keys of a parent, separated by commas
	moving string
}

func (u *underFlags) add(f *pflag.FlagSet) {
	f.StringArrayVar(&u.levels, "under", nil, "the pair `KEYS` of the application's kek.Under, separated by commas; again for a level below (VAULTCTL_UNDER, separated by spaces)")
	f.StringVar(&u.moving, "under-moving", "", "in or out: the application has MovingIn or MovingOut of it")
}

func (a *app) underLevels() []string {
	if len(a.flags.under.levels) > 0 {
		return a.flags.under.levels
	}
	return strings.Fields(a.getenv("VAULTCTL_UNDER"))
}

// underParents puts kek.Under around the policy, once for each level.
func (a *app) underParents(p kek.Policy) (kek.Policy, error) {
	moving, levels := a.flags.under.moving, a.underLevels()
	if moving != "" && (moving != "in" && moving != "out" || len(levels) == 0) {
		return nil, usage("--under-moving is in or out, and goes with --under")
	}
	for _, level := range levels {
		h, err := kek.Under(p, strings.Split(level, ",")...)
		if err != nil {
			return nil, usage("--under %q: %w", level, err)
		}
		switch moving {
		case "in":
			p = h.MovingIn()
		case "out":
			p = h.MovingOut()
		default:
			p = h
		}
	}
	return p, nil
}

// explain adds to the error of a key that the policy doesn't fit what may be missing on
// the command line: whether keys are under a parent the store shows and no flag need
// have said.
func (s *session) explain(ctx context.Context, id vault.KeyID, err error) error {
	if !errors.Is(err, vault.ErrPolicy) || id.IsZero() {
		return err
	}
	rec, readErr := s.store.GetKey(ctx, id)
	if readErr != nil || len(rec.Wrappings) == 0 {
		return err
	}
	switch {
	case !rec.ParentID.IsZero():
		return fmt.Errorf("%w: it is under the key of a wider context: give --under KEYS, as the application has it in kek.Under", err)
	case s.under:
		return fmt.Errorf("%w: it is under KEKs, and --under may ask for a parent: give --under-moving in to bring it there", err)
	}
	return err
}
