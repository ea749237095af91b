package gcpkmstest

import (
	"context"
	"path"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// faults is what the server does wrong. The server's mu guards it.
type faults struct {
	hang     chan struct{} // closed by restore; nil: it doesn't
	latency  time.Duration
	percent  int // of calls that are throttled
	counted  int // calls since Throttle
	failures map[string]error
	tamper   Tampering
}

// Hang makes the server accept calls and never answer, until restore is called:
// what hangs then goes on.
func (s *Server) Hang() (restore func()) {
	gate := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.hang = gate
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.faults.hang == gate {
			s.faults.hang = nil
			close(gate)
		}
	}
}

// Latency makes every answer take so long.
func (s *Server) Latency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.latency = d
}

// Throttle refuses that many of every hundred calls, evenly spread, with
// RESOURCE_EXHAUSTED: all with 100, none with 0.
func (s *Server) Throttle(percent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.percent, s.faults.counted = percent, 0
}

// Fail makes a method ("Encrypt"; "" is every one) fail with an error, a gRPC
// status, such as status.Error(codes.Unavailable, "…") or [ServiceDisabled], until
// restore is called.
func (s *Server) Fail(method string, err error) (restore func()) {
	set := func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.faults.failures == nil {
			s.faults.failures = map[string]error{}
		}
		s.faults.failures[method] = err
	}
	set(err)
	return func() { set(nil) }
}

// Tamper lets f change every answer before it is sent, until restore is called.
func (s *Server) Tamper(f Tampering) (restore func()) {
	set := func(f Tampering) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults.tamper = f
	}
	set(f)
	return func() { set(nil) }
}

// principalKey is the key of the principal in a call's context.
type principalKey struct{}

func principalOf(ctx context.Context) string {
	p, _ := ctx.Value(principalKey{}).(string)
	return p
}

// intercept is around every call.
func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	method := path.Base(info.FullMethod)
	log := s.begin(method, req)
	if err := s.disturb(ctx, method); err != nil {
		log("", err)
		return nil, err
	}
	principal, err := s.authenticate(ctx, "google.cloud.kms.v1.KeyManagementService."+method)
	if err != nil {
		log(principal, err)
		return nil, err
	}
	resp, err := handler(context.WithValue(ctx, principalKey{}, principal), req)
	log(principal, err)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	tamper := s.faults.tamper
	s.mu.Unlock()
	question, isQuestion := req.(proto.Message)
	answer, isAnswer := resp.(proto.Message)
	if tamper == nil || !isQuestion || !isAnswer {
		return resp, nil
	}
	return tamper(method, question, answer)
}

// begin writes a call down, and returns what completes the entry.
func (s *Server) begin(method string, req any) (end func(principal string, err error)) {
	c := Call{Time: time.Now(), Method: method}
	if named, ok := req.(interface{ GetName() string }); ok {
		c.Resource = named.GetName()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := len(s.calls)
	s.calls = append(s.calls, c)
	return func(principal string, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if at < len(s.calls) { // the log may have been emptied
			s.calls[at].Principal, s.calls[at].Code = principal, status.Code(err).String()
		}
	}
}

// disturb does to a call what the faults say.
func (s *Server) disturb(ctx context.Context, method string) error {
	s.mu.Lock()
	f := &s.faults
	hang, latency := f.hang, f.latency
	failure := f.failures[method]
	if failure == nil {
		failure = f.failures[""]
	}
	f.counted++
	if failure == nil && f.counted*f.percent/100 > (f.counted-1)*f.percent/100 {
		failure = errThrottled()
	}
	s.mu.Unlock()
	if hang != nil {
		if err := s.wait(ctx, hang); err != nil {
			return err
		}
	}
	if latency > 0 {
		timer := time.NewTimer(latency)
		defer timer.Stop()
		if err := waitFor(ctx, s.closed, timer.C); err != nil {
			return err
		}
	}
	return failure
}

func (s *Server) wait(ctx context.Context, gate <-chan struct{}) error {
	return waitFor(ctx, s.closed, gate)
}

// waitFor waits for what comes first.
func waitFor[T any](ctx context.Context, closed <-chan struct{}, done <-chan T) error {
	select {
	case <-done:
		return nil
	case <-closed:
		return status.Error(codes.Unavailable, "the server is being closed")
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}
