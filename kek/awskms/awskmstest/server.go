package awskmstest

import (
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
)

// Where things are unless the test says otherwise.
const (
	DefaultRegion    = "us-west-2"
	DefaultAccount   = "111122223333"
	DefaultPrincipal = "arn:aws:iam::111122223333:role/app"
)

// TB is what New needs of a [testing.TB].
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Server is KMS in every Region and for every account. It is safe for
// concurrent use, and so are the keys and principals it hands out.
type Server struct {
	URL string // "http://127.0.0.1:…": the endpoint of every Region

	http   *http.Server
	closed chan struct{}

	mu         sync.Mutex // guards all below, and what keys and principals hold
	keys       map[string]*Key
	aliases    map[string]*Key
	principals map[string]*Principal // by access key ID
	faults     []*fault
	events     []Event
	calls      map[string]int
	answers    map[string][]byte // the last good answer of each operation
	vague      bool
}

// New returns a server that is closed at the end of the test.
func New(t TB) *Server {
	t.Helper()
	s, err := NewServer()
	if err != nil {
		t.Fatalf("awskmstest: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// NewServer returns a server on a free port of the loopback interface. Close
// ends it.
func NewServer() (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	s := &Server{
		URL:        "http://" + l.Addr().String(),
		closed:     make(chan struct{}),
		keys:       map[string]*Key{},
		aliases:    map[string]*Key{},
		principals: map[string]*Principal{},
		calls:      map[string]int{},
		answers:    map[string][]byte{},
	}
	s.http = &http.Server{Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.http.Serve(l) }() // it returns when Close is called
	return s, nil
}

// VagueRefusals makes KMS answer Decrypt and ReEncrypt of a ciphertext that
// another key made, or that the caller may not decrypt, by AccessDeniedException
// with words about the ciphertext, in place of IncorrectKeyException and of words
// about the action and the key. AWS has been seen to answer so; which of the two
// it chooses when isn't published.
func (s *Server) VagueRefusals(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vague = on
}

// Close ends the server and every call that is under way. It may be called once.
func (s *Server) Close() {
	close(s.closed)
	_ = s.http.Close()
}

// Client returns a client of the Region for the principal
// [DefaultPrincipal]. See [Principal.Client].
func (s *Server) Client(region string, opts ...func(*kms.Options)) *kms.Client {
	return s.Principal(DefaultPrincipal).Client(region, opts...)
}

// Client returns the SDK's client of the Region with the principal's
// credentials. It makes one attempt for each call, so that calls can be counted;
// opts may change that and everything else.
func (p *Principal) Client(region string, opts ...func(*kms.Options)) *kms.Client {
	o := kms.Options{
		Region:           region,
		BaseEndpoint:     aws.String(p.server.URL),
		Credentials:      p.Credentials(),
		RetryMaxAttempts: 1,
	}
	return kms.New(o, opts...)
}
