package hashivaulttest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// serve answers a call.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 32<<20))
	if err != nil {
		return // nobody is there to answer to
	}
	entry := Entry{
		Time: time.Now(), Method: r.Method,
		Namespace: strings.Trim(r.Header.Get("X-Vault-Namespace"), "/"),
		Path:      strings.TrimPrefix(r.URL.Path, "/v1/"),
	}
	s.mu.Lock()
	fault, latency, redirect, rewrite := s.faults.next(), s.faults.latency, s.faults.redirect, s.faults.rewrite
	s.mu.Unlock()

	if latency > 0 {
		s.sleep(r, latency)
	}
	if fault == Hang || fault == CutOff {
		s.record(entry)
		if fault == Hang {
			s.sleep(r, time.Hour)
		}
		panic(http.ErrAbortHandler) // closes the connection
	}
	if redirect != "" {
		entry.Status = http.StatusTemporaryRedirect
		s.record(entry)
		http.Redirect(w, r, redirect+r.URL.Path, entry.Status)
		return
	}
	status, answer, ok := fault.instead(entry.Path, body)
	if !ok {
		status, answer = s.answer(&entry, r.Header.Get("X-Vault-Token"), body)
	}
	entry.Status = status
	if rewrite != nil {
		status, answer = rewrite(entry, status, answer)
	}
	s.record(entry)
	send(w, status, answer, fault)
}

// sleep waits for d, for the caller to give up, or for the server to close.
func (s *Server) sleep(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-s.stop:
	}
}

func (s *Server) record(e Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, e)
}

func send(w http.ResponseWriter, status int, answer []byte, fault Fault) {
	w.Header().Set("Content-Type", "application/json")
	switch fault {
	case Truncated:
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		answer = answer[:len(answer)/2]
	case TooLong:
		answer = append(answer, bytes.Repeat([]byte(" "), 2<<20)...)
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer) // who has gone needs no answer
}

// answer makes the right answer, in the order in which Vault looks at a call:
// sealed, JSON, token, permission, route.
func (s *Server) answer(e *Entry, tokenID string, body []byte) (int, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults.sealed {
		return http.StatusServiceUnavailable, errorBody("Vault is sealed")
	}
	request := map[string]any{}
	if len(body) > 0 {
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber()
		if d.Decode(&request) != nil {
			return http.StatusBadRequest, errorBody("error parsing JSON")
		}
	}
	if batch, ok := request["batch_input"].([]any); ok {
		e.Items = len(batch)
	}
	t := s.lookup(tokenID)
	if t == nil {
		if s.version >= Newest {
			return http.StatusForbidden, errorBody("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
		}
		return http.StatusForbidden, errorBody("permission denied")
	}
	keys, op, name := s.route(e.Namespace, e.Path)
	path := e.Path
	if e.Namespace != "" {
		path = e.Namespace + "/" + path
	}
	if !s.may(t, path, capability(e.Method, op, keys[name])) {
		return http.StatusForbidden, errorBody("1 error occurred:\n\t* permission denied\n\n")
	}
	if e.Path == "auth/token/lookup-self" {
		return ok(map[string]any{"policies": t.policies, "type": "service"}, nil)
	}
	if keys == nil {
		return http.StatusNotFound, errorBody("no handler for route " + strconv.Quote(e.Path) + ". route entry not found.")
	}
	return s.transit(e.Method, op, name, keys, request)
}

// route finds the engine by the longest mount that the path begins with.
func (s *Server) route(namespace, path string) (keys map[string]*key, op, name string) {
	longest := -1
	for at, mounted := range s.mounts {
		rest, ok := strings.CutPrefix(path, at.mount+"/")
		if !ok || at.namespace != namespace || len(at.mount) < longest {
			continue
		}
		longest, keys = len(at.mount), mounted
		op, name, _ = strings.Cut(rest, "/")
	}
	return keys, op, name
}

// capability is what a call needs. Of transit's paths only encrypt asks whether
// the key exists, and is a creation if not (pathEncryptExistenceCheck).
func capability(method, op string, k *key) string {
	switch {
	case method == http.MethodGet:
		return "read"
	case method == http.MethodDelete:
		return "delete"
	case op == "encrypt" && k == nil:
		return "create"
	}
	return "update"
}

// ok is Vault's answer with data.
func ok(data any, warnings []string) (int, []byte) { return answerBody(http.StatusOK, data, warnings) }

func answerBody(status int, data any, warnings []string) (int, []byte) {
	b, err := json.Marshal(map[string]any{
		"request_id": "00000000-0000-0000-0000-000000000000", "lease_id": "", "renewable": false, "lease_duration": 0,
		"data": data, "wrap_info": nil, "warnings": warnings, "auth": nil,
	})
	if err != nil {
		return http.StatusInternalServerError, errorBody("internal error")
	}
	return status, b
}

// errorBody is Vault's answer with errors.
func errorBody(errors ...string) []byte {
	if errors == nil {
		errors = []string{}
	}
	b, _ := json.Marshal(map[string][]string{"errors": errors}) // strings always marshal
	return b
}
