package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
)

type pendingLine struct {
	ID          vault.ID         `json:"id"`
	Match       vault.KeyContext `json:"match"`
	State       string           `json:"state"` // "pending", "begun", "done"
	Actor       string           `json:"actor,omitempty"`
	Reason      string           `json:"reason,omitempty"`
	RequestedAt time.Time        `json:"requested_at"`
	DueAt       time.Time        `json:"due_at"`
	ShreddedAt  time.Time        `json:"shredded_at,omitzero"`
	Keys        int64            `json:"keys,omitempty"` // destroyed
	Digest      string           `json:"digest,omitempty"`
}

func (a *app) shredListCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "list", Short: "List shreddings: pending, begun and done", Args: cobra.NoArgs,
		Example: "  vaultctl shred list --json",
	}
	return a.command(c, func(ctx context.Context, _ []string) error {
		return a.with(ctx, needs{access: reading}, func(s *session) error {
			pending, unread := s.PendingShreds(ctx) // one that can't be read doesn't hide the others
			if len(pending) == 0 && unread != nil {
				return unread
			}
			out := a.lines()
			for _, p := range pending {
				line := pendingLine{ID: p.ID, Match: p.Match, State: "pending", Actor: p.Actor, Reason: p.Reason, RequestedAt: p.RequestedAt, DueAt: p.DueAt}
				if p.Begun {
					line.State = "begun"
				}
				if err := out.addShred(line, p.DueAt); err != nil {
					return err
				}
			}
			for r, err := range s.ShredReceipts(ctx) {
				if err != nil {
					return err
				}
				line := pendingLine{
					ID: r.ID, Match: r.Match, State: "done", Actor: r.Actor, Reason: r.Reason, RequestedAt: r.RequestedAt,
					DueAt: r.DueAt, ShreddedAt: r.ShreddedAt, Keys: r.Keys, Digest: r.Digest,
				}
				if err := out.addShred(line, r.ShreddedAt); err != nil {
					return err
				}
			}
			return unread
		})
	})
}

func (l *lines) addShred(p pendingLine, at time.Time) error {
	header := fmt.Sprintf("%-36s  %-7s  %-16s  %-12s  %s", "SHREDDING", "STATE", "DUE, DONE (UTC)", "ACTOR", "CONTEXT")
	return l.add(p, header, fmt.Sprintf("%s  %-7s  %s  %-12s  %s", p.ID, p.State, day(at), p.Actor, pairsText(p.Match)))
}

func (a *app) shredCancelCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "cancel ID", Short: "Cancel a shredding within its waiting period", Args: cobra.ExactArgs(1),
		Example: "  vaultctl shred cancel 019aa2c0-0000-7000-8000-000000000000",
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		id, err := vault.ParseID(args[0])
		if err != nil {
			return usageError{err}
		}
		return a.with(ctx, needs{access: writing}, func(s *session) error {
			if err := a.interrupted(ctx, s.CancelShred(ctx, id), "", ""); err != nil {
				return err
			}
			return a.print(map[string]any{"id": id, "cancelled": true}, fmt.Sprintf("shred %s: cancelled; its keys are enabled", id))
		})
	})
}

func (a *app) shredRunCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "run", Short: "Carry out the shreddings that are due, or were interrupted", Args: cobra.NoArgs,
		Long:    "Destroys what is due. Applications do that by themselves, unless Config.NoBackground is set.",
		Example: "  vaultctl shred run --yes --json",
	}
	return a.command(c, func(ctx context.Context, _ []string) error {
		return a.with(ctx, needs{access: writing}, func(s *session) error {
			if err := a.confirm(ctx, "This destroys the keys of all shreddings that are due, for ever.", "run"); err != nil {
				return err
			}
			done, err := s.RunShreds(ctx)
			var texts []string
			for _, r := range done {
				texts = append(texts, describeReceipt(r))
			}
			if len(done) == 0 {
				texts, done = []string{"shred run: nothing was due"}, []vault.ShredReceipt{}
			}
			return errors.Join(a.print(map[string]any{"receipts": done}, strings.Join(texts, "\n")), a.interrupted(ctx, err, "", ""))
		})
	})
}

func (a *app) shredVerifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "verify FILE", Short: "Check a receipt against the store", Args: cobra.ExactArgs(1),
		Long: `Checks that a receipt was not changed and that each of its keys is a tombstone without
any wrapped copy in the store. It says nothing of backups.`,
		Example: "  vaultctl shred verify org_01.json",
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		data, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		var r vault.ShredReceipt
		if err := json.Unmarshal(data, &r); err != nil {
			return fmt.Errorf("%w: the file is not a receipt", vault.ErrReceipt)
		}
		return a.with(ctx, needs{access: reading}, func(s *session) error {
			if err := s.VerifyShred(ctx, r); err != nil {
				return err
			}
			return a.print(map[string]any{"id": r.ID, "valid": true, "keys": r.Keys}, fmt.Sprintf("shred %s: the receipt holds: %d keys are destroyed", r.ID, r.Keys))
		})
	})
}

func (a *app) shredReceiptCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "receipt ID [FILE]", Short: "Print a receipt that the store has, or write it to a file", Args: cobra.RangeArgs(1, 2),
		Example: "  vaultctl shred receipt 019aa2c0-0000-7000-8000-000000000000 org_01.json",
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		id, err := vault.ParseID(args[0])
		if err != nil {
			return usageError{err}
		}
		return a.with(ctx, needs{access: reading}, func(s *session) error {
			for r, err := range s.ShredReceipts(ctx) {
				if err != nil {
					return err
				}
				if r.ID == id {
					return a.giveReceipt(ctx, s, r, args[1:])
				}
			}
			return fmt.Errorf("%w: no receipt has this ID; a shredding that is pending has none yet", vault.ErrNotFound)
		})
	})
}

// giveReceipt prints a receipt, or writes it to a file that must not exist.
func (a *app) giveReceipt(ctx context.Context, s *session, r vault.ShredReceipt, path []string) error {
	if len(path) == 0 {
		data, err := json.MarshalIndent(r, "", "  ")
		return errors.Join(err, a.print(r, string(data)))
	}
	file, err := newReceipt(path[0])
	if err != nil {
		return err
	}
	return errors.Join(file.writeAll(ctx, s, r), a.print(r, describeReceipt(r)))
}
