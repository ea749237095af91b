package azurekvtest

import (
	"io"
	"net/http"
	"strings"
	"time"
)

// Op is an operation, by the name of the permission that it takes in an access
// policy: https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#key-access-control
type Op string

// The operations that the server has.
const (
	Get               Op = "get"
	List              Op = "list" // of a key's versions
	WrapKey           Op = "wrapKey"
	UnwrapKey         Op = "unwrapKey"
	Sign              Op = "sign"
	GetRotationPolicy Op = "getrotationpolicy"
)

// request is what is asked.
type request struct {
	op                  Op
	host, name, version string // version: "" is the newest
	body                []byte
	principal           string
}

// id is the key's identifier without version.
func (r request) id() string { return "https://" + r.host + "/keys/" + r.name }

// maxBody is how much of a request is read.
const maxBody = 1 << 20

// parseRequest reads the path: /keys/{name}, /keys/{name}/{version},
// /keys/{name}/versions, /keys/{name}/rotationpolicy, /keys/{name}/{version}/wrapkey. An
// empty version stands for the newest. Names are case-insensitive in Key Vault:
// https://learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates#object-identifiers
func parseRequest(r *http.Request) (request, *Answer) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		a := badParameter()
		return request{}, &a
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	req := request{host: strings.ToLower(r.Host), body: body}
	if len(parts) >= 2 && parts[0] == "keys" {
		req.name = strings.ToLower(parts[1])
	}
	req.route(r.Method, parts)
	if req.op == "" || req.name == "" {
		a := failure(http.StatusNotFound, "NotFound", "", "azurekvtest has no such operation")
		return request{}, &a
	}
	return req, nil
}

func (r *request) route(method string, parts []string) {
	last := parts[len(parts)-1]
	switch {
	case method == http.MethodGet && len(parts) == 2:
		r.op = Get
	case method == http.MethodGet && len(parts) == 3 && last == "versions":
		r.op = List
	case method == http.MethodGet && len(parts) == 3 && last == "rotationpolicy":
		r.op = GetRotationPolicy
	case method == http.MethodGet && len(parts) == 3:
		r.op, r.version = Get, last
	case method == http.MethodPost && (len(parts) == 3 || len(parts) == 4):
		r.op = map[string]Op{"wrapkey": WrapKey, "unwrapkey": UnwrapKey, "sign": Sign}[last]
		if len(parts) == 4 {
			r.version = parts[2]
		}
	}
}

// Entry is one request in the server's log: what a vault's owner would read in
// the log category AuditEvent, in short.
// https://learn.microsoft.com/azure/key-vault/general/logging
type Entry struct {
	Time      time.Time
	Operation string // "KeyWrap"
	Key       string // the identifier as it was asked for, with the version if there was one
	Identity  string // the principal
	CallerIP  string
	Status    int    // of HTTP
	Result    string // "OK", or the code of the error
}

// operationNames are those of the log:
// https://learn.microsoft.com/azure/key-vault/general/logging#interpret-your-key-vault-logs
var operationNames = map[Op]string{
	Get: "KeyGet", List: "KeyListVersions", WrapKey: "KeyWrap", UnwrapKey: "KeyUnwrap", Sign: "KeySign",
	GetRotationPolicy: "KeyRotationPolicyGet", // this one is ours
}

// record appends to the log.
func (s *Server) record(r request, from *http.Request, a Answer) {
	e := Entry{
		Time: time.Now(), Operation: operationNames[r.op], Key: r.id(), Identity: r.principal,
		CallerIP: from.RemoteAddr, Status: a.Status, Result: "OK",
	}
	if r.version != "" {
		e.Key += "/" + r.version
	}
	if a.Status != http.StatusOK {
		e.Result = http.StatusText(a.Status)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, e)
}

// Log returns the requests that were authenticated and answered, oldest first.
func (s *Server) Log() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Entry(nil), s.log...)
}

// Calls returns how many requests of an operation are in the log; of all if op
// is "".
func (s *Server) Calls(op Op) int {
	n := 0
	for _, e := range s.Log() {
		if op == "" || e.Operation == operationNames[op] {
			n++
		}
	}
	return n
}
