package hashivault

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"unicode"

	"github.com/embedvault/vault/kek"
	"github.com/hashicorp/vault/api"
)

// said is an error with words of ours in the place of its own; the error itself
// is there for errors.As.
type said struct {
	text string
	err  error
}

func (s said) Error() string { return s.text }
func (s said) Unwrap() error { return s.err }

// say returns err with words that may be logged. What a server says may repeat
// what it was sent, in any spelling: a firewall quotes requests that it refuses.
// So nothing of it is repeated. Where it has words that we know, those stand in
// our error.
func say(err error) said {
	if r := asResponse(err); r != nil {
		return said{serverText(r), capped(r)}
	}
	return said{ownText(err), err}
}

// phrases are words of Vault's that say what is wrong, beside those of rules.
var phrases = []string{
	"invalid token", "bad token", "permission denied",
	"Vault is sealed", "Vault is not initialized", "node is a performance standby",
	"rate limit quota exceeded", "internal error",
	backendMissing, "route entry is tainted", "route entry not found", "unsupported path", "unsupported operation",
}

// serverText says what an answer that is an error says.
func serverText(r *api.ResponseError) string {
	text := fmt.Sprintf("the server answers %d", r.StatusCode)
	if r.RawError {
		return text + ", and not in Vault's form"
	}
	foreign := words(r)
	if strings.TrimSpace(foreign) == "" {
		return text
	}
	for _, rule := range rules {
		if strings.Contains(foreign, rule.text) {
			return text + ": " + rule.text
		}
	}
	for _, phrase := range phrases {
		if strings.Contains(foreign, phrase) {
			return text + ": " + phrase
		}
	}
	return text + " in words that are not repeated here"
}

// plainErrors have texts that are always the same.
var plainErrors = []error{
	context.DeadlineExceeded, context.Canceled, io.ErrUnexpectedEOF, io.EOF,
	http.ErrSchemeMismatch, http.ErrHandlerTimeout, net.ErrClosed,
}

// ownText says what an error says that is no answer. The texts of net and
// crypto/tls have addresses and names of certificates in them, and nothing that
// was sent. Of others the type must do: net/http quotes answers that it can't
// read.
func ownText(err error) string {
	var own note
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var dns *net.DNSError
	var network *net.OpError
	switch {
	case errors.As(err, &own):
		return clip(own.Error())
	case errors.As(err, &certificate):
		return clip(certificate.Error())
	case errors.As(err, &record):
		return clip(record.Msg)
	case errors.As(err, &alert):
		return clip(alert.Error())
	case errors.As(err, &dns):
		return clip(dns.Error())
	case errors.As(err, &network):
		return clip(network.Error())
	}
	for _, known := range plainErrors {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprintf("no answer: an error of type %.100T", innermost(err))
}

func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// How much of an error's text is repeated, and how much of a server's words is
// kept for errors.As, in bytes.
const (
	maxText = 400
	maxKept = 4 << 10
)

// clip returns a text on one line, not long, and of characters that can be seen.
func clip(text string) string {
	text = text[:min(len(text), 2*maxText)]
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text)
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// capped returns the server's error with no more than maxKept bytes of its words,
// which may be a megabyte.
func capped(r *api.ResponseError) *api.ResponseError {
	short, room := *r, maxKept
	short.Errors = nil
	for _, text := range r.Errors {
		if room <= 0 {
			break
		}
		text = strings.Clone(text[:min(len(text), room)]) // lets go of the rest
		short.Errors = append(short.Errors, text)
		room -= len(text) + 1
	}
	return &short
}

// asResponse returns the server's error, or nil if err is none of it.
func asResponse(err error) *api.ResponseError {
	var r *api.ResponseError
	if !errors.As(err, &r) {
		return nil
	}
	return r
}

// fail returns an error of the class, and of that class alone, that wraps cause.
// A cause that matches another class as well is quoted and not wrapped.
func fail(class, cause error) error {
	for _, other := range []error{kek.ErrDenied, kek.ErrUnavailable, kek.ErrCorrupt} {
		if other != class && errors.Is(cause, other) {
			return fmt.Errorf("%w: %v", class, cause)
		}
	}
	return fmt.Errorf("%w: %w", class, cause)
}
