package access

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/embedvault/vault"
)

// rulesVersion is the version of the JSON form. Whatever is added to the form makes a
// new one.
const rulesVersion = 1

// ErrFormat is matched by errors about bytes that are not the JSON form of [Rules].
var ErrFormat = errors.New("not the JSON form of access rules")

// The JSON form. SPEC: docs/ACCESS.md, "The file".
type (
	rulesJSON struct {
		Version uint64     `json:"version"`
		Rules   []ruleJSON `json:"rules"`
	}
	ruleJSON struct {
		Name          string              `json:"name"`
		Effect        string              `json:"effect"`
		Actors        []string            `json:"actors,omitempty"`
		Attributes    map[string][]string `json:"attributes,omitempty"`
		Anyone        bool                `json:"anyone,omitempty"`
		Operations    []vault.Operation   `json:"operations"`
		Context       map[string]string   `json:"context,omitempty"`
		AnyContext    bool                `json:"any_context,omitempty"`
		ObjectPrefix  string              `json:"object_prefix,omitempty"`
		Labels        map[string]string   `json:"labels,omitempty"`
		RequireReason bool                `json:"require_reason,omitempty"`
	}
)

// MarshalJSON returns the rules, in order. Equal rules give equal bytes:
//
//	{"version": 1,
//	 "rules": [{"name": "service-reads-its-tenant",
//	            "effect": "allow",
//	            "attributes": {"kind": ["service"]},
//	            "operations": ["read", "describe"],
//	            "context": {"organization_id": "${actor.organization_id}"}}]}
func (r *Rules) MarshalJSON() ([]byte, error) {
	doc := rulesJSON{Version: rulesVersion, Rules: []ruleJSON{}}
	for _, rule := range r.All() {
		doc.Rules = append(doc.Rules, ruleJSON{
			rule.Name, rule.Effect.String(), rule.Actors, rule.Attributes, rule.Anyone, rule.Operations,
			rule.Context, rule.AnyContext, rule.ObjectPrefix, rule.Labels, rule.RequireReason,
		})
	}
	return json.Marshal(doc)
}

// ParseRules reads the JSON form of rules. Another version, a field that is not known or
// comes twice, a name in another case, null, a list that is there and empty, and anything
// after the document are refused. Memory is bounded by a multiple of len(data).
//
// Errors: [ErrFormat], and [ErrRule] as well if a rule is not valid.
func ParseRules(data []byte) (*Rules, error) {
	rules, err := readRules(data)
	if err != nil {
		return nil, fmt.Errorf("access: parse rules: %w: %w", ErrFormat, err)
	}
	r, err := NewRules(rules...)
	if err != nil {
		return nil, fmt.Errorf("access: parse rules: %w: %w", ErrFormat, err)
	}
	return r, nil
}
