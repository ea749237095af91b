package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
)

func (a *app) shredCommand() *cobra.Command {
	var after age
	var receipt string
	c := &cobra.Command{
		Use:   "shred PAIR…",
		Short: "Destroy the keys of every context that contains the pairs, for ever",
		Long: `Destroys keys: every version, purpose and wrapped copy that the store has. What was
encrypted under them can't be decrypted any more, by anyone. With --after the keys are
disabled now and destroyed when the time is over, by the application or by "shred run",
and "shred cancel" takes it back until then. Backups of the store are not reached.

The receipt says what was destroyed, when, by whom and why; "shred verify" checks it
against the store.`,
		Example: "  vaultctl shred organization_id=org_01 --after 30d --reason 'contract ended'\n  vaultctl shred organization_id=org_01 --receipt org_01.json",
	}
	c.Flags().Var(&after, "after", "a waiting period, 30d")
	c.Flags().StringVar(&receipt, "receipt", "", "write the receipt to `FILE`, which must not exist, or be empty")
	a.command(c, func(ctx context.Context, args []string) error {
		match, err := needPairs(args)
		if err != nil {
			return err
		}
		return a.with(ctx, needs{access: writing}, func(s *session) error {
			if err := s.mustMatch(ctx, match); err != nil {
				return err
			}
			if err := a.confirmShred(ctx, s, match, args); err != nil {
				return err
			}
			file, err := newReceipt(receipt)
			if err != nil {
				return err
			}
			m, err := a.meter("shred", func() (int64, error) { return s.countKeys(ctx, filter(match)) })
			if err != nil {
				return errors.Join(err, file.write(vault.ShredReceipt{}))
			}
			r, err := s.Shred(ctx, match, vault.ShredOptions{After: time.Duration(after), Reason: a.flags.reason, Progress: m.set})
			m.end()
			err = errors.Join(file.writeAll(ctx, s, r), a.interrupted(ctx, err, "", ""))
			if r.ID.IsZero() {
				return err
			}
			return errors.Join(a.print(r, describeReceipt(r)), err)
		})
	})
	c.AddCommand(a.shredListCommand(), a.shredCancelCommand(), a.shredRunCommand(), a.shredVerifyCommand(), a.shredReceiptCommand())
	return c
}

func (a *app) confirmShred(ctx context.Context, s *session, match vault.KeyContext, args []string) error {
	if a.flags.yes || !a.interactive {
		return a.confirmPairs(ctx, "This destroys keys, and with them data, for ever.", args)
	}
	keys, versions, err := s.toBeLost(ctx, match)
	if err != nil {
		return err
	}
	return a.confirmPairs(ctx, fmt.Sprintf("This destroys %d keys for ever, and with them %d stored versions of objects and whatever else was encrypted under them.", keys, versions), args)
}

// receiptFile is where a receipt goes; nil: nowhere.
type receiptFile struct{ f *os.File }

// newReceipt makes the file first: a receipt that can't be written is found out before
// anything is destroyed.
func newReceipt(path string) (*receiptFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		f, err = openEmpty(path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("the file for the receipt: %w", err)
	}
	return &receiptFile{f}, nil
}

// openEmpty opens a file with nothing in it: what is left of a receipt if the command
// is killed before it is written. Any other file is not touched.
func openEmpty(path string, exists error) (*os.File, error) {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || info.Size() > 0 {
		return nil, exists
	}
	return os.OpenFile(path, os.O_WRONLY, 0)
}

// writeAll is write with all the keys that the store lists, however many: the file is
// then good also for a copy of the store, which has no list.
func (r *receiptFile) writeAll(ctx context.Context, s *session, receipt vault.ShredReceipt) error {
	if r == nil || receipt.Pending() {
		return r.write(receipt)
	}
	var keys []vault.ShreddedKey
	for key, err := range s.ShreddedKeys(ctx, receipt) {
		if err != nil {
			return errors.Join(err, r.write(receipt))
		}
		keys = append(keys, key)
	}
	receipt.KeyList = keys
	return r.write(receipt)
}

// write writes the receipt, or removes the file if there is none.
func (r *receiptFile) write(receipt vault.ShredReceipt) error {
	if r == nil {
		return nil
	}
	if receipt.ID.IsZero() {
		return errors.Join(r.f.Close(), os.Remove(r.f.Name()))
	}
	data, err := json.MarshalIndent(receipt, "", "  ")
	if err == nil {
		_, err = r.f.Write(append(data, '\n'))
	}
	if err = errors.Join(err, r.f.Sync(), r.f.Close()); err != nil {
		return fmt.Errorf("write the receipt: %w: it is in the store too: shred receipt %s", err, receipt.ID)
	}
	return nil
}

func describeReceipt(r vault.ShredReceipt) string {
	if r.Pending() {
		return fmt.Sprintf("shred %s: pending until %s UTC; the keys are disabled", r.ID, day(r.DueAt))
	}
	return fmt.Sprintf("shred %s: %d keys destroyed at %s UTC\ndigest %s", r.ID, r.Keys, day(r.ShreddedAt), r.Digest)
}
