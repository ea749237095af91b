package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/audit"
)

// errTampered is the end of a verification that found something.
var errTampered = errors.New("the log is not as it was written")

// maxKeyFile is how much is read of an exported key.
const maxKeyFile = 1 << 20

type auditVerifyFlags struct {
	key, heads string
	tail       bool
	chainOnly  bool
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var f auditVerifyFlags
	c := &cobra.Command{
		Use:   "verify FILE…",
		Short: "Has anyone touched an audit log?",
		Long: `Checks the files of one log, in whatever order they are given: that no record was changed,
removed, inserted, moved or cut off, and says where if one was. The key, and what the
store knows of the log's end, come from the vault, with its store and KEKs; or, for an
auditor without them, from files: --key of "audit key", --heads of "audit heads".

What was written after the last checkpoint is chained, and not authenticated: the
number is printed. A record that a killed process left half-written is a note and no
finding. Exit code 1 if there is a finding.`,
		Example: "  vaultctl audit verify audit.log audit.log.0*\n  vaultctl audit verify audit.log --key audit.key --heads heads.json",
		Args:    cobra.MinimumNArgs(1),
	}
	c.Flags().StringVar(&f.key, "key", "", "the exported verification key, a `FILE`, instead of the vault's")
	c.Flags().StringVar(&f.heads, "heads", "", "the exported heads, a `FILE`, instead of the store's")
	c.Flags().BoolVar(&f.tail, "tail", false, "the log's first files are archived, and aren't given")
	c.Flags().BoolVar(&f.chainOnly, "chain-only", false, "check without a key: shows mistakes, and no forgery")
	return a.command(c, func(ctx context.Context, args []string) error {
		opts, err := a.verifyOptions(ctx, args, f)
		if err != nil {
			return err
		}
		r, err := audit.VerifyFiles(ctx, args, opts)
		if err != nil {
			return err
		}
		if !r.OK() {
			err = errTampered
		}
		return errors.Join(a.print(reportOf(&r), reportText(&r)), err)
	})
}

// verifyOptions gathers what a log is checked with. An auditor who has both files needs
// no store.
func (a *app) verifyOptions(ctx context.Context, files []string, f auditVerifyFlags) (opts audit.VerifyOptions, err error) {
	opts.Tail = f.tail
	if f.chainOnly && (f.key != "" || f.heads != "") {
		return opts, usage("--chain-only excludes --key and --heads")
	}
	if f.key != "" {
		if opts.Keys, err = readKeys(f.key); err != nil {
			return opts, err
		}
	}
	log, known := logOf(files)
	if f.heads != "" {
		if opts.Head, err = headIn(f.heads, log); err == nil && opts.Head == nil && known {
			err = fmt.Errorf("%s has no head of log %s", f.heads, log)
		}
		if err != nil {
			return opts, fmt.Errorf("read the heads: %w", err)
		}
	}
	store := a.either(a.flags.store, "VAULTCTL_STORE") != ""
	if f.chainOnly || opts.Keys != nil && (opts.Head != nil || !store) {
		return opts, nil
	}
	if !store {
		return opts, usage("say which vault it is the log of: --store and its KEKs; or give --key FILE, or --chain-only")
	}
	err = a.with(ctx, needs{access: reading, keks: opts.Keys == nil}, func(s *session) error {
		if opts.Keys == nil {
			if opts.Keys, err = s.AuditKeys(ctx); err != nil {
				return err
			}
		}
		if opts.Head != nil || !known {
			return nil
		}
		head, err := s.AuditHead(ctx, log)
		if errors.Is(err, vault.ErrNotFound) {
			return nil
		}
		opts.Head = &head
		return err
	})
	return opts, err
}

func readKeys(path string) ([]*vault.AuditKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	return vault.ParseAuditKeys(text)
}

// logOf returns the ID of the log that the first file with a header is of.
func logOf(files []string) (vault.ID, bool) {
	for _, path := range files {
		if id, err := audit.LogID(path); err == nil {
			return id, true
		}
	}
	return vault.ID{}, false
}

// auditReport is audit.Report as JSON.
type auditReport struct {
	OK            bool           `json:"ok"`
	Log           vault.ID       `json:"log"`
	Files         int            `json:"files"`
	First         uint64         `json:"first"`
	Last          uint64         `json:"last"`
	Events        uint64         `json:"events"`
	Failed        uint64         `json:"failed"`
	Authenticated bool           `json:"authenticated"`
	Checkpoints   uint64         `json:"checkpoints"`
	Checkpoint    uint64         `json:"checkpoint"`
	CheckpointAt  time.Time      `json:"checkpoint_at,omitzero"`
	After         uint64         `json:"after"`
	HeadCompared  bool           `json:"head_compared"`
	Closed        bool           `json:"closed"`
	Findings      []auditFinding `json:"findings"`
	Omitted       int            `json:"omitted,omitempty"`
	Notes         []auditFinding `json:"notes"`
}

type auditFinding struct {
	Kind audit.Kind `json:"kind"`
	File string     `json:"file"`
	Line int        `json:"line,omitempty"`
	Seq  uint64     `json:"seq,omitempty"`
	Last uint64     `json:"last,omitempty"`
	Text string     `json:"text"`
}

func reportOf(r *audit.Report) auditReport {
	return auditReport{
		OK: r.OK(), Log: r.Log, Files: r.Files, First: r.First, Last: r.Last, Events: r.Events, Failed: r.Failed,
		Authenticated: r.Authenticated, Checkpoints: r.Checkpoints, Checkpoint: r.Checkpoint, CheckpointAt: r.CheckpointAt,
		After: r.After, HeadCompared: r.HeadCompared, Closed: r.Closed,
		Findings: findingsOf(r.Findings), Omitted: r.Omitted, Notes: findingsOf(r.Notes),
	}
}

func findingsOf(list []audit.Finding) []auditFinding {
	out := make([]auditFinding, len(list))
	for i, f := range list {
		out[i] = auditFinding(f)
	}
	return out
}

func reportText(r *audit.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "audit log %s: %d files, records %d to %d: %d events, %d of them failed\n", r.Log, r.Files, r.First, r.Last, r.Events, r.Failed)
	switch {
	case !r.Authenticated:
		b.WriteString("chain     checked without a key: whoever can write to the file could have written all of it anew\n")
	case r.Checkpoints > 0:
		fmt.Fprintf(&b, "chain     %d checkpoints are authentic; the last is record %d, of %s UTC; %d records after it are not authenticated\n", r.Checkpoints, r.Checkpoint, r.CheckpointAt.Format(time.DateTime), r.After)
	default:
		b.WriteString("chain     no checkpoint is authentic\n")
	}
	if r.HeadCompared {
		b.WriteString("end       compared with the head that the store keeps\n")
	} else {
		b.WriteString("end       not compared with a head: records may be missing at the end\n")
	}
	if r.Closed {
		b.WriteString("closed    yes\n")
	} else {
		b.WriteString("closed    no: it is in use, or its process was killed\n")
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note      %s\n", oneLine(n))
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "FINDING   %s\n", oneLine(f))
	}
	if r.Omitted > 0 {
		fmt.Fprintf(&b, "FINDING   and %d more\n", r.Omitted)
	}
	if r.OK() {
		b.WriteString("result    nothing was found")
	} else {
		fmt.Fprintf(&b, "result    %d findings", len(r.Findings)+r.Omitted)
	}
	return b.String()
}

// oneLine is a finding as a line: whoever can name a file must not write another.
func oneLine(f audit.Finding) string { return strings.ReplaceAll(f.String(), "\n", `\n`) }
