package main

import (
	"context"
	"errors"
	"os/user"
	"strings"

	"github.com/embedvault/vault"
)

// either returns a flag's value, or the environment's if the flag isn't given.
func (a *app) either(flag, variable string) string {
	if flag != "" {
		return flag
	}
	return a.getenv(variable)
}

func (a *app) namespace() string { return a.either(a.flags.namespace, "VAULTCTL_NAMESPACE") }

func (a *app) kekURIs() []string {
	if len(a.flags.keks) > 0 {
		return a.flags.keks
	}
	return strings.Fields(a.getenv("VAULTCTL_KEK"))
}

// policyFile returns the file with KEK rules. KEKs that are named on the command
// line go before rules that are named in the environment.
func (a *app) policyFile() string {
	if a.flags.policy == "" && len(a.flags.keks) > 0 {
		return ""
	}
	return a.either(a.flags.policy, "VAULTCTL_POLICY")
}

func (a *app) keysetFlags() []string {
	if len(a.flags.keysets) > 0 {
		return a.flags.keysets
	}
	if one := a.getenv("VAULTCTL_KEYSET"); one != "" {
		return []string{one}
	}
	return nil
}

// acting returns ctx with who acts and why.
func (a *app) acting(ctx context.Context) (context.Context, error) {
	actor := a.flags.actor
	if actor == "" {
		u, err := user.Current()
		if err != nil || u.Username == "" {
			return nil, usage("the operating system doesn't know who you are: give --actor")
		}
		actor = u.Username
	}
	a.flags.actor = actor
	ctx = vault.WithActor(ctx, actor)
	if a.flags.reason != "" {
		ctx = vault.WithReason(ctx, a.flags.reason)
	}
	return ctx, nil
}

// pairs reads the PAIR arguments of a context.
func pairs(args []string) (vault.KeyContext, error) {
	kc := make(vault.KeyContext, len(args))
	for i, arg := range args {
		k, v, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, usage("argument %d is not a pair, KEY=VALUE", i+1)
		}
		if _, twice := kc[k]; twice {
			return nil, usage("the pair %q is given twice", k)
		}
		kc[k] = v
	}
	if len(kc) == 0 {
		return nil, nil
	}
	if err := kc.Validate(); err != nil {
		return nil, usageError{err}
	}
	return kc, nil
}

// selection reads what a command works on: the contexts that contain the pairs, or
// all.
func selection(args []string, all bool) (vault.KeyContext, error) {
	kc, err := pairs(args)
	switch {
	case err != nil:
		return nil, err
	case all == (len(kc) > 0):
		return nil, usageError{errors.New("give either pairs, KEY=VALUE, or --all")}
	}
	return kc, nil
}

// needPairs is selection for commands that never work on all.
func needPairs(args []string) (vault.KeyContext, error) {
	kc, err := pairs(args)
	if err == nil && len(kc) == 0 {
		err = usage("give a context: one or more pairs, KEY=VALUE")
	}
	return kc, err
}
