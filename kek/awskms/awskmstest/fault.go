package awskmstest

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Fault is something that goes wrong, for the calls that match its first
// fields. The fields after them say what; the functions below make the usual
// ones. It happens before the call has any effect, except for what spoils a good
// answer.
type Fault struct {
	Operation string // "Decrypt"; empty: every operation
	Region    string // empty: every Region
	Key       *Key   // nil: every key
	Times     int    // how often; 0: until it is removed
	Percent   int    // of the matching calls, evenly spread; 0: all

	Delay time.Duration // answer so much later
	Hang  bool          // don't answer, until the fault is removed
	Drop  bool          // close the connection without an answer

	// An error answer.
	Code    string
	Status  int
	Message string

	// An answer that is none of KMS's: Body with Status (200 if 0).
	Body []byte

	// A good answer that is spoilt on its way.
	Truncate int                  // cut to so many bytes
	Rewrite  func(map[string]any) // members changed; []byte for blobs
	Stale    bool                 // the answer to the operation's call before, if there was one
}

// Throttled is a request quota that is used up. KMS Developer Guide, "Throttling
// AWS KMS requests".
func Throttled() Fault {
	return Fault{Code: "ThrottlingException", Status: http.StatusBadRequest,
		Message: "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."}
}

// InternalError is KMSInternalException.
func InternalError() Fault {
	return Fault{Code: "KMSInternalException", Status: http.StatusInternalServerError}
}

// KeyUnavailable is KeyUnavailableException.
func KeyUnavailable() Fault {
	return Fault{Code: "KeyUnavailableException", Status: http.StatusInternalServerError}
}

// ServiceUnavailable is an answer of what stands before KMS: 503 and no JSON.
func ServiceUnavailable() Fault {
	return Fault{Status: http.StatusServiceUnavailable, Body: []byte("<html>503 Service Unavailable</html>")}
}

// ClockSkew is a wrong clock on the caller's side. Its code and text are seen on
// every AWS JSON service; the SDK's list of them is in aws/retry.
func ClockSkew() Fault {
	return Fault{Code: "InvalidSignatureException", Status: http.StatusBadRequest,
		Message: "Signature expired: 20200101T000000Z is now earlier than 20250101T000000Z (20250101T000500Z - 5 min.)"}
}

// Hang is a KMS that accepts calls and never answers.
func Hang() Fault { return Fault{Hang: true} }

// Garbage is an answer with status 200 that is no JSON.
func Garbage() Fault { return Fault{Body: []byte("\x00\xffnot json")} }

// fault is a Fault that was injected.
type fault struct {
	Fault
	seen, hit int // guarded by the server's mutex
	removed   chan struct{}
}

// Inject makes f happen until remove is called, which may be called more than
// once. Of several faults that match, the first that was injected happens.
func (s *Server) Inject(f Fault) (remove func()) {
	in := &fault{Fault: f, removed: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, in)
	return sync.OnceFunc(func() {
		close(in.removed)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(other *fault) bool { return other == in })
	})
}

// faultFor returns the fault that happens to a call, or nil.
func (s *Server) faultFor(operation string, c *call) *fault {
	for _, f := range s.faults {
		if f.matches(operation, c) && f.due() {
			return f
		}
	}
	return nil
}

func (f *fault) matches(operation string, c *call) bool {
	if f.Operation != "" && f.Operation != operation || f.Region != "" && f.Region != c.region {
		return false
	}
	if f.Key == nil {
		return true
	}
	for _, name := range []string{c.KeyID, c.SourceKeyID} {
		if k, err := c.find(name); err == nil && k == f.Key {
			return true
		}
	}
	return false
}

// due counts a matching call and says whether the fault happens to it.
func (f *fault) due() bool {
	if f.Times > 0 && f.hit >= f.Times {
		return false
	}
	n := f.seen
	f.seen++
	if f.Percent > 0 && (n+1)*f.Percent/100 == n*f.Percent/100 {
		return false
	}
	f.hit++
	return true
}

// wait does the waiting of a fault. It reports whether the call goes on.
func (f *fault) wait(ctx context.Context, closed <-chan struct{}) bool {
	var removed <-chan struct{}
	if f.Hang {
		removed = f.removed
	}
	var after <-chan time.Time
	if !f.Hang {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-after:
		return true
	case <-removed:
	case <-ctx.Done():
	case <-closed:
	}
	return false
}

// apiError is the error answer of a fault, or nil.
func (f *fault) apiError() *apiError {
	if f.Code == "" {
		return nil
	}
	status := f.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	return &apiError{f.Code, status, f.Message}
}
