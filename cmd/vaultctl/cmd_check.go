package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/keyctx"
	"github.com/embedvault/vault/keyring"
)

// kekAnswer is what became of a round trip to one KEK.
type kekAnswer struct {
	URI   string `json:"uri"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

type checkOut struct {
	OK    bool        `json:"ok"`
	Store string      `json:"store"`
	KEKs  []kekAnswer `json:"keks"`
}

func (a *app) checkCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check [PAIR…]",
		Short: "Make a round trip to the store and to each KEK",
		Long: `Makes a round trip to the store and to each default KEK or, with pairs, to every KEK that
the policy names for that context: before a customer's key is relied on. It says which of
them answers, and fails if one does not. It makes and stores no key.`,
		Example: "  vaultctl check\n  vaultctl check organization_id=org_01 --policy rules.json",
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		kc, err := pairs(args)
		if err != nil {
			return err
		}
		return a.with(ctx, needs{access: reading, keks: true}, func(s *session) error {
			if len(kc) == 0 {
				err = s.Check(ctx)
			} else if err = s.store.Ping(ctx); err == nil {
				err = s.VerifyKEK(ctx, kc)
			}
			answers, more := s.checkEach(ctx, kc)
			if err == nil {
				err = more
			}
			out := checkOut{OK: err == nil, Store: s.store.name, KEKs: answers}
			return errors.Join(a.print(out, a.checkText(out)), err)
		})
	})
}

func (a *app) checkText(out checkOut) string {
	var b strings.Builder
	if out.OK {
		fmt.Fprintf(&b, "check: %s and the KEKs answer", out.Store)
	} else {
		b.WriteString("check: not everything answers")
	}
	for _, k := range out.KEKs {
		if k.OK {
			fmt.Fprintf(&b, "\n  %s answers", k.URI)
		} else {
			fmt.Fprintf(&b, "\n  %s: %s", k.URI, k.Error)
		}
	}
	return b.String()
}

// oneKEK is a policy that names one KEK of those that another names.
type oneKEK struct {
	kek.Policy
	uri string
}

func (p oneKEK) Choose(ctx context.Context, kc keyctx.KeyContext) (kek.Choice, error) {
	c, err := p.Policy.Choose(ctx, kc)
	if err != nil || c.Parent != nil {
		return c, err
	}
	for _, w := range c.KEKs {
		if w.URI() == p.uri {
			return kek.Choice{KEKs: []kek.Wrapper{w}, Quorum: kek.AnyOf}, nil
		}
	}
	return kek.Choice{}, fmt.Errorf("%w: it names other KEKs now", kek.ErrPolicy)
}

// checkEach asks each KEK of a context by itself; without pairs those of the vault's own
// context.
func (s *session) checkEach(ctx context.Context, kc vault.KeyContext) (answers []kekAnswer, err error) {
	answers = []kekAnswer{}
	if len(kc) == 0 {
		kc = vault.KeyContext{keyctx.ReservedSystem: "check"}
	}
	hash, err := kc.WithNamespace(s.namespace).Hash()
	if err != nil {
		return answers, err
	}
	uris, err := s.kekURIs(ctx, kc)
	for _, uri := range uris {
		answer := kekAnswer{URI: uri, OK: true}
		if bad := s.checkOne(ctx, keyring.Context{Hash: hash, Pairs: kc}, uri); bad != nil {
			answer = kekAnswer{URI: uri, Error: s.clean(bad.Error())}
			err = errors.Join(err, bad)
		}
		answers = append(answers, answer)
	}
	return answers, err
}

func (s *session) checkOne(ctx context.Context, c keyring.Context, uri string) error {
	ring, err := s.newRing(oneKEK{s.policy, uri})
	if err != nil {
		return err
	}
	defer ring.Close()
	return ring.Verify(ctx, c)
}

// kekURIs returns the KEKs of a context, or of the last of its parents.
func (s *session) kekURIs(ctx context.Context, kc vault.KeyContext) (uris []string, err error) {
	for {
		c, err := s.policy.Choose(ctx, kc.Clone())
		if err == nil {
			c, err = c.Normalize(kc)
		}
		if err != nil {
			return nil, err
		}
		if c.Parent == nil {
			for _, w := range c.KEKs {
				uris = append(uris, w.URI())
			}
			return uris, nil
		}
		kc = c.Parent // a strict subset: it ends
	}
}
