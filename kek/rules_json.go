package kek

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/embedvault/vault/keyctx"
)

// rulesVersion is the version of the JSON form. Whatever is added to the form
// makes a new one.
const rulesVersion = 1

// ErrRulesFormat is matched by errors about bytes that are not the JSON form of
// [Rules].
var ErrRulesFormat = errors.New("not the JSON form of KEK rules")

// The JSON form. Generations are those of Rules; a floor is where the past
// begins. SPEC: the comment of Rules.MarshalJSON.
type (
	rulesJSON struct {
		Version    uint64         `json:"version"`
		Generation uint64         `json:"generation"`
		Required   []requiredJSON `json:"required,omitempty"`
		Default    *ruleJSON      `json:"default,omitempty"`
		Rules      []ruleJSON     `json:"rules,omitempty"`
	}
	requiredJSON struct {
		Key  string `json:"key"`
		From uint64 `json:"from"`
	}
	ruleJSON struct {
		Match   keyctx.KeyContext `json:"match,omitempty"`
		Floor   uint64            `json:"floor,omitempty"`
		Choices []choiceJSON      `json:"choices,omitempty"`
	}
	choiceJSON struct {
		From   uint64   `json:"from"`
		Until  uint64   `json:"until,omitempty"`
		Quorum string   `json:"quorum"`
		KEKs   []string `json:"keks"`
	}
)

// MarshalJSON returns the rules with everything that they remember, KEKs by
// their URIs. It holds no secret, but it does hold the matches' values. Equal
// rules give equal bytes:
//
//	{"version": 1,
//	 "generation": 7,
//	 "required": [{"key": "organization_id", "from": 2}],
//	 "default": {"floor": 3, "choices": [{"from": 1, "quorum": "any-of", "keks": ["tink-keyset:local"]}]},
//	 "rules": [{"match": {"organization_id": "org_01"},
//	            "choices": [{"from": 3, "until": 7, "quorum": "any-of", "keks": ["aws-kms://…"]},
//	                        {"from": 7, "quorum": "all-of", "keks": ["aws-kms://…", "tink-keyset:local"]}]}]}
//
// Each change begins a generation, which is the present one's number. A choice
// held from the generation "from" until, and not in, the generation "until", or
// holds still. A floor is the generation at which the past of contexts that
// contain the match begins; the default's is everyone's. To write rules by hand
// give everything the generation 1.
func (r *Rules) MarshalJSON() ([]byte, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	doc := rulesJSON{Version: rulesVersion, Generation: r.now()}
	for _, k := range sortedNames(r.required) {
		doc.Required = append(doc.Required, requiredJSON{Key: k, From: r.required[k]})
	}
	if len(r.fallback.entries) > 0 || r.fallback.floor != 0 {
		def := nodeJSON(&r.fallback)
		doc.Default = &def
	}
	for _, n := range r.index.sorted() {
		doc.Rules = append(doc.Rules, nodeJSON(n))
	}
	return json.Marshal(doc)
}

func nodeJSON(n *ruleNode) ruleJSON {
	j := ruleJSON{Match: n.match, Floor: n.floor}
	for _, e := range n.entries {
		j.Choices = append(j.Choices, choiceJSON{From: e.from, Until: e.until, Quorum: e.quorum.String(), KEKs: e.uris})
	}
	return j
}

// ParseRules reads what [Rules.MarshalJSON] wrote, history and all. The whole
// of data is checked first; then open is called, one call at a time, for each
// URI of each rule, past choices included: once for a URI in a rule, with the
// rule's match as kc, or nil for the default's. It must return the KEK with
// exactly that URI, may keep neither the map nor ctx, and its error ends
// ParseRules, which wraps it. What URIs lead to is open's to decide: refuse
// those that can't be the application's.
//
// Another version, a field that is not known or comes twice, anything after the
// document, and generations that can't be are refused. Memory is bounded by a
// multiple of len(data) and by [MaxRules].
//
// Errors: [ErrRulesFormat]; [ErrPolicy] if open gives no KEK or one with
// another URI; open's and ctx's own.
func ParseRules(ctx context.Context, data []byte, open func(ctx context.Context, uri string, kc keyctx.KeyContext) (Wrapper, error)) (*Rules, error) {
	if open == nil {
		return nil, fmt.Errorf("kek: parse rules: %w: no open function", ErrPolicy)
	}
	r, err := readRules(data)
	if err != nil {
		return nil, fmt.Errorf("kek: parse rules: %w: %w", ErrRulesFormat, err)
	}
	for _, n := range append(r.index.sorted(), &r.fallback) {
		if err := n.open(ctx, open); err != nil {
			return nil, fmt.Errorf("kek: parse rules: %w", err)
		}
	}
	return r, nil
}

// open puts the KEKs of n in the place of their names.
func (n *ruleNode) open(ctx context.Context, open func(context.Context, string, keyctx.KeyContext) (Wrapper, error)) error {
	opened := make(map[string]Wrapper) // one rule's: another's may need other credentials for the same URI
	for _, e := range n.entries {
		for i, uri := range e.uris {
			if opened[uri] == nil {
				if err := ctx.Err(); err != nil {
					return err
				}
				w, err := open(ctx, uri, n.match.Clone())
				switch {
				case err != nil:
					return fmt.Errorf("open %s: %w", uri, err)
				case isNil(w):
					return fmt.Errorf("%w: open %s: it gave no KEK", ErrPolicy, uri)
				case w.URI() != uri:
					return fmt.Errorf("%w: open %s: it gave a KEK with another URI", ErrPolicy, uri)
				}
				opened[uri] = w
			}
			e.keks[i] = opened[uri]
		}
	}
	return nil
}

// named stands for a KEK that has not been opened yet.
type named string

func (n named) URI() string { return string(n) }

func (named) Wrap(context.Context, []byte, Binding) ([]byte, error) {
	return nil, fmt.Errorf("kek: wrap: %w: the KEK has not been opened", ErrUnavailable)
}

func (named) Unwrap(context.Context, []byte, Binding) ([]byte, error) {
	return nil, fmt.Errorf("kek: unwrap: %w: the KEK has not been opened", ErrUnavailable)
}
