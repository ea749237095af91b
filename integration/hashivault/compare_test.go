package hashivault_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// step is a call that is made to both servers. A "$" in the body stands for the
// ciphertext that the last call with save returned.
type step struct {
	token, method, path, body string
	save                      bool
}

// steps are calls in their order. root is a token that may do all; app has the
// documented policy for the key "root"; bare is app without the policy
// "default"; maker may create; bad is none.
var steps = []step{
	{"root", "PUT", "transit/keys/root", `{"derived":true}`, false},
	{"root", "PUT", "transit/keys/plain", `{}`, false},
	{"root", "PUT", "transit/keys/small", `{"type":"aes128-gcm96","auto_rotate_period":7200}`, false},
	{"root", "PUT", "transit/keys/rsa", `{"type":"rsa-2048"}`, false},
	{"root", "PUT", "transit/keys/conv", `{"derived":true,"convergent_encryption":true}`, false},
	{"root", "PUT", "transit/keys/wrong", `{"type":"none"}`, false},
	{"root", "PUT", "transit/keys/wrong", `{"convergent_encryption":true}`, false},

	{"app", "GET", "transit/keys/root", ``, false},
	{"root", "GET", "transit/keys/plain", ``, false},
	{"root", "GET", "transit/keys/small", ``, false},
	{"root", "GET", "transit/keys/conv", ``, false},
	{"root", "GET", "transit/keys/none", ``, false},
	{"root", "GET", "transit/keys/-x", ``, false},
	{"root", "GET", "nowhere/keys/root", ``, false},
	{"root", "PUT", "nowhere/encrypt/root", `{"plaintext":"YWJj"}`, false},
	{"root", "GET", "transit/nothing/root", ``, false},
	{"root", "GET", "transit/decrypt/root", ``, false},
	{"root", "PUT", "transit/decrypt/root/x", `{}`, false},
	{"app", "GET", "transit/keys/plain", ``, false},
	{"app", "GET", "nowhere/keys/root", ``, false},
	{"bad", "GET", "transit/keys/root", ``, false},
	{"", "GET", "transit/keys/root", ``, false},
	{"bad", "PUT", "transit/decrypt/root", `{}`, false},
	{"bad", "GET", "auth/token/lookup-self", ``, false},
	{"bare", "GET", "auth/token/lookup-self", ``, false},
	{"bare", "GET", "transit/keys/plain", ``, false},

	{"app", "PUT", "transit/encrypt/root", `{"plaintext":"YWJj","context":"YWI=","type":"must-exist"}`, true},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":"$","context":"YWI="}`, false},
	{"app", "PUT", "transit/rewrap/root", `{"ciphertext":"$","context":"YWI="}`, true},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":"$","context":"YWI="}`, false},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":"$","context":"YWM="}`, false},
	{"app", "PUT", "transit/rewrap/root", `{"ciphertext":"$","context":"YWM="}`, false},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":"$"}`, false},
	{"app", "PUT", "transit/rewrap/root", `{"ciphertext":"$"}`, false},
	{"app", "PUT", "transit/encrypt/root", `{"plaintext":"YWJj"}`, false},
	{"app", "PUT", "transit/encrypt/root", `{"context":"YWI="}`, false},
	{"app", "PUT", "transit/encrypt/root", `{"plaintext":"!","context":"YWI="}`, false},
	{"app", "PUT", "transit/encrypt/root", `{"plaintext":"YWJj","context":"!"}`, false},
	{"app", "PUT", "transit/encrypt/root", `{"plaintext":"YWJj","context":"YWI=","strange":1}`, false},
	{"app", "PUT", "transit/encrypt/root", `{"plain`, false},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":""}`, false},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":"x","context":"YWI="}`, false},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":"vault:v1","context":"YWI="}`, false},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":"vault:vx:YWJj","context":"YWI="}`, false},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":"vault:v2:YWJj","context":"YWI="}`, false},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":"vault:v1:!","context":"YWI="}`, false},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":"vault:v1:YWJj","context":"YWI="}`, false},
	{"app", "PUT", "transit/decrypt/root", `{"ciphertext":"vault:v1:YWJjYWJjYWJjYWJjYWJjYWJj","context":"YWI="}`, false},

	{"root", "PUT", "transit/encrypt/plain", `{"plaintext":"YWJj","associated_data":"YWI="}`, true},
	{"root", "PUT", "transit/decrypt/plain", `{"ciphertext":"$","associated_data":"YWI="}`, false},
	{"root", "PUT", "transit/decrypt/plain", `{"ciphertext":"$","associated_data":"YWM="}`, false},
	{"root", "PUT", "transit/decrypt/plain", `{"ciphertext":"$"}`, false},
	{"root", "PUT", "transit/rewrap/plain", `{"ciphertext":"$"}`, false},
	{"root", "PUT", "transit/decrypt/plain", `{"ciphertext":"$","associated_data":"YWI=","context":"YWI="}`, false},
	{"root", "PUT", "transit/encrypt/rsa", `{"plaintext":"YWJj","associated_data":"YWI="}`, false},
	{"root", "PUT", "transit/decrypt/rsa", `{"ciphertext":"$","associated_data":"YWI="}`, false},

	// Batches: all good, some bad, all bad; with and without the status of partial failures.
	{"root", "PUT", "transit/decrypt/plain", `{"batch_input":[{"ciphertext":"$","associated_data":"YWI=","reference":"a"}]}`, false},
	{"root", "PUT", "transit/decrypt/plain", `{"batch_input":[{"ciphertext":"$","associated_data":"YWI=","reference":"a"},{"ciphertext":"x","reference":"b"}]}`, false},
	{"root", "PUT", "transit/decrypt/plain", `{"batch_input":[{"ciphertext":"$","associated_data":"YWI="},{"ciphertext":"x","reference":"b"}],"partial_failure_response_code":200}`, false},
	{"root", "PUT", "transit/decrypt/plain", `{"batch_input":[{"ciphertext":"x"},{"ciphertext":""}],"partial_failure_response_code":200}`, false},
	{"root", "PUT", "transit/encrypt/plain", `{"batch_input":[{"plaintext":"YWJj","associated_data":"YWI=","reference":"a"},{"plaintext":"!"}],"partial_failure_response_code":200}`, false},
	{"root", "PUT", "transit/rewrap/plain", `{"batch_input":[{"ciphertext":"$","reference":"a"},{"ciphertext":"x"}]}`, false},
	{"root", "PUT", "transit/rewrap/plain", `{"batch_input":[{"ciphertext":"x"}],"partial_failure_response_code":200}`, false},
	{"root", "PUT", "transit/decrypt/root", `{"batch_input":[{"ciphertext":"x","context":"YWI="},{"ciphertext":"x"}]}`, false},
	{"root", "PUT", "transit/decrypt/root", `{"batch_input":[]}`, false},

	// Keys that don't exist, and who may make them.
	{"root", "PUT", "transit/decrypt/none", `{"ciphertext":"$"}`, false},
	{"root", "PUT", "transit/rewrap/none", `{"ciphertext":"$"}`, false},
	{"updater", "PUT", "transit/encrypt/none", `{"plaintext":"YWJj"}`, false},
	{"updater", "PUT", "transit/encrypt/none", `{"plaintext":"YWJj","type":"must-exist"}`, false},
	{"maker", "PUT", "transit/encrypt/none", `{"plaintext":"YWJj","type":"must-exist"}`, false},
	{"maker", "PUT", "transit/encrypt/none", `{"plaintext":"YWJj","type":"ecdsa-p256"}`, false},
	{"maker", "PUT", "transit/encrypt/none", `{"batch_input":[{"plaintext":"YWJj","context":"YWI="}],"type":"must-exist"}`, false},
	{"root", "GET", "transit/keys/none", ``, false},
	{"maker", "PUT", "transit/encrypt/none", `{"plaintext":"YWJj"}`, false},
	{"root", "GET", "transit/keys/none", ``, false},

	// Versions, and deletion.
	{"root", "PUT", "transit/encrypt/plain", `{"plaintext":"YWJj","associated_data":"YWI="}`, true},
	{"root", "PUT", "transit/keys/plain/rotate", ``, false},
	{"root", "PUT", "transit/keys/plain/config", `{"min_decryption_version":3}`, false},
	{"root", "PUT", "transit/keys/plain/config", `{"min_decryption_version":2}`, false},
	{"root", "GET", "transit/keys/plain", ``, false},
	{"root", "PUT", "transit/decrypt/plain", `{"ciphertext":"$","associated_data":"YWI="}`, false},
	{"root", "DELETE", "transit/keys/plain", ``, false},
	{"root", "PUT", "transit/keys/plain/config", `{"deletion_allowed":true}`, false},
	{"root", "DELETE", "transit/keys/plain", ``, false},
	{"root", "DELETE", "transit/keys/plain", ``, false},
	{"root", "PUT", "transit/keys/plain/rotate", ``, false},
	{"root", "PUT", "transit/decrypt/plain", `{"ciphertext":"$","associated_data":"YWI="}`, false},
	{"root", "PUT", "transit/keys/plain", `{}`, false},
	{"root", "PUT", "transit/decrypt/plain", `{"ciphertext":"$","associated_data":"YWI="}`, false},
}

// TestSameAnswers holds our server to the real one: the same calls have the same
// status, the same errors and warnings, and data of the same form.
func TestSameAnswers(t *testing.T) {
	answers := map[string][]string{}
	for name, w := range worlds(t) {
		answers[name] = play(t, w)
	}
	compare(t, answers)
}

func compare(t *testing.T, answers map[string][]string) {
	t.Helper()
	for i, s := range steps {
		if got, want := answers["ours"][i], answers["real"][i]; got != want {
			t.Errorf("%s %s as %q with %s:\nreal %s\nours %s", s.method, s.path, s.token, s.body, want, got)
		}
	}
}

func play(t *testing.T, w world) []string {
	w.policy(t, "app", keyPolicy("transit", "root")...)
	w.policy(t, "updater", "transit/encrypt/* update")
	w.policy(t, "maker", "transit/encrypt/* create,update")
	tokens := map[string]string{
		"root": w.rootToken(), "bad": "hvs.nobody", "": "",
		"app": w.token(t, time.Hour, false, "app"), "bare": w.token(t, time.Hour, true, "app"),
		"updater": w.token(t, time.Hour, false, "updater"), "maker": w.token(t, time.Hour, false, "maker"),
	}
	var answers []string
	saved := ""
	for _, s := range steps {
		status, body := raw(t, w, tokens[s.token], s.method, s.path, strings.ReplaceAll(s.body, "$", saved))
		if s.save {
			var a struct{ Data struct{ Ciphertext string } }
			ok(t, json.Unmarshal(body, &a))
			saved = a.Data.Ciphertext
		}
		answers = append(answers, fmt.Sprint(status, " ", normal(t, body)))
	}
	return answers
}

func raw(t *testing.T, w world, token, method, path, body string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.client("").Address()+"/v1/"+path, strings.NewReader(body))
	ok(t, err)
	if token != "" {
		r.Header.Set("X-Vault-Token", token)
	}
	resp, err := http.DefaultClient.Do(r)
	ok(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ok(t, err)
	return resp.StatusCode, b
}

// random are the parts of answers that differ from call to call.
var random = regexp.MustCompile(`(vault:v[0-9]+:)[A-Za-z0-9+/=]+`)

// normal returns an answer without what differs from call to call.
func normal(t *testing.T, body []byte) string {
	t.Helper()
	if len(bytes.TrimSpace(body)) == 0 {
		return ""
	}
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		return string(body)
	}
	delete(m, "request_id")
	if data, ok := m["data"].(map[string]any); ok {
		if versions, ok := data["keys"].(map[string]any); ok {
			for v := range versions {
				versions[v] = "when"
			}
		}
		delete(data, "min_available_version")
		if _, isToken := data["policies"]; isToken {
			m["data"] = "a token"
		}
	}
	b, err := json.Marshal(m)
	ok(t, err)
	return random.ReplaceAllString(string(b), "$1…")
}
