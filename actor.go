package vault

import (
	"context"
	"strings"
	"unicode/utf8"
)

type (
	actorKey  struct{}
	reasonKey struct{}
)

// maxActor is how many bytes of an actor or a reason are kept.
const maxActor = 256

// WithActor returns a context that says who acts: a user, a service, a job. It
// is stored with what they put (Metadata.UpdatedBy) and stands in events.
// Control characters become U+FFFD, so that no name can forge a line of a log,
// and what is longer than 256 bytes is cut.
// Config.Authorizer allows nothing to an actor whose name had to be changed so:
// it could be another's.
func WithActor(ctx context.Context, actor string) context.Context {
	name := printable(actor)
	return context.WithValue(ctx, actorKey{}, actorName{name, name != actor})
}

// actorName is an actor's name as it is kept.
type actorName struct {
	name    string
	changed bool // it isn't what WithActor was given
}

// WithReason returns a context that says why: a ticket, an incident. It stands
// in events. It is treated like an actor's name.
func WithReason(ctx context.Context, reason string) context.Context {
	return context.WithValue(ctx, reasonKey{}, printable(reason))
}

func actorOf(ctx context.Context) string { return actorIn(ctx).name }

func actorIn(ctx context.Context) actorName {
	a, _ := ctx.Value(actorKey{}).(actorName)
	return a
}

func reasonOf(ctx context.Context) string {
	s, _ := ctx.Value(reasonKey{}).(string)
	return s
}

func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if isControl(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
	if len(s) <= maxActor {
		return s
	}
	cut := maxActor
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r <= 0x9f }
