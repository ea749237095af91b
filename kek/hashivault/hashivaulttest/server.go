package hashivaulttest

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// Server is a server. It is safe for concurrent use. Make one with [New] or
// [NewServer].
type Server struct {
	http *httptest.Server
	root string
	stop chan struct{} // closed by Close: lets go of calls that hang

	mu       sync.Mutex // guards what follows
	mounts   map[place]map[string]*key
	policies map[string]Policy
	tokens   map[string]*token
	version  Version
	faults   faults
	log      []Entry
}

// place is where an engine is mounted.
type place struct{ namespace, mount string }

// New starts a server, which is closed when the test ends.
func New(t testing.TB) *Server {
	s := NewServer()
	t.Cleanup(s.Close)
	return s
}

// NewServer starts a server on a free port of the loopback interface, unsealed,
// with the transit engine mounted at "transit".
func NewServer() *Server {
	s := &Server{
		root:     "hvs.root" + rand.Text(),
		stop:     make(chan struct{}),
		mounts:   map[place]map[string]*key{{"", "transit"}: {}},
		policies: map[string]Policy{"default": {"auth/token/lookup-self": {"read"}}},
		tokens:   map[string]*token{},
		version:  V1_13,
	}
	s.tokens[s.root] = &token{root: true}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Close stops the server. Calls that hang are let go of.
func (s *Server) Close() {
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.mu.Unlock()
	s.http.CloseClientConnections()
	s.http.Close()
}

// URL returns the server's address: "http://127.0.0.1:12345".
func (s *Server) URL() string { return s.http.URL }

// RootToken returns a token that may do everything.
func (s *Server) RootToken() string { return s.root }

// Client returns a client of the SDK's with the token. It doesn't retry, so that
// failures show at once, and ignores the environment.
func (s *Server) Client(token string) *api.Client {
	config := api.DefaultConfig()
	config.Address = s.URL()
	config.MaxRetries = 0
	config.HttpClient = &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 32},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // as the SDK's own
	}
	client, err := api.NewClient(config)
	if err != nil { // only a broken environment or address does this
		panic(fmt.Sprintf("hashivaulttest: %v", err))
	}
	client.ClearNamespace()
	client.SetToken(token)
	return client
}

// Version is a version of Vault, as far as it behaves differently.
type Version int

// The versions.
const (
	V1_11  Version = iota // ignores associated_data (with a warning), gives no references back, knows no partial_failure_response_code
	V1_12                 // ignores associated_data (with a warning), gives no references back
	V1_13                 // the default
	Newest                // says "invalid token" to a token that is not valid
)

// Imitate makes the server behave as an older or a newer one.
func (s *Server) Imitate(v Version) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version = v
}

// Mount mounts a transit engine at the path, in the namespace ("" for the root).
func (s *Server) Mount(namespace, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{strings.Trim(namespace, "/"), strings.Trim(path, "/")}
	if s.mounts[at] == nil {
		s.mounts[at] = map[string]*key{}
	}
}

// Unmount removes an engine and all its keys.
func (s *Server) Unmount(namespace, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mounts, place{strings.Trim(namespace, "/"), strings.Trim(path, "/")})
}

// Entry is a line of the server's log: what Vault's audit device would have
// recorded of a call, in short.
type Entry struct {
	Time      time.Time
	Method    string
	Namespace string
	Path      string // below /v1/: "transit/encrypt/root"
	Items     int    // of a batch; 0 if it was none
	Status    int    // 0: it hung, or the connection was cut
}

// Log returns the calls so far, oldest first.
func (s *Server) Log() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Entry(nil), s.log...)
}

// Calls returns how many calls there were of an operation: "encrypt", "decrypt",
// "rewrap", "keys", "lookup-self"; or of all, for "".
func (s *Server) Calls(operation string) int {
	n := 0
	for _, e := range s.Log() {
		parts := strings.Split(e.Path, "/")
		if operation == "" || parts[len(parts)-1] == operation || len(parts) > 1 && parts[len(parts)-2] == operation {
			n++
		}
	}
	return n
}

// ResetLog empties the log.
func (s *Server) ResetLog() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = nil
}
