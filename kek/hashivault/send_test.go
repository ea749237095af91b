package hashivault_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/embedvault/vault/kek"
	"github.com/embedvault/vault/kek/hashivault"
	"github.com/embedvault/vault/kek/hashivault/hashivaulttest"
	"github.com/hashicorp/vault/api"
)

// An answer that is small on its way and large when it is unpacked is not read to
// its end, and the error keeps little of it, whatever its status.
func TestAnswersAreNotReadWithoutEnd(t *testing.T) {
	const size = 64 << 20
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	for range size >> 20 {
		_, _ = z.Write(bytes.Repeat([]byte(" "), 1<<20))
	}
	_ = z.Close()
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	b := binding("org")
	wrapped := mustWrap(t, f.kek, newKey(), b)
	var status atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write(packed.Bytes())
	}))
	defer srv.Close()
	if err := f.client.SetAddress(srv.URL); err != nil {
		t.Fatal(err)
	}
	for _, s := range []int32{200, 400, 403, 503} {
		status.Store(s)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		_, err := f.kek.Unwrap(t.Context(), wrapped, b)
		runtime.GC()
		runtime.ReadMemStats(&after)
		wantClass(t, "Unwrap", err, kek.ErrUnavailable)
		if got := after.TotalAlloc - before.TotalAlloc; got > size/2 {
			t.Errorf("%d: an answer of %d bytes took %d MB", s, packed.Len(), got>>20)
		}
		if got := int64(after.HeapAlloc) - int64(before.HeapAlloc); got > 1<<20 {
			t.Errorf("%d: the error keeps %d bytes", s, got)
		}
		runtime.KeepAlive(err)
	}
}

// Of a long text that an error wraps, little is kept.
func TestErrorsKeepLittle(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	wrapped := mustWrap(t, f.kek, newKey(), binding("org"))
	f.srv.Rewrite(func(hashivaulttest.Entry, int, []byte) (int, []byte) {
		return 400, []byte(`{"errors":["a","` + string(bytes.Repeat([]byte("x"), 1<<19)) + `","b"]}`)
	})
	_, err := f.kek.Unwrap(t.Context(), wrapped, binding("org"))
	wantClass(t, "Unwrap", err, kek.ErrUnavailable)
	var r *api.ResponseError
	if !errors.As(err, &r) || r.StatusCode != 400 || len(r.Errors) != 2 || len(r.Error()) > 8<<10 {
		t.Errorf("it wraps %.100v", r)
	}
}

// ownContext is a context of somebody's own, as web frameworks have: a goroutine
// watches it for every context that is made of it.
type ownContext struct {
	context.Context
	done chan struct{}
}

func (c ownContext) Done() <-chan struct{} { return c.done }

// Nothing stays behind of a call that has returned. (The client's time limit is a
// minute, and the SDK's contexts live as long if nobody ends them.)
func TestCallsLeaveNothingBehind(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	b := binding("org")
	wrapped := mustWrap(t, f.kek, newKey(), b)
	ctx := ownContext{context.Background(), make(chan struct{})}
	before := runtime.NumGoroutine()
	for range 300 {
		if _, err := f.kek.Unwrap(ctx, wrapped, b); err != nil {
			t.Fatal(err)
		}
	}
	wantSoon(t, "goroutines that were left", func() int { return runtime.NumGoroutine() - before }, 50)
}

// Neither does a connection, of a load balancer that redirects with a body.
func TestRedirectsLeaveNoConnections(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	b := binding("org")
	wrapped := mustWrap(t, f.kek, newKey(), b)
	to := f.client.Address()
	var open atomic.Int64
	balancer := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", to+r.URL.Path)
		w.WriteHeader(http.StatusTemporaryRedirect)
		_, _ = io.WriteString(w, "<html><center>307 Temporary Redirect</center></html>")
	}))
	balancer.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	balancer.Start()
	defer balancer.Close()
	defer balancer.CloseClientConnections()
	if err := f.client.SetAddress(balancer.URL); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := f.kek.Unwrap(t.Context(), wrapped, b); err != nil {
			t.Fatal(err)
		}
	}
	wantSoon(t, "connections that are open", func() int { return int(open.Load()) }, 10)
}

// wantSoon waits until count gives no more than most.
func wantSoon(t *testing.T, what string, count func() int, most int) {
	t.Helper()
	n := count()
	for range 100 {
		if n <= most {
			return
		}
		time.Sleep(20 * time.Millisecond)
		n = count()
	}
	t.Errorf("%s: %d, want at most %d", what, n, most)
}

// holdUp lets the client hang while it makes a request, as it does while it looks
// up an SRV record, until let is called. It tells of each that hangs.
func holdUp(client *api.Client) (hangs <-chan struct{}, let func()) {
	gate, arrived := make(chan struct{}), make(chan struct{}, 1000)
	client.SetWrappingLookupFunc(func(string, string) string {
		arrived <- struct{}{}
		<-gate
		return ""
	})
	return arrived, func() {
		client.SetWrappingLookupFunc(nil)
		close(gate)
	}
}

// A client that doesn't heed ctx holds up nobody beyond it.
func TestContextWhileTheClientHangs(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	key, b := newKey(), binding("org")
	wrapped := mustWrap(t, f.kek, key, b)
	_, let := holdUp(f.client)
	all := operations(f.kek, key, wrapped, b)
	all["New"] = func(ctx context.Context) error {
		_, err := hashivault.New(ctx, f.client, "root", hashivault.Options{})
		return err
	}
	for name, op := range all {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := op(ctx)
		cancel()
		wantClass(t, name, err, kek.ErrUnavailable)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v doesn't match the context's error", name, err)
		}
	}
	let()
	if _, err := f.kek.Unwrap(t.Context(), wrapped, b); err != nil {
		t.Error(err)
	}
}

// Calls that hang and that nobody waits for don't pile up without end.
func TestCallsThatHangAreCounted(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	b := binding("org")
	wrapped := mustWrap(t, f.kek, newKey(), b)
	hangs, let := holdUp(f.client)
	for range 64 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-hangs
			cancel()
		}()
		_, err := f.kek.Unwrap(ctx, wrapped, b)
		wantClass(t, "Unwrap", err, kek.ErrUnavailable)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := f.kek.Unwrap(ctx, wrapped, b)
	wantClass(t, "one too many", err, kek.ErrUnavailable)
	if errors.Is(err, context.DeadlineExceeded) {
		t.Error("one too many was made")
	}
	let()
	wantSoon(t, "Unwrap fails", func() int {
		if _, err := f.kek.Unwrap(t.Context(), wrapped, b); err != nil {
			return 1
		}
		return 0
	}, 0)
}

// What panics or ends its goroutine in a function of the client's is an error, and
// the panic's value is not in it.
func TestClientsFunctionsThatDoNotReturn(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	key, b := newKey(), binding("org")
	wrapped := mustWrap(t, f.kek, key, b)
	for _, broken := range []func(){func() { panic(f.client.Token()) }, runtime.Goexit} {
		f.client.SetWrappingLookupFunc(func(string, string) string { broken(); return "" })
		for name, op := range operations(f.kek, key, wrapped, b) {
			err := op(t.Context())
			wantClass(t, name, err, kek.ErrUnavailable)
			wantSafe(t, name, err, f, key, wrapped)
		}
	}
}

// The namespace is that of New, whatever becomes of the client's, and in the
// middle of a call.
func TestNamespaceStays(t *testing.T) {
	srv := hashivaulttest.New(t)
	srv.Mount("other", "transit")
	srv.CreateKey("root", hashivaulttest.KeyOptions{Namespace: "other", Derived: true})
	f := setUpOn(t, srv, "root", hashivaulttest.KeyOptions{Derived: true})
	f.client.SetToken(srv.RootToken())
	key, b := newKey(), binding("org")
	wrapped := mustWrap(t, f.kek, key, b)
	srv.ResetLog()
	f.client.SetWrappingLookupFunc(func(string, string) string {
		f.client.SetNamespace("other") // between the driver's part of a call and the SDK's
		return ""
	})
	for name, op := range operations(f.kek, key, wrapped, b) {
		if err := op(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, e := range srv.Log() {
		if e.Namespace != "" {
			t.Errorf("%s was called in the namespace %q", e.Path, e.Namespace)
		}
	}
}

// The client's callbacks for requests are kept, and its token may change at any
// time while calls go on.
func TestClientIsTheCallers(t *testing.T) {
	f := setUp(t, hashivaulttest.KeyOptions{Derived: true})
	var called atomic.Int32
	client := f.client.WithRequestCallbacks(func(*api.Request) { called.Add(1) })
	k := open(t, client, "root", hashivault.Options{})
	b := binding("org")
	wrapped := mustWrap(t, k, newKey(), b)
	if called.Load() == 0 {
		t.Error("the callback was not called")
	}
	token, stop, done := client.Token(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				client.SetToken(token)
			}
		}
	}()
	for range 50 {
		if _, err := k.Unwrap(t.Context(), wrapped, b); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
}
