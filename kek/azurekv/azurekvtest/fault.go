package azurekvtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Fault is something that goes wrong with requests, after they were
// authenticated. The zero value does nothing to every request. Fields combine: a
// delay before an error, say.
type Fault struct {
	Op      Op     // which operation; "" is every one
	Key     string // which key, as an identifier without version; "" is every one
	Percent int    // of those, how many, evenly spread; 0 is all
	Times   int    // for how many of them; 0 is until restored

	Delay time.Duration // before anything else
	Hang  bool          // never answer
	Drop  bool          // cut the connection without an answer

	// Status is answered instead of serving the request, with Key Vault's form of
	// an error if there is a Code.
	Status      int
	Code, Inner string
	Header      http.Header

	// Alter changes the answer, whatever it is. It must be safe for concurrent
	// use.
	Alter func(Answer) Answer
}

// Throttled answers 429 to so many of 100 requests:
// https://learn.microsoft.com/azure/key-vault/general/overview-throttling says
// that it has a Retry-After header or not; the code is ours.
func Throttled(percent int) Fault {
	return Fault{Percent: percent, Status: http.StatusTooManyRequests, Code: "Throttled", Header: http.Header{"Retry-After": {"1"}}}
}

// ServerError answers a status of 500 or more. Code is ours.
func ServerError(status int) Fault { return Fault{Status: status, Code: "InternalServerError"} }

// Firewalled answers as a vault does to an address that its firewall doesn't let
// in: https://learn.microsoft.com/azure/key-vault/general/common-error-codes
func Firewalled() Fault {
	return Fault{Status: http.StatusForbidden, Code: "Forbidden", Inner: "ForbiddenByFirewall"}
}

// Truncated cuts the connection half way through the body.
func Truncated() Fault {
	return Fault{Alter: func(a Answer) Answer {
		a.Header = a.Header.Clone()
		a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
		a.Body = a.Body[:len(a.Body)/2]
		return a
	}}
}

// Garbage answers with what is no JSON.
func Garbage() Fault {
	return Fault{Alter: func(a Answer) Answer {
		a.Body = []byte("\x00\xff<html>not json</html>")
		return a
	}}
}

// Empty answers with an empty body.
func Empty() Fault {
	return Fault{Alter: func(a Answer) Answer { a.Body = nil; return a }}
}

// Overlong answers with n bytes of white space before the body.
func Overlong(n int) Fault {
	return Fault{Alter: func(a Answer) Answer {
		a.Body = append(bytes.Repeat([]byte(" "), n), a.Body...)
		return a
	}}
}

// OfAnotherKey puts kid into answers, as if they were of another key.
func OfAnotherKey(kid string) Fault {
	return Fault{Alter: altered(func(doc map[string]any) {
		if key, ok := doc["key"].(map[string]any); ok {
			key["kid"] = kid
		} else {
			doc["kid"] = kid
		}
	})}
}

// WithValue changes the result of a wrapKey, unwrapKey or sign.
func WithValue(change func([]byte) []byte) Fault {
	return Fault{Alter: altered(func(doc map[string]any) {
		value, _ := doc["value"].(string)
		raw, err := base64.RawURLEncoding.DecodeString(value)
		if err == nil && value != "" {
			doc["value"] = base64.RawURLEncoding.EncodeToString(change(raw))
		}
	})}
}

// altered changes the JSON of successful answers.
func altered(change func(map[string]any)) func(Answer) Answer {
	return func(a Answer) Answer {
		var doc map[string]any
		if a.Status != http.StatusOK || json.Unmarshal(a.Body, &doc) != nil {
			return a
		}
		change(doc)
		changed := success(doc)
		changed.Header = a.Header
		return changed
	}
}

// injected is a fault and what it has seen.
type injected struct {
	Fault
	seen, hit int
	restored  chan struct{}
}

// Inject lets the fault happen, until restore is called; what hangs then goes on.
// Of several faults that match a request the one that was injected last happens.
func (s *Server) Inject(f Fault) (restore func()) {
	in := &injected{Fault: f, restored: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, in)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if i := slices.Index(s.faults, in); i >= 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
			close(in.restored)
		}
	}
}

// faultFor returns the fault that happens to a request; if none, one that does
// nothing.
func (s *Server) faultFor(r request) *injected {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range slices.Backward(s.faults) {
		if f.happens(r) {
			return f
		}
	}
	return &injected{}
}

// happens is called with s.mu held.
func (f *injected) happens(r request) bool {
	if f.Op != "" && f.Op != r.op || f.Key != "" && f.Key != r.id() || f.Times > 0 && f.hit == f.Times {
		return false
	}
	f.seen++
	if f.Percent > 0 && f.seen*f.Percent/100 == (f.seen-1)*f.Percent/100 {
		return false
	}
	f.hit++
	return true
}

// before does what comes before an answer, and reports whether there is to be
// one. There is none once the server is closed.
func (f *injected) before(ctx context.Context, done <-chan struct{}) bool {
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-done:
		}
	}
	if f.Hang {
		select {
		case <-f.restored:
		case <-ctx.Done():
		case <-done:
		}
	}
	select {
	case <-done:
		return false
	default:
		return !f.Drop && ctx.Err() == nil
	}
}

// answer is the fault's error.
func (f *injected) answer() Answer {
	a := Answer{Status: f.Status, Header: http.Header{"Content-Type": {"text/html"}}, Body: []byte("<html>an error of nobody's</html>")}
	if f.Code != "" {
		a = failure(f.Status, f.Code, f.Inner, "a fault was injected")
	}
	for k, vs := range f.Header {
		a.Header[k] = slices.Clone(vs)
	}
	return a
}
