package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/embedvault/vault"
	"github.com/embedvault/vault/audit"
	"github.com/embedvault/vault/keyctx"
)

type auditShowFlags struct {
	object, actor, event, keyID, hash string
	context                           []string
	from, until                       string
	failed                            bool
}

// shown is a record as JSON.
type shown struct {
	File        string           `json:"file"`
	Line        int              `json:"line"`
	Seq         uint64           `json:"seq,omitempty"`
	Time        time.Time        `json:"time"`
	Event       vault.EventName  `json:"event"`
	Actor       string           `json:"actor,omitempty"`
	Reason      string           `json:"reason,omitempty"`
	ContextHash string           `json:"context_hash"`
	Context     vault.KeyContext `json:"context,omitempty"`
	KeyID       *vault.KeyID     `json:"key_id,omitempty"`
	Object      string           `json:"object,omitempty"`
	ObjectID    *vault.ID        `json:"object_id,omitempty"`
	VersionID   *vault.ID        `json:"version_id,omitempty"`
	KEK         string           `json:"kek,omitempty"`
	DurationNS  int64            `json:"duration_ns"`
	ErrorClass  string           `json:"error_class,omitempty"`
	Error       string           `json:"error,omitempty"`
}

func (a *app) auditShowCommand() *cobra.Command {
	var f auditShowFlags
	c := &cobra.Command{
		Use:   "show FILE…",
		Short: "Who did what, when, why, under which key",
		Long: `Prints the records of audit logs, of both kinds, that all the flags select; --actor is here
whom to look for. --context takes exactly this context, in --namespace, by its hash; and
what contains the pair, where records have pairs (Config.EventContext). Neither store nor
key is needed. It proves nothing: see "audit verify". Lines that can't be read are
counted, and exit code 1 says so.`,
		Example: "  vaultctl audit show audit.log --context organization_id=org_01 --object stripe/api-key\n  vaultctl audit show audit.log.* audit.log --failed --from 2026-11-01",
		Args:    cobra.MinimumNArgs(1),
	}
	fl := c.Flags()
	fl.StringVar(&f.object, "object", "", "the object's `NAME`")
	fl.StringVar(&f.actor, "actor", "", "who did it")
	fl.StringVar(&f.event, "event", "", "the event's name, data.read")
	fl.StringVar(&f.keyID, "key-id", "", "the `ID` of the key")
	fl.StringVar(&f.hash, "context-hash", "", "the hash of the key context")
	fl.StringArrayVar(&f.context, "context", nil, "a `PAIR` of the key context; again for more")
	fl.StringVar(&f.from, "from", "", "from this `TIME` on, 2026-11-25 or 2026-11-25T10:00:00Z, UTC")
	fl.StringVar(&f.until, "until", "", "before this `TIME`")
	fl.BoolVar(&f.failed, "failed", false, "only what failed")
	return a.command(c, func(_ context.Context, args []string) error {
		filter, err := a.auditFilter(f)
		if err != nil {
			return err
		}
		return a.showAudit(args, filter)
	})
}

func (a *app) auditFilter(f auditShowFlags) (audit.Filter, error) {
	filter := audit.Filter{Object: f.object, Actor: f.actor, Event: vault.EventName(f.event), Failed: f.failed}
	kc, err := pairs(f.context)
	if err != nil {
		return filter, err
	}
	switch {
	case kc != nil && f.hash != "":
		return filter, usage("give --context or --context-hash")
	case kc != nil:
		filter.Context = kc
		if filter.ContextHash, err = keyctx.HashIn(kc, a.namespace()); err != nil {
			return filter, usageError{err}
		}
	case f.hash != "":
		if filter.ContextHash.UnmarshalText([]byte(f.hash)) != nil {
			return filter, usage("--context-hash has 64 hexadecimal digits")
		}
	}
	if f.keyID != "" && filter.KeyID.UnmarshalText([]byte(f.keyID)) != nil {
		return filter, usage("--key-id has 64 hexadecimal digits")
	}
	for _, t := range []struct {
		flag, text string
		into       *time.Time
	}{{"--from", f.from, &filter.From}, {"--until", f.until, &filter.Until}} {
		if t.text == "" {
			continue
		}
		if *t.into, err = time.Parse(time.DateOnly, t.text); err != nil {
			if *t.into, err = time.Parse(time.RFC3339, t.text); err != nil {
				return filter, usage("%s is a day, 2026-11-25, or a time, 2026-11-25T10:00:00Z", t.flag)
			}
		}
	}
	return filter, nil
}

func (a *app) showAudit(paths []string, filter audit.Filter) error {
	l := a.lines()
	unreadable := 0
	for _, path := range paths {
		n, err := a.showFile(l, path, filter)
		if unreadable += n; err != nil {
			return err
		}
	}
	if unreadable > 0 {
		return fmt.Errorf("%d lines can't be read; \"audit verify\" says which", unreadable)
	}
	return nil
}

func (a *app) showFile(l *lines, path string, filter audit.Filter) (unreadable int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for r, err := range audit.Read([]audit.Source{{Name: path, Reader: f}}, filter) {
		if errors.Is(err, audit.ErrLine) {
			unreadable++
			continue
		}
		if err == nil {
			err = l.add(shownOf(&r), auditHeader, auditText(&r))
		}
		if err != nil {
			return unreadable, err
		}
	}
	return unreadable, nil
}

func shownOf(r *audit.Record) shown {
	s := shown{
		File: r.File, Line: r.Line, Seq: r.Seq, Time: r.Time, Event: r.Event, Actor: r.Actor, Reason: r.Reason,
		ContextHash: hex.EncodeToString(r.ContextHash[:]), Context: r.Context, Object: r.Object, KEK: r.KEK,
		DurationNS: int64(r.Duration), ErrorClass: r.ErrorClass, Error: r.Error,
	}
	if !r.KeyID.IsZero() {
		s.KeyID = &r.KeyID
	}
	if !r.ObjectID.IsZero() {
		s.ObjectID = &r.ObjectID
	}
	if !r.VersionID.IsZero() {
		s.VersionID = &r.VersionID
	}
	return s
}

var auditHeader = fmt.Sprintf("%-23s  %-19s  %-16s  %-16s  %-24s  %-16s  %s", "TIME (UTC)", "EVENT", "WHO", "WHY", "OBJECT", "KEY", "OUTCOME")

func auditText(r *audit.Record) string {
	key, outcome := "-", "done"
	if !r.KeyID.IsZero() {
		key = r.KeyID.Short()
	}
	if r.ErrorClass != "" {
		outcome = r.ErrorClass
	}
	return fmt.Sprintf("%-23s  %-19s  %-16s  %-16s  %-24s  %-16s  %s", r.Time.UTC().Format("2006-01-02 15:04:05.000"),
		plain(string(r.Event)), plain(r.Actor), plain(r.Reason), plain(r.Object), key, plain(outcome))
}

// plain is a text from a log for a table: "-" if there is none, and quoted if something
// in it isn't what it looks like.
func plain(s string) string {
	if s == "" {
		return "-"
	}
	if q := fmt.Sprintf("%+q", s); q != `"`+s+`"` {
		return fmt.Sprintf("%q", s)
	}
	return s
}
