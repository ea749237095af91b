package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
)

// loadPolicy returns the policy of the flags. Without one that is needed it is a
// policy that refuses everything, for commands that unwrap nothing.
func (a *app) loadPolicy(ctx context.Context, needed bool) (kek.Policy, error) {
	p, err := a.loadKEKs(ctx, needed)
	if err != nil {
		return nil, err
	}
	return a.underParents(p)
}

// loadKEKs returns the policy for contexts without a parent.
func (a *app) loadKEKs(ctx context.Context, needed bool) (kek.Policy, error) {
	opener, err := a.newOpener()
	if err != nil {
		return nil, err
	}
	file, uris := a.policyFile(), a.kekURIs()
	switch {
	case file != "" && (len(a.flags.keks) > 0 || len(a.flags.previous) > 0 || a.flags.quorum != ""):
		return nil, usage("--policy excludes --kek, --previous-kek and --quorum")
	case file != "":
		return a.loadRules(ctx, file, opener)
	case len(uris) == 0 && len(opener.keysets) == 1:
		for name := range opener.keysets {
			uris = []string{"tink-keyset:" + name}
		}
	}
	if len(uris) > 0 {
		return a.fixedPolicy(ctx, uris, opener)
	}
	if needed {
		return nil, usage("this command unwraps keys: say with which KEKs, by --kek, --keyset or --policy")
	}
	return kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) {
		return kek.Choice{}, fmt.Errorf("%w: no KEK was named: give --kek, --keyset or --policy", kek.ErrPolicy)
	}), nil
}

func (a *app) loadRules(ctx context.Context, file string, opener *kekOpener) (kek.Policy, error) {
	rules, err := readRules(ctx, file, opener)
	if err != nil {
		return nil, err
	}
	return dialed{rules}, nil
}

func readRules(ctx context.Context, file string, opener *kekOpener) (*kek.Rules, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	return parseRules(ctx, data, opener)
}

func parseRules(ctx context.Context, data []byte, opener *kekOpener) (*kek.Rules, error) {
	return kek.ParseRules(ctx, data, func(_ context.Context, uri string, _ keyctx.KeyContext) (kek.Wrapper, error) {
		return opener.openAny(uri), nil
	})
}

// fixedPolicy is the same choice for every context.
func (a *app) fixedPolicy(ctx context.Context, uris []string, opener *kekOpener) (kek.Policy, error) {
	choice, err := a.choice(uris, opener)
	if err != nil {
		return nil, err
	}
	for _, uri := range a.flags.previous {
		w, err := opener.open(uri)
		if err != nil {
			return nil, err
		}
		choice.Previous = append(choice.Previous, kek.Choice{KEKs: []kek.Wrapper{w}, Quorum: kek.AnyOf})
	}
	// A keyset is a file here: what is wrong with it is said at once.
	for _, uri := range slices.Concat(uris, a.flags.previous) {
		if strings.HasPrefix(uri, "tink-keyset:") {
			w, err := opener.open(uri)
			if err == nil {
				_, err = w.opened(ctx)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return dialed{kek.PolicyFunc(func(context.Context, keyctx.KeyContext) (kek.Choice, error) { return choice, nil })}, nil
}

// choice is the choice of KEKs that --kek and --quorum say.
func (a *app) choice(uris []string, opener *kekOpener) (kek.Choice, error) {
	var c kek.Choice
	switch a.flags.quorum {
	case "":
		if len(uris) > 1 {
			return c, usage("several KEKs need --quorum any-of or all-of")
		}
	case kek.AnyOf.String():
		c.Quorum = kek.AnyOf
	case kek.AllOf.String():
		c.Quorum = kek.AllOf
	default:
		return c, usage("--quorum is any-of or all-of")
	}
	for _, uri := range uris {
		w, err := opener.open(uri)
		if err != nil {
			return c, err
		}
		c.KEKs = append(c.KEKs, w)
	}
	if _, err := c.Normalize(keyctx.KeyContext{"any": "context"}); err != nil {
		return c, usageError{err}
	}
	return c, nil
}

// dialed is a policy whose current KEKs are the drivers' own where they can be
// opened: the keyring asks what else they can do, which a lazyKEK doesn't say.
// Previous ones only unwrap.
type dialed struct{ kek.Policy }

func (d dialed) Choose(ctx context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
	c, err := d.Policy.Choose(ctx, kc)
	if err != nil {
		return c, err
	}
	c.KEKs = slices.Clone(c.KEKs)
	for i, w := range c.KEKs {
		if l, ok := w.(*lazyKEK); ok {
			if inner, err := l.opened(ctx); err == nil {
				c.KEKs[i] = inner
			}
		}
	}
	return c, nil
}
