package vault

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/embedvault/vault/keyring"
)

// EventName says what an [Event] is about.
type EventName string

// The names of events.
const (
	DataCreated        EventName = "data.created"        // Put made an object
	DataUpdated        EventName = "data.updated"        // Put added a version
	DataRead           EventName = "data.read"           // Get and its kin
	DataDeleted        EventName = "data.deleted"        // Delete, or the sweep of what expired
	DataReencrypted    EventName = "data.reencrypted"    // ReencryptObjects moved a version to the active key
	MessageReencrypted EventName = "message.reencrypted" // Reencrypt; successes only with Config.EventMessages
	NamesListed        EventName = "names.listed"        // List, ListPage, Versions
	MetadataRead       EventName = "metadata.read"       // Describe, Lookup
	MessageEncrypted   EventName = "message.encrypted"   // only with Config.EventMessages, or failed
	MessageDecrypted   EventName = "message.decrypted"   // successes only with Config.EventMessages
	FieldEncrypted     EventName = "field.encrypted"     // of fields; as message.encrypted. Object is table.column
	FieldDecrypted     EventName = "field.decrypted"     // of fields; as message.decrypted. Object is table.column
	IndexComputed      EventName = "index.computed"      // a blind index was computed; as message.encrypted
	DEKCreated         EventName = "dek.created"
	DEKDecrypted       EventName = "dek.decrypted"
	DEKRekeyed         EventName = "dek.rekeyed" // of the context that it is for now; the other gets dek.decrypted
	KeyCreated         EventName = "key.created"
	KeyRotated         EventName = "key.rotated"   // a new version was made; or Rotate failed
	KeyRewrapped       EventName = "key.rewrapped" // Rewrap wrapped a key anew, or could not
	KeyDisabled        EventName = "key.disabled"  // Disable, or the waiting period of Shred; also one that takes over from another
	KeyEnabled         EventName = "key.enabled"   // Enable, CancelShred
	KeyShredded        EventName = "key.shredded"
	KeyRetired         EventName = "key.retired" // RetireKeys: shredded, after its data moved to a newer one
	KEKDenied          EventName = "kek.denied"
	KEKVerified        EventName = "kek.verified"
	AuditKeyTaken      EventName = "audit.key"     // AuditKey, AuditKeys: whoever has it can forge an audit log
	AccessDenied       EventName = "access.denied" // an operation that makes no other event was denied
)

// Event is what Config.OnEvent is told of one operation. It holds nothing
// secret; Object, Actor, Reason and Context are what users and customers call
// things, and may be personal data.
type Event struct {
	Name   EventName
	Time   time.Time // when the operation began, UTC
	Actor  string    // of WithActor
	Reason string    // of WithReason

	ContextHash ContextHash
	Context     KeyContext // only with Config.EventContext; not to be changed
	KeyID       KeyID
	Object      string // name
	ObjectID    ID     // also that of the shredding which a key was disabled, enabled or shredded for
	VersionID   ID
	KEK         string // URI, of kek.denied

	Duration time.Duration
	Err      error // nil if it was done
}

// op is an operation under way, of which an event is made at its end.
type op struct {
	v     *Vault
	ctx   context.Context
	event *Event // nil if nobody listens: it is larger than the rest of a warm call
}

// begin starts an operation's event.
func (v *Vault) begin(ctx context.Context, name EventName, c keyring.Context) op {
	o := op{v: v, ctx: ctx}
	if v.cfg.OnEvent == nil {
		return o
	}
	o.event = &Event{
		Name: name, Time: time.Now(), Actor: actorOf(ctx), Reason: reasonOf(ctx),
		ContextHash: c.Hash,
	}
	if v.cfg.EventContext {
		o.event.Context = c.Pairs.Clone()
	}
	return o
}

// change lets f change the event, if there is one.
func (o op) change(f func(*Event)) {
	if o.event != nil {
		f(o.event)
	}
}

// key notes under which key the operation sealed or opened.
func (o op) key(id KeyID) {
	if o.event != nil {
		o.event.KeyID = id
	}
}

// object notes which object the operation is about.
func (o op) object(name string, id, version ID, key KeyID) {
	o.change(func(e *Event) { e.Object, e.ObjectID, e.VersionID, e.KeyID = name, id, version, key })
}

// end tells OnEvent of the operation's outcome and returns its error. If it was
// done and its event is required but wasn't recorded, that is the error.
func (o op) end(err error) error {
	if o.event == nil {
		return err
	}
	e := *o.event
	e.Err = err
	e.Duration = time.Since(e.Time)
	e.Time = e.Time.UTC()
	eventErr := o.v.send(o.ctx, e)
	if eventErr == nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w; moreover: %w", err, eventErr)
	}
	return eventErr
}

// endMessage is end for message calls, whose successes are events only by
// option.
func (o op) endMessage(err error) error {
	if err == nil && !o.v.cfg.EventMessages {
		return nil
	}
	return o.end(err)
}

// send hands an event to OnEvent. The error it returns matches ErrEvent and
// fails the operation; without FailClosed there is none.
func (v *Vault) send(ctx context.Context, e Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic of type %T", p)
		}
		if err == nil {
			return
		}
		v.eventErrors.Add(1)
		if !v.cfg.FailClosed {
			err = nil
			return
		}
		done := "the operation was done, but its"
		if e.Err != nil {
			done = "the"
		}
		err = fmt.Errorf("vault: %s: %s %w: %w", e.Name, done, ErrEvent, err)
	}()
	return v.cfg.OnEvent(ctx, e)
}

// keyEvent passes on an event of the keyring.
func (v *Vault) keyEvent(ctx context.Context, k keyring.Event) error {
	o := v.begin(ctx, keyEventName(k.Kind), keyring.Context{Hash: k.ContextHash, Pairs: k.Context})
	o.change(func(e *Event) {
		e.Time, e.KeyID, e.KEK = time.Now().Add(-k.Duration), k.KeyID, k.URI
	})
	err := o.end(k.Err)
	if k.Err != nil && err == k.Err { //nolint:errorlint // the very value: the event was recorded
		return nil
	}
	return err
}

func keyEventName(k keyring.EventKind) EventName {
	switch k {
	case keyring.KeyCreated:
		return KeyCreated
	case keyring.KeyRotated:
		return KeyRotated
	case keyring.KeyRewrapped:
		return KeyRewrapped
	default:
		return KEKDenied
	}
}

// SlogSink returns an OnEvent that logs every event to h: done ones at level
// Info, failed ones at level Warn. Its error is h's.
func SlogSink(h slog.Handler) func(context.Context, Event) error {
	return func(ctx context.Context, e Event) error {
		level := slog.LevelInfo
		if e.Err != nil {
			level = slog.LevelWarn
		}
		if !h.Enabled(ctx, level) {
			return nil
		}
		r := slog.NewRecord(e.Time, level, string(e.Name), 0)
		r.AddAttrs(e.attrs()...)
		return h.Handle(ctx, r)
	}
}

// attrs returns what is set of an event, under stable names.
func (e Event) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("context_hash", e.ContextHash.String())}
	add := func(set bool, a slog.Attr) {
		if set {
			attrs = append(attrs, a)
		}
	}
	add(e.Context != nil, slog.Any("context", e.Context))
	add(e.Actor != "", slog.String("actor", e.Actor))
	add(e.Reason != "", slog.String("reason", e.Reason))
	add(!e.KeyID.IsZero(), slog.String("key_id", e.KeyID.String()))
	add(e.Object != "", slog.String("object", e.Object))
	add(!e.ObjectID.IsZero(), slog.String("object_id", e.ObjectID.String()))
	add(!e.VersionID.IsZero(), slog.String("version_id", e.VersionID.String()))
	add(e.KEK != "", slog.String("kek", e.KEK))
	attrs = append(attrs, slog.Duration("duration", e.Duration))
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	return attrs
}
