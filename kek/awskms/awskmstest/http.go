package awskmstest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	contentType = "application/x-amz-json-1.1"
	maxRequest  = 1 << 20
)

// authorization is the header of Signature Version 4, "Authorization header".
var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([A-Z0-9]+)/[0-9]{8}/([a-z0-9-]+)/kms/aws4_request, ?SignedHeaders=[^,]+, ?Signature=[0-9a-f]{64}$`)

// serve answers a request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return
	}
	operation, found := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	requestID := newRequestID()
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amzn-Requestid", requestID)
	if !found || operations[operation] == nil || r.Method != http.MethodPost {
		writeError(w, errUnknownOperation())
		return
	}
	c, f, apiErr := s.begin(operation, requestID, r.Header, body)
	if f != nil && !f.wait(r.Context(), s.closed) || f != nil && f.Drop {
		panic(http.ErrAbortHandler) // closes the connection
	}
	if f != nil && f.Body != nil {
		writeBody(w, f.Status, f.Body)
		return
	}
	if apiErr == nil && f != nil {
		apiErr = f.apiError()
	}
	var good answer
	if apiErr == nil {
		good, apiErr = s.run(operation, c)
	}
	s.log(operation, requestID, c, apiErr)
	if apiErr != nil {
		writeError(w, apiErr)
		return
	}
	s.writeAnswer(w, operation, good, f)
}

// begin counts a request, finds out who asks, and whether a fault happens to it.
func (s *Server) begin(operation, requestID string, header http.Header, body []byte) (*call, *fault, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[operation]++
	m := authorization.FindStringSubmatch(header.Get("Authorization"))
	if m == nil {
		return nil, nil, errNoToken()
	}
	p := s.principals[m[1]]
	if p == nil || p.deleted {
		return nil, nil, errUnrecognizedClient()
	}
	c := &call{server: s, principal: p, region: m[2]}
	if err := json.Unmarshal(body, &c.request); err != nil {
		return c, nil, &apiError{"SerializationException", http.StatusBadRequest, ""}
	}
	if p.expired || header.Get("X-Amz-Security-Token") != p.token {
		return c, nil, errExpiredToken()
	}
	return c, s.faultFor(operation, c), nil
}

func (s *Server) run(operation string, c *call) (answer, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return operations[operation](c)
}

func (s *Server) log(operation, requestID string, c *call, err *apiError) {
	if c == nil {
		return
	}
	e := c.event()
	e.EventTime, e.EventName, e.RequestID = time.Now(), operation, requestID
	e.KeyID, e.SourceKeyID, e.DestinationKeyID = c.KeyID, c.SourceKeyID, c.DestinationKeyID
	if err != nil {
		e.ErrorCode, e.ErrorMessage = err.code, err.message
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

// writeAnswer writes a good answer, or what a fault makes of it.
func (s *Server) writeAnswer(w http.ResponseWriter, operation string, good answer, f *fault) {
	body := mustJSON(good)
	s.mu.Lock()
	before := s.answers[operation]
	s.answers[operation] = body
	s.mu.Unlock()
	switch {
	case f == nil:
	case f.Stale && before != nil:
		body = before
	case f.Rewrite != nil:
		f.Rewrite(good)
		body = mustJSON(good)
	case f.Truncate > 0 && f.Truncate < len(body):
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:f.Truncate])
		panic(http.ErrAbortHandler) // closes the connection before the rest
	}
	writeBody(w, http.StatusOK, body)
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	if status == 0 {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// writeError writes an error as AWS JSON 1.1 has it: Smithy, "AWS JSON 1.1
// protocol", "Operation error serialization".
func writeError(w http.ResponseWriter, e *apiError) {
	members := answer{"__type": e.code}
	if e.message != "" {
		members["message"] = e.message
	}
	writeBody(w, e.status, mustJSON(members))
}

func mustJSON(v any) []byte {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		panic("awskmstest: " + err.Error()) // a Rewrite put something strange in
	}
	return b.Bytes()
}

func newRequestID() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:])
	return keyID(raw, false)
}
