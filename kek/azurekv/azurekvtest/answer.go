package azurekvtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Answer is what the server is about to answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// write sends the answer. A Content-Length that is in its header already is left
// as it is: if it is more than the body has, net/http cuts the connection.
func (a Answer) write(w http.ResponseWriter) {
	for k, vs := range a.Header {
		w.Header()[k] = vs
	}
	if w.Header().Get("Content-Length") == "" {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client may have gone
}

func jsonHeader() http.Header {
	return http.Header{"Content-Type": {"application/json; charset=utf-8"}}
}

// success is a 200.
func success(doc any) Answer {
	body, err := json.Marshal(doc)
	if err != nil {
		return failure(http.StatusInternalServerError, "InternalServerError", "", err.Error())
	}
	return Answer{Status: http.StatusOK, Header: jsonHeader(), Body: body}
}

// failure is an error in the form of Key Vault's:
// {"error":{"code":"Forbidden","message":"…","innererror":{"code":"KeyDisabled"}}}, as
// in https://github.com/Azure/azure-sdk-for-go/blob/main/sdk/security/keyvault/TROUBLESHOOTING.md
func failure(status int, code, inner, message string) Answer {
	type coded struct {
		Code string `json:"code"`
	}
	var e struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Inner   *coded `json:"innererror,omitempty"`
	}
	e.Code, e.Message = code, message
	if inner != "" {
		e.Inner = &coded{inner}
	}
	body, _ := json.Marshal(map[string]any{"error": e}) // strings can be marshalled
	return Answer{Status: status, Header: jsonHeader(), Body: body}
}

// badParameter is what Key Vault answers to a ciphertext that doesn't decrypt:
// traffic recorded by gocloud.dev (secrets/azurekeyvault/testdata,
// TestDecryptMalformedError). That the other bad requests have the same code is
// ours.
func badParameter() Answer {
	return failure(http.StatusBadRequest, "BadParameter", "", "The parameter is incorrect.\r\n")
}

// notFound is what Key Vault answers for a key or version that it doesn't have:
// the code KeyNotFound and the text are those that the tests of Microsoft's SDK
// for C++ expect (sdk/keyvault/azure-security-keyvault-keys).
func notFound(name string) Answer {
	return failure(http.StatusNotFound, "KeyNotFound", "", fmt.Sprintf("A key with (name/id) %s was not found in this key vault. "+
		"If you recently deleted this key you may be able to recover it using the correct recovery command. "+
		"For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182", name))
}

// forbidden is a 403. Inner codes and their sources:
//   - KeyDisabled, "Operation … is not allowed on a disabled key.":
//     https://github.com/Azure/azure-sdk-for-python/issues/45342
//   - KeyOperationForbidden: the SDK's TROUBLESHOOTING.md
//   - ForbiddenByRbac, ForbiddenByPolicy: what users report from both permission models
//   - ForbiddenByFirewall: https://learn.microsoft.com/azure/key-vault/general/common-error-codes
//   - KeyNotYetValid, KeyExpired: ours, after KeyDisabled. That such a key is
//     refused, but not for unwrapKey, is documented:
//     https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#date-time-controlled-operations
func forbidden(inner, message string) Answer {
	return failure(http.StatusForbidden, "Forbidden", inner, message)
}
