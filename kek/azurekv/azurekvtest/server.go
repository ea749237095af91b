package azurekvtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Server is a fake of all Key Vaults and Managed HSMs there are: it answers for
// every host name that its certificate has. It is safe for concurrent use.
type Server struct {
	http  *http.Server
	addr  string
	roots *x509.CertPool
	done  chan struct{} // closed when the server is; ends what hangs

	mu      sync.Mutex // guards what follows, and all that Keys hold
	keys    map[string]*Key
	made    map[int]int // RSA keys taken from the pool, by their size in bits
	tokens  map[string]*Credential
	creds   map[string]*Credential
	denials []*denial
	faults  []*injected
	log     []Entry
	clients []*http.Client
	closed  bool

	disabledWraps bool
}

// New starts a server that is closed when the test ends. It fails the test if it
// can't.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := NewServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// NewServer starts a server. The caller closes it.
func NewServer() (*Server, error) {
	cert, roots, err := newCertificate()
	if err != nil {
		return nil, fmt.Errorf("azurekvtest: make a certificate: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("azurekvtest: listen: %w", err)
	}
	s := &Server{
		addr: listener.Addr().String(), roots: roots, done: make(chan struct{}),
		keys: map[string]*Key{}, made: map[int]int{}, tokens: map[string]*Credential{}, creds: map[string]*Credential{},
	}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          discard, // of clients that hang up and distrust, as tests want
	}
	// HTTP/1.1 alone: one request at a time on a connection, so that what is cut or
	// hangs is that request.
	tlsConfig := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	go func() { _ = s.http.Serve(tls.NewListener(listener, tlsConfig)) }() // returns ErrServerClosed when Close is called
	return s, nil
}

// Close ends the server, its connections, and everything that hangs. It may be
// called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	clients := s.clients
	s.mu.Unlock()
	if !first {
		return
	}
	close(s.done)
	for _, c := range clients {
		c.CloseIdleConnections()
	}
	_ = s.http.Close() // it has nothing to say that a test could use
}

// LetDisabledWrap lets disabled keys do wrapKey, until restore is called, as is
// reported of Key Vault: https://github.com/Azure/azure-sdk-for-python/issues/45342
// has a table of what it lets a disabled key do, with wrapKey in it, and without
// unwrapKey and sign. By default they do nothing here.
func (s *Server) LetDisabledWrap() (restore func()) {
	set := func(to bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.disabledWraps = to
	}
	set(true)
	return func() { set(false) }
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() string { return s.addr }

// HTTPClient returns a client whose connections, whatever their host name, lead
// to the server, and which trusts its certificate alone. It is the Transport of
// an azkeys client.
func (s *Server) HTTPClient() *http.Client {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.addr)
	}
	c := &http.Client{Transport: &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 32,
	}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, c)
	return c
}

// serve answers one request: who asks, then what goes wrong, then what is asked.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	req, bad := parseRequest(r)
	if bad != nil {
		bad.write(w)
		return
	}
	cred, refused := s.authenticate(r)
	if refused != nil {
		refused.write(w)
		return
	}
	req.principal = cred.principal
	fault := s.faultFor(req)
	if !fault.before(r.Context(), s.done) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = conn.Close() // cut, without an answer
		}
		return
	}
	var a Answer
	if fault.Status != 0 {
		a = fault.answer()
	} else {
		a = s.handle(req)
	}
	if fault.Alter != nil {
		a = fault.Alter(a)
	}
	s.record(req, r, a)
	a.write(w)
}
