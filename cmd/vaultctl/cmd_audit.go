package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
)

func (a *app) auditCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "audit",
		Short: "Check and read the logs of package audit",
	}
	c.AddCommand(a.auditVerifyCommand(), a.auditShowCommand(), a.auditKeyCommand(), a.auditHeadsCommand())
	return group(c)
}

func (a *app) auditKeyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "key FILE",
		Short: "Export the key that checks audit logs",
		Long: `Writes the verification key, all its versions, to FILE, which must not exist and is made
with mode 0600: for an auditor who has the log and not the vault. It is a secret:
whoever has it, and can write to a log, can forge the log. It decrypts nothing. No key
is made: there is one once an application has started a log.`,
		Example: "  vaultctl audit key audit.key",
		Args:    cobra.ExactArgs(1),
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		return a.with(ctx, needs{access: reading, keks: true}, func(s *session) error {
			keys, err := s.AuditKeys(ctx)
			if err != nil {
				return err
			}
			if err := a.confirm(ctx, "Whoever has this key can forge audit logs.", "export"); err != nil {
				return err
			}
			var text []byte
			ids := []string{}
			for _, k := range keys {
				text = append(text, k.ExportVerificationKey()...)
				ids = append(ids, k.ID().String())
			}
			if err := writeNew(args[0], text, 0o600); err != nil {
				return fmt.Errorf("write the key: %w", err)
			}
			return a.print(map[string]any{"file": args[0], "key_ids": ids}, fmt.Sprintf("audit key: %d versions are in %s; the newest is %s", len(keys), args[0], ids[0]))
		})
	})
}

// writeNew writes a file that must not exist.
func writeNew(path string, text []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// headLine is how far a log had come, as it is listed, and read again.
type headLine struct {
	Log  vault.ID  `json:"log"`
	Seq  uint64    `json:"seq"`
	Hash string    `json:"hash"`
	Time time.Time `json:"time"`
}

func (h headLine) head() (vault.AuditHead, error) {
	hash, err := hex.DecodeString(h.Hash)
	if err != nil || len(hash) != len(vault.AuditHead{}.Hash) || h.Log.IsZero() || h.Seq == 0 {
		return vault.AuditHead{}, errors.New("what was read is no list of heads")
	}
	return vault.AuditHead{Log: h.Log, Seq: h.Seq, Hash: [32]byte(hash), Time: h.Time}, nil
}

func (a *app) auditHeadsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "heads [FILE]",
		Short: "List how far each audit log had come",
		Long: `Lists, or writes to FILE, which must not exist, what the store keeps of each log: its ID,
and the number and the hash of its last checkpoint. A log whose end was cut off, or
which is missing altogether, shows by it: keep a copy where nobody can change it.`,
		Example: "  vaultctl audit heads\n  vaultctl audit heads heads.json",
		Args:    cobra.MaximumNArgs(1),
	}
	return a.command(c, func(ctx context.Context, args []string) error {
		return a.with(ctx, needs{access: reading}, func(s *session) error {
			heads, err := s.AuditHeads(ctx)
			if err != nil {
				return err
			}
			if len(args) > 0 {
				return a.writeHeads(args[0], heads)
			}
			l := a.lines()
			for _, h := range heads {
				text := fmt.Sprintf("%s  %12d  %s", h.Log, h.Seq, h.Time.UTC().Format(time.DateTime))
				if err := l.add(lineOf(h), fmt.Sprintf("%-36s  %12s  %s", "LOG", "RECORDS", "LAST CHECKPOINT (UTC)"), text); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func lineOf(h vault.AuditHead) headLine {
	return headLine{h.Log, h.Seq, hex.EncodeToString(h.Hash[:]), h.Time.UTC()}
}

func (a *app) writeHeads(path string, heads []vault.AuditHead) error {
	var text []byte
	for _, h := range heads {
		line, err := json.Marshal(lineOf(h))
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	if err := writeNew(path, text, 0o644); err != nil {
		return fmt.Errorf("write the heads: %w", err)
	}
	return a.print(map[string]any{"file": path, "logs": len(heads)}, fmt.Sprintf("audit heads: those of %d logs are in %s", len(heads), path))
}

// headIn returns the head of a log in a file of writeHeads, or nil.
func headIn(path string, log vault.ID) (*vault.AuditHead, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := json.NewDecoder(bufio.NewReader(f))
	for {
		var line headLine
		err := d.Decode(&line)
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, errors.New("what was read is no list of heads")
		}
		h, err := line.head()
		if err != nil || h.Log == log {
			return &h, err
		}
	}
}
