package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/kek"
)

// story is what happens, step by step.
type story struct {
	v     *vault.Vault
	table *kekTable
	world *clouds
}

// organisations: acme and globex bring their own keys, initech doesn't.
var organisations = []string{"acme", "globex", "initech"}

const secretName = "stripe/api-key"

func contextOf(org string) vault.KeyContext { return vault.KeyContext{"organization_id": org} }

func secretOf(org string) string { return "sk_live_" + org }

func (s *story) everybodyWrites(ctx context.Context) error {
	fmt.Println("Three organisations store a secret. None has a key of its own yet.")
	for _, org := range organisations {
		if _, err := s.v.Put(ctx, contextOf(org), secretName, []byte(secretOf(org))); err != nil {
			return err
		}
	}
	return s.show(ctx)
}

func (s *story) customersBringKeys(ctx context.Context) error {
	fmt.Println("\nAcme brings a key in AWS KMS, Globex one in HashiCorp Vault. Each is tried before it is relied on.")
	for _, customer := range []struct {
		org  string
		open func(context.Context) (kek.Wrapper, error)
	}{{"acme", s.world.openAcme}, {"globex", s.world.openGlobex}} {
		w, err := customer.open(ctx)
		if err != nil {
			return err
		}
		if err := verify(ctx, w, contextOf(customer.org)); err != nil {
			return err
		}
		if err := s.table.bringKey(ctx, customer.org, w); err != nil {
			return err
		}
		fmt.Printf("  %-8s %s\n", customer.org, w.URI())
	}
	return nil
}

// verify makes a round trip with a KEK before anything is wrapped under it.
func verify(ctx context.Context, w kek.Wrapper, kc vault.KeyContext) error {
	v, err := vault.New(vault.Config{KEK: w})
	if err != nil {
		return err
	}
	defer v.Close()
	return v.VerifyKEK(ctx, kc)
}

func (s *story) rewrap(ctx context.Context) error {
	fmt.Println("\nTheir stored keys are still under ours. Rewrap moves them; no data is touched.")
	for _, org := range []string{"acme", "globex"} {
		report, err := s.v.Rewrap(ctx, vault.RewrapOptions{Match: contextOf(org)})
		if err != nil {
			return err
		}
		fmt.Printf("  %-8s %d of %d keys moved\n", org, report.Moved, report.Seen)
	}
	if n := len(s.world.aws.Events()); n == 0 {
		return errors.New("AWS KMS saw nothing")
	}
	last := s.world.aws.Events()[len(s.world.aws.Events())-1]
	fmt.Printf("  In Acme's CloudTrail: %s by %s, for organization_id=%s\n", last.EventName, last.Principal, last.EncryptionContext["organization_id"])
	return s.show(ctx)
}

func (s *story) forgetOurKey(ctx context.Context) error {
	fmt.Println("\nOur own key is no longer needed for them, and is dropped from their rows.")
	for _, org := range []string{"acme", "globex"} {
		if err := s.table.dropPrevious(ctx, org); err != nil {
			return err
		}
	}
	time.Sleep(ttl)
	return s.show(ctx)
}

func (s *story) revoke(ctx context.Context) error {
	fmt.Println("\nAcme disables its key, while we run.")
	s.world.acmeKey.Disable()
	start := time.Now()
	for time.Since(start) < 5*ttl {
		_, err := s.v.Get(ctx, contextOf("acme"), secretName)
		if errors.Is(err, vault.ErrKEKDenied) {
			fmt.Printf("  Dark after %.1f s; an unwrapped key is cached for %v at most.\n", time.Since(start).Seconds(), ttl)
			return s.show(ctx)
		}
		if err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("a revoked key goes on decrypting")
}

func (s *story) restore(ctx context.Context) error {
	fmt.Println("\nAcme enables it again: the next call works.")
	s.world.acmeKey.Enable()
	return s.show(ctx)
}

// wrongKey shows that a slip in the table costs nothing.
func (s *story) wrongKey(ctx context.Context) error {
	fmt.Println("\nBy mistake Globex' row is made to name Acme's key, and not Globex' own even as previous.")
	w, err := s.world.openAcme(ctx)
	if err != nil {
		return err
	}
	if err := s.table.bringKey(ctx, "globex", w); err != nil {
		return err
	}
	if err := s.table.dropPrevious(ctx, "globex"); err != nil {
		return err
	}
	time.Sleep(ttl)
	_, err = s.v.Get(ctx, contextOf("globex"), secretName)
	if !errors.Is(err, vault.ErrPolicy) {
		return fmt.Errorf("a key under a KEK that isn't named should have been refused: %v", err)
	}
	fmt.Println("  Refused before any KMS is asked, and no new key is made in its place.")
	w, err = s.world.openGlobex(ctx)
	if err != nil {
		return err
	}
	if err := s.table.bringKey(ctx, "globex", w); err != nil {
		return err
	}
	fmt.Println("The row is put right:")
	return s.show(ctx)
}

// show reads every organisation's secret, and says under which KEK its key is.
func (s *story) show(ctx context.Context) error {
	for _, org := range organisations {
		obj, err := s.v.Get(ctx, contextOf(org), secretName)
		state := "readable"
		switch {
		case errors.Is(err, vault.ErrKEKDenied):
			state = "DARK: the KMS refuses"
		case err != nil:
			return err
		case string(obj.Value) != secretOf(org):
			return fmt.Errorf("%s reads something else than it wrote", org)
		}
		choice, err := s.table.Choose(ctx, contextOf(org))
		if err != nil {
			return err
		}
		fmt.Printf("  %-8s %-22s policy: %s\n", org, state, names(choice))
	}
	return nil
}

// names names the KEKs of a choice by the systems they are in.
func names(c kek.Choice) string {
	name := func(w kek.Wrapper) string { return strings.SplitN(w.URI(), ":", 2)[0] }
	var active, previous []string
	for _, w := range c.KEKs {
		active = append(active, name(w))
	}
	for _, p := range c.Previous {
		for _, w := range p.KEKs {
			previous = append(previous, name(w))
		}
	}
	text := strings.Join(slices.Compact(active), ", ")
	if len(previous) > 0 {
		text += " (previously " + strings.Join(previous, ", ") + ")"
	}
	return text
}
