package hashivaulttest

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// Fault is a way to answer wrongly. The zero value is none.
type Fault int

// The faults.
const (
	None          Fault = iota
	Hang                // never answers
	CutOff              // closes the connection instead of answering
	InternalError       // 500, as when storage fails
	BadGateway          // 502 and a page of HTML, as a load balancer's
	ForbiddenPage       // 403 and a page of HTML, as a firewall's
	NotFoundPage        // 404 and a page of HTML, as a web server's
	NotLoaded           // 404, as a node that has not loaded the mount's engine
	Standby             // 473, as a performance standby of another cluster
	Uninitialized       // 501
	Throttled           // 429, as a rate limit quota
	Truncated           // the right answer, cut in the middle
	TooLong             // the right answer, and two megabytes behind it
	NotJSON             // 200 and a page of HTML
	Empty               // 200 and an empty object
	LongError           // 400 and a text of a megabyte
	Echo                // 400 and a text that repeats the request
)

// faults are the failures that are switched on.
type faults struct {
	sealed   bool
	fault    Fault
	left     int // how many calls still fail; <0: all
	percent  int // of calls that are throttled
	latency  time.Duration
	redirect string
	rewrite  func(Entry, int, []byte) (int, []byte)
}

// Seal seals the server: it answers 503 to everything.
func (s *Server) Seal() { s.set(func(f *faults) { f.sealed = true }) }

// Unseal ends that.
func (s *Server) Unseal() { s.set(func(f *faults) { f.sealed = false }) }

// Fail lets all calls fail, until Fail(None).
func (s *Server) Fail(f Fault) { s.set(func(fs *faults) { fs.fault, fs.left = f, -1 }) }

// FailNext lets the next n calls fail.
func (s *Server) FailNext(n int, f Fault) { s.set(func(fs *faults) { fs.fault, fs.left = f, n }) }

// Throttle answers 429 to so many of a hundred calls, chosen at random.
func (s *Server) Throttle(percent int) { s.set(func(f *faults) { f.percent = percent }) }

// SetLatency lets every call take at least that long.
func (s *Server) SetLatency(d time.Duration) { s.set(func(f *faults) { f.latency = d }) }

// Redirect answers 307 with the same path on another server, as a standby does,
// until Redirect("").
func (s *Server) Redirect(address string) { s.set(func(f *faults) { f.redirect = address }) }

// Rewrite lets f change every answer before it is sent, until Rewrite(nil). The
// entry's Status is the one that the answer would have had.
func (s *Server) Rewrite(f func(call Entry, status int, body []byte) (int, []byte)) {
	s.set(func(fs *faults) { fs.rewrite = f })
}

func (s *Server) set(change func(*faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.faults)
}

// next says what is to become of a call. s.mu is held.
func (f *faults) next() Fault {
	if f.percent > 0 && rand.IntN(100) < f.percent {
		return Throttled
	}
	if f.fault == None || f.left == 0 {
		return None
	}
	if f.left > 0 {
		f.left--
	}
	return f.fault
}

const page = "<html><body>nginx</body></html>"

// instead answers in the place of the right answer, if the fault is one that
// doesn't need it. Vault's own texts are those of its http/ and vault/ packages.
func (f Fault) instead(path string, body []byte) (status int, answer []byte, ok bool) {
	switch f {
	case InternalError:
		return http.StatusInternalServerError, errorBody("1 error occurred:\n\t* internal error\n\n"), true
	case BadGateway:
		return http.StatusBadGateway, []byte(page), true
	case ForbiddenPage:
		return http.StatusForbidden, []byte(page), true
	case NotFoundPage:
		return http.StatusNotFound, []byte(page), true
	case NotLoaded: // vault/router.go
		return http.StatusNotFound, errorBody(`no handler for route "` + path + `". route entry found, but backend is nil.`), true
	case Standby:
		return 473, errorBody("node is a performance standby"), true
	case Uninitialized:
		return http.StatusNotImplemented, errorBody("Vault is not initialized"), true
	case Throttled:
		return http.StatusTooManyRequests, errorBody(`request path "` + path + `": rate limit quota exceeded`), true
	case NotJSON:
		return http.StatusOK, []byte(page), true
	case Empty:
		return http.StatusOK, []byte("{}"), true
	case LongError:
		return http.StatusBadRequest, errorBody(strings.Repeat("x ", 1<<19)), true
	case Echo:
		return http.StatusBadRequest, errorBody("bad request: " + string(body)), true
	}
	return 0, nil, false
}
