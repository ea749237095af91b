package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
)

type keyLine struct {
	ID           string           `json:"id"`
	Context      vault.KeyContext `json:"context"`
	ContextHash  string           `json:"context_hash"`
	Purpose      string           `json:"purpose"`
	Version      uint32           `json:"version"`
	State        string           `json:"state"`
	Active       bool             `json:"active"`
	KEKs         []string         `json:"keks"`
	Quorum       string           `json:"quorum,omitempty"`
	Parent       string           `json:"parent,omitempty"`
	Objects      *int64           `json:"objects,omitempty"` // with --count
	CreatedAt    time.Time        `json:"created_at"`
	StateAt      time.Time        `json:"state_changed_at"`
	RewrappedAt  time.Time        `json:"rewrapped_at,omitzero"`
	SupersededAt time.Time        `json:"superseded_at,omitzero"`
}

func (a *app) keysCommand() *cobra.Command {
	var all, count bool
	var state, purpose string
	var maxAge, maxUnused age
	c := &cobra.Command{
		Use:   "keys {PAIR… | --all}",
		Short: "List the keys of every context that contains the pairs",
		Long: `Lists keys: their contexts, versions, states and the KEKs that they are wrapped under.
No key is unwrapped. --max-key-age and --max-unused-age show only those that break the
limit: keys for new data that are older, and keys that were superseded longer ago and
have no stored object under them.`,
		Example: "  vaultctl keys organization_id=org_01\n  vaultctl keys --all --max-key-age 90d --json",
	}
	f := c.Flags()
	f.BoolVar(&all, "all", false, "all keys of the namespace")
	f.BoolVar(&count, "count", false, "count the stored versions of objects under each key")
	f.StringVar(&state, "state", "", "only active, decrypt-only, disabled or shredded ones")
	f.StringVar(&purpose, "purpose", "", "only those for data, index, wrapping or authentication")
	f.Var(&maxAge, "max-key-age", "only keys for new data that are older")
	f.Var(&maxUnused, "max-unused-age", "only keys that were superseded longer ago and are unused")
	return a.command(c, func(ctx context.Context, args []string) error {
		match, err := selection(args, all)
		if err != nil {
			return err
		}
		q := filter(match)
		q.Objects, q.MaxKeyAge, q.MaxUnusedAge = count, time.Duration(maxAge), time.Duration(maxUnused)
		if q.State, err = byName("--state", state, vault.StateActive, vault.StateDecryptOnly, vault.StateDisabled, vault.StateShredded); err != nil {
			return err
		}
		if q.Purpose, err = byName("--purpose", purpose, vault.PurposeData, vault.PurposeIndex, vault.PurposeWrapping, vault.PurposeAuthentication); err != nil {
			return err
		}
		return a.with(ctx, needs{access: reading}, func(s *session) error { return a.listKeys(ctx, s, q) })
	})
}

// byName finds the value that calls itself name; zero for "".
func byName[T fmt.Stringer](flag, name string, values ...T) (zero T, err error) {
	if name == "" {
		return zero, nil
	}
	var names []string
	for _, v := range values {
		if v.String() == name {
			return v, nil
		}
		names = append(names, v.String())
	}
	return zero, usage("%s is one of %s", flag, strings.Join(names, ", "))
}

func (a *app) listKeys(ctx context.Context, s *session, q vault.KeyFilter) error {
	out := a.lines()
	for k, err := range s.Keys(ctx, q) {
		if err != nil {
			return err
		}
		line := lineOfKey(k, q.Objects)
		text := fmt.Sprintf("%-12.12s  %4d  %-14s  %-12s  %s  %-40s  %s",
			k.ID, k.Version, line.Purpose, line.State, day(k.CreatedAt), pairsText(k.Context), wrappedUnder(line))
		if q.Objects {
			text += fmt.Sprintf("  %d versions", k.Objects)
		}
		header := fmt.Sprintf("%-12s  %4s  %-14s  %-12s  %-16s  %-40s  %s", "KEY", "VER", "PURPOSE", "STATE", "CREATED (UTC)", "CONTEXT", "WRAPPED UNDER")
		if err := out.add(line, header, text); err != nil {
			return err
		}
	}
	return nil
}

func lineOfKey(k vault.KeyInfo, counted bool) keyLine {
	line := keyLine{
		ID: k.ID.String(), Context: k.Context, ContextHash: k.ContextHash.String(),
		Purpose: k.Purpose.String(), Version: k.Version, State: k.State.String(), Active: k.Active, KEKs: k.KEKs,
		CreatedAt: k.CreatedAt, StateAt: k.StateChangedAt, RewrappedAt: k.RewrappedAt, SupersededAt: k.SupersededAt,
	}
	if k.Quorum != 0 {
		line.Quorum = k.Quorum.String()
	}
	if !k.Parent.IsZero() {
		line.Parent = k.Parent.String()
	}
	if counted {
		line.Objects = &k.Objects
	}
	return line
}

func wrappedUnder(k keyLine) string {
	switch {
	case len(k.KEKs) == 0:
		return "-"
	case len(k.KEKs) == 1:
		return k.KEKs[0]
	}
	return k.Quorum + " " + strings.Join(k.KEKs, ", ")
}
