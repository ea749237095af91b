package hashivaulttest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"sort"
	"strings"
	"time"
)

// keyName is framework.GenericNameRegex of Vault's sdk.
var keyName = regexp.MustCompile(`^\w(([\w-.]+)?\w)?$`)

// transit answers a call to a transit engine. s.mu is held. The paths, texts and
// status codes are those of Vault 1.13.1's builtin/logical/transit.
func (s *Server) transit(method, op, name string, keys map[string]*key, request map[string]any) (int, []byte) {
	name, sub, _ := strings.Cut(name, "/")
	switch known := op == "keys" || sub == "" && (op == "encrypt" || op == "decrypt" || op == "rewrap"); {
	case !known || !keyName.MatchString(name):
		return http.StatusNotFound, errorBody("1 error occurred:\n\t* unsupported path\n\n")
	case op == "keys":
		return s.keys(method, name, sub, keys, request)
	case method != http.MethodPut && method != http.MethodPost:
		return http.StatusMethodNotAllowed, errorBody("1 error occurred:\n\t* unsupported operation\n\n")
	}
	return s.crypt(op, name, keys, request)
}

// keys is path_keys.go, path_keys_config.go and path_rotate.go.
func (s *Server) keys(method, name, sub string, keys map[string]*key, request map[string]any) (int, []byte) {
	k := keys[name]
	switch {
	case method == http.MethodGet && k == nil:
		return http.StatusNotFound, errorBody()
	case method == http.MethodGet:
		return ok(k.describe(name), nil)
	case method == http.MethodDelete && k == nil:
		return http.StatusBadRequest, errorBody("error deleting policy " + name + ": could not delete key; not found")
	case method == http.MethodDelete && !k.deletable:
		return http.StatusBadRequest, errorBody("error deleting policy " + name + ": deletion is not allowed for this key")
	case method == http.MethodDelete:
		delete(keys, name)
	case sub == "rotate" && k == nil:
		return http.StatusBadRequest, errorBody("key not found")
	case sub == "rotate":
		k.rotate()
	case sub == "config":
		return configure(k, name, request)
	case k == nil:
		return create(keys, name, request)
	}
	return http.StatusNoContent, nil
}

func create(keys map[string]*key, name string, request map[string]any) (int, []byte) {
	k := &key{kind: text(request, "type"), minDecrypt: 1}
	k.derived, _ = request["derived"].(bool)
	k.convergent, _ = request["convergent_encryption"].(bool)
	k.exportable, _ = request["exportable"].(bool)
	k.autoRotate = time.Duration(number(request, "auto_rotate_period")) * time.Second
	if k.kind == "" {
		k.kind = "aes256-gcm96"
	}
	if _, known := sizes[k.kind]; !known {
		return http.StatusBadRequest, errorBody("unknown key type " + k.kind)
	}
	if k.convergent && !k.derived {
		return http.StatusBadRequest, errorBody("convergent encryption requires derivation to be enabled")
	}
	k.rotate()
	keys[name] = k
	return http.StatusNoContent, nil
}

func configure(k *key, name string, request map[string]any) (int, []byte) {
	if k == nil {
		return http.StatusBadRequest, errorBody("no existing key named " + name + " could be found")
	}
	if allowed, ok := request["deletion_allowed"].(bool); ok {
		k.deletable = allowed
	}
	if n := number(request, "min_decryption_version"); n > len(k.versions) {
		return http.StatusBadRequest, errorBody(fmt.Sprintf("cannot set min decryption version of %d, latest key version is %d", n, len(k.versions)))
	} else if n > 0 {
		k.minDecrypt = n
	}
	return http.StatusNoContent, nil
}

// fields are the parameters that each operation knows.
var fields = map[string]string{
	"encrypt": " plaintext context nonce type convergent_encryption key_version partial_failure_response_code associated_data batch_input ",
	"decrypt": " ciphertext context nonce partial_failure_response_code associated_data batch_input ",
	"rewrap":  " ciphertext context nonce key_version batch_input ",
}

// knows reports whether the server knows the parameter of the operation: Vault
// has partial_failure_response_code since 1.12 and associated_data since 1.13.
func (s *Server) knows(op, parameter string) bool {
	switch {
	case parameter == "associated_data" && s.version < V1_13, parameter == "partial_failure_response_code" && s.version < V1_12:
		return false
	}
	return strings.Contains(fields[op], " "+parameter+" ")
}

// crypt is path_encrypt.go, path_decrypt.go and path_rewrap.go.
func (s *Server) crypt(op, name string, keys map[string]*key, request map[string]any) (int, []byte) {
	warnings := s.unknown(op, request)
	s.forget(op, request)
	items, isBatch, problem := inputs(op, request)
	if problem != "" {
		return http.StatusBadRequest, errorBody(problem)
	}
	k := keys[name]
	if k == nil && op == "encrypt" {
		var status int
		var answer []byte
		if k, status, answer = upsert(keys, name, request, items); k == nil {
			return status, answer
		}
	}
	if k == nil {
		return http.StatusBadRequest, errorBody("encryption key not found")
	}
	if k.softDeleted {
		return http.StatusBadRequest, errorBody(softDeleted)
	}
	results, failed := make([]map[string]any, len(items)), 0
	for i, item := range items {
		result, err := k.apply(op, i, item)
		if err != nil {
			result = map[string]any{"error": err.Error()}
			if op == "decrypt" {
				result["plaintext"] = ""
			}
			failed++
		}
		if s.version >= V1_13 {
			result["reference"] = text(item, "reference")
		}
		results[i] = result
	}
	return s.respond(op, request, results, isBatch, failed, warnings)
}

// respond is batchRequestResponse, and what stands before its calls.
func (s *Server) respond(op string, request map[string]any, results []map[string]any, isBatch bool, failed int, warnings []string) (int, []byte) {
	if !isBatch {
		if failed > 0 {
			return http.StatusBadRequest, errorBody(results[0]["error"].(string))
		}
		delete(results[0], "reference")
		return ok(results[0], warnings)
	}
	status := http.StatusOK
	if failed > 0 && op != "rewrap" {
		status = http.StatusBadRequest
		if n := number(request, "partial_failure_response_code"); n != 0 && s.version >= V1_12 && failed < len(results) {
			status = n
		}
	}
	return answerBody(status, map[string]any{"batch_results": results}, warnings)
}

// forget removes the associated data that the operation doesn't know, from the
// request and from the items of a batch.
func (s *Server) forget(op string, request map[string]any) {
	if s.knows(op, "associated_data") {
		return
	}
	items, _ := request["batch_input"].([]any)
	for _, item := range append([]any{request}, items...) {
		if m, ok := item.(map[string]any); ok {
			delete(m, "associated_data")
		}
	}
}

// inputs returns the items of a batch, or the one of a single call.
func inputs(op string, request map[string]any) (items []map[string]any, isBatch bool, problem string) {
	what := "ciphertext to decrypt"
	if op == "encrypt" {
		what = "plaintext to encrypt"
	}
	raw, isBatch := request["batch_input"].([]any)
	if !isBatch {
		if _, given := request["plaintext"].(string); !given && op == "encrypt" || op != "encrypt" && text(request, "ciphertext") == "" {
			return nil, false, "missing " + what
		}
		return []map[string]any{request}, false, ""
	}
	if len(raw) == 0 {
		return nil, true, "missing batch input to process"
	}
	for i, r := range raw {
		item, ok := r.(map[string]any)
		if !ok {
			return nil, true, fmt.Sprintf("failed to parse batch input: [%d] expected a map, got '%T'", i, r)
		}
		if items = append(items, item); (text(item, "context") == "") != (text(items[0], "context") == "") {
			return nil, true, "context should be set either in all the request blocks or in none"
		}
	}
	return items, true, ""
}

// upsert is the part of pathEncryptWrite that makes the key.
func upsert(keys map[string]*key, name string, request map[string]any, items []map[string]any) (k *key, status int, answer []byte) {
	kind := text(request, "type")
	if kind == "" {
		kind = "aes256-gcm96"
	}
	switch kind {
	case "ecdsa-p256", "ecdsa-p384", "ecdsa-p521":
		return nil, http.StatusBadRequest, errorBody("key type " + kind + " not supported for this operation")
	case "aes256-gcm96", "aes128-gcm96":
	default:
		return nil, http.StatusBadRequest, errorBody("unknown key type " + kind)
	}
	k = &key{kind: kind, derived: text(items[0], "context") != "", minDecrypt: 1}
	k.rotate()
	keys[name] = k
	return k, 0, nil
}

// apply does the operation on one item.
func (k *key) apply(op string, i int, item map[string]any) (map[string]any, error) {
	var decoded [3][]byte
	for j, field := range []string{"context", "associated_data", "plaintext"} {
		b, err := base64.StdEncoding.DecodeString(text(item, field))
		if err != nil {
			return nil, err
		}
		decoded[j] = b
	}
	context, ad, plaintext := decoded[0], decoded[1], decoded[2]
	if len(ad) > 0 && !k.aead() {
		return nil, fmt.Errorf("'[%d].associated_data' provided for non-AEAD cipher suite %s", i, k.kind)
	}
	if op != "encrypt" {
		if text(item, "ciphertext") == "" {
			return nil, fmt.Errorf("missing ciphertext to decrypt")
		}
		var err error
		if plaintext, err = k.decrypt(text(item, "ciphertext"), context, ad); err != nil {
			return nil, err
		}
		if op == "decrypt" {
			return map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plaintext)}, nil
		}
	}
	sealed, n, err := k.encrypt(plaintext, context, ad)
	if err != nil {
		return nil, err
	}
	return map[string]any{"ciphertext": sealed, "key_version": n}, nil
}

// unknown is the warning about parameters that the operation doesn't know. It
// says nothing of those of a batch's items. (framework.Backend.HandleRequest, in
// Vault's sdk.)
func (s *Server) unknown(op string, request map[string]any) []string {
	var names []string
	for name := range request {
		if !s.knows(op, name) {
			names = append(names, name)
		}
	}
	if names == nil {
		return nil
	}
	sort.Strings(names)
	return []string{fmt.Sprintf("Endpoint ignored these unrecognized parameters: %v", names)}
}

func text(m map[string]any, field string) string {
	s, _ := m[field].(string)
	return s
}

func number(m map[string]any, field string) int {
	n, _ := m[field].(json.Number)
	i, _ := n.Int64() // 0 if it is none
	return int(i)
}
