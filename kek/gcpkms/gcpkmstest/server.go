package gcpkmstest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Owner is the principal of [Server.Client]. It may do everything with every key.
const Owner = "owner@gcpkmstest.iam.gserviceaccount.com"

// Server is a fake Cloud KMS. Its methods are safe for concurrent use.
type Server struct {
	addr   string
	grpc   *grpc.Server
	client *kms.KeyManagementClient
	closed chan struct{} // closed by Close

	mu       sync.Mutex // guards what follows, and all that it leads to
	isClosed bool
	keys     map[string]*cryptoKey // by name
	accounts map[string]*account   // by token
	clients  []*kms.KeyManagementClient
	calls    []Call
	faults   faults
}

// TB is what [New] needs of a *testing.T.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// New starts a server that is closed when the test ends.
func New(t TB) *Server {
	t.Helper()
	s, err := NewServer()
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// NewServer starts a server on a free port of 127.0.0.1. It runs until
// [Server.Close].
func NewServer() (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("gcpkmstest: listen: %w", err)
	}
	s := &Server{
		addr:     listener.Addr().String(),
		closed:   make(chan struct{}),
		keys:     map[string]*cryptoKey{},
		accounts: map[string]*account{},
	}
	s.grpc = grpc.NewServer(grpc.UnaryInterceptor(s.intercept), grpc.ForceServerCodecV2(codec{}))
	kmspb.RegisterKeyManagementServiceServer(s.grpc, service{server: s})
	go func() { _ = s.grpc.Serve(listener) }()
	if s.client, err = s.ClientAs(Owner); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the clients and stops the server. Calls that hang end.
func (s *Server) Close() {
	s.mu.Lock()
	if s.isClosed {
		s.mu.Unlock()
		return
	}
	s.isClosed = true
	clients := s.clients
	s.mu.Unlock()
	close(s.closed)
	for _, c := range clients {
		_ = c.Close()
	}
	s.grpc.Stop()
}

// Addr is where the server listens: "127.0.0.1:" and a port.
func (s *Server) Addr() string { return s.addr }

// Client returns the SDK's client of the server, the same each time, with the
// credentials of [Owner] and otherwise as the SDK makes it: it repeats calls that
// end with UNAVAILABLE for up to a minute. It is closed with the server.
func (s *Server) Client() *kms.KeyManagementClient { return s.client }

// ClientAs returns a new client with the credentials of a principal, which is any
// name. A new principal may do nothing until [Key.Grant]. It is closed with
// the server. Options are added to those that reach the server.
func (s *Server) ClientAs(principal string, opts ...option.ClientOption) (*kms.KeyManagementClient, error) {
	c, err := kms.NewKeyManagementClient(context.Background(), append(s.ClientOptions(principal), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("gcpkmstest: client of %s: %w", principal, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, c)
	return c, nil
}

// ClientOptions are what makes a client of the SDK's talk to this server as the
// principal. The connection is not encrypted.
func (s *Server) ClientOptions(principal string) []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(s.addr),
		option.WithoutAuthentication(), // the SDK's own; the next but one is ours
		option.WithTelemetryDisabled(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		option.WithGRPCDialOption(grpc.WithPerRPCCredentials(s.tokenOf(principal))),
	}
}

// Call is a call that the server got, as the audit log of the key's project would
// show it: which principal asked for what with which key, when, and how it ended.
// Neither plaintexts nor associated data are in it.
type Call struct {
	Time      time.Time
	Method    string // "Encrypt"
	Principal string // "" if there were no valid credentials
	Resource  string // the name asked for
	Code      string // "OK", "PermissionDenied"; "" while it runs
}

// Calls returns the calls so far, in the order in which they came.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// Count returns how often a method was called, of all methods if it is "".
func (s *Server) Count(method string) int {
	n := 0
	for _, c := range s.Calls() {
		if method == "" || c.Method == method {
			n++
		}
	}
	return n
}

// ForgetCalls empties the log.
func (s *Server) ForgetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}
