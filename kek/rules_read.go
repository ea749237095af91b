package kek

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/embedvault/vault/keyctx"
)

// readRules reads and checks a document. The KEKs of the result are [named].
func readRules(data []byte) (*Rules, error) {
	if !utf8.Valid(data) { // encoding/json would read U+FFFD for it
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	r := new(Rules)
	var version, generation uint64
	err := readObject(d, func(field string) error {
		switch field {
		case "version":
			return readUint(d, &version)
		case "generation":
			return readUint(d, &generation)
		case "required":
			return readArray(d, MaxRequired, func() error { return r.readRequired(d) })
		case "default":
			return readNode(d, &r.fallback, false)
		case "rules":
			return readArray(d, MaxRules, func() error { return r.readRule(d) })
		}
		return fmt.Errorf("unknown field %.40q", field)
	})
	switch {
	case version > rulesVersion: // first: what is unknown may be what is new
		return nil, fmt.Errorf("version %d, want %d", version, rulesVersion)
	case err != nil:
		return nil, err
	case version != rulesVersion:
		return nil, fmt.Errorf("no version, want %d", rulesVersion)
	case generation == 0 || generation > maxGeneration:
		return nil, fmt.Errorf("generation %d", generation)
	case d.InputOffset() != int64(len(bytes.TrimRight(data, " \t\r\n"))):
		return nil, errors.New("something follows the document")
	}
	r.changes = generation - 1
	if err := r.checkGenerations(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Rules) readRequired(d *json.Decoder) error {
	var key string
	var from uint64
	err := readObject(d, func(field string) error {
		switch field {
		case "key":
			return readString(d, &key)
		case "from":
			return readUint(d, &from)
		}
		return fmt.Errorf("unknown field %.40q", field)
	})
	if err != nil {
		return err
	}
	if err := (keyctx.KeyContext{key: "-"}).Validate(); err != nil {
		return err
	}
	if from == 0 || r.required[key] != 0 {
		return fmt.Errorf("the required key %q: from 0, or twice", key)
	}
	if r.required == nil {
		r.required = make(map[string]uint64)
	}
	r.required[key] = from
	return nil
}

func (r *Rules) readRule(d *json.Decoder) error {
	var read ruleNode
	if err := readNode(d, &read, true); err != nil {
		return err
	}
	if err := read.match.Validate(); err != nil {
		return err
	}
	if r.index.find(read.match) != nil {
		return fmt.Errorf("two rules have the same match, of %s", describeMatch(read.match))
	}
	n, err := r.index.ensure(read.match)
	if err != nil {
		return err
	}
	*n = read
	return nil
}

func readNode(d *json.Decoder, n *ruleNode, withMatch bool) error {
	err := readObject(d, func(field string) error {
		switch {
		case field == "match" && withMatch:
			return readMatch(d, n)
		case field == "floor":
			return readUint(d, &n.floor)
		case field == "choices":
			return readArray(d, MaxPastChoices+1, func() error { return n.readChoice(d) })
		}
		return fmt.Errorf("unknown field %.40q", field)
	})
	if err == nil && len(n.entries) == 0 && n.floor == 0 {
		err = errors.New("a rule that says nothing")
	}
	return err
}

func readMatch(d *json.Decoder, n *ruleNode) error {
	n.match = make(keyctx.KeyContext)
	return readObject(d, func(key string) error {
		if len(n.match) == keyctx.MaxPairs {
			return fmt.Errorf("more than %d pairs in a match", keyctx.MaxPairs)
		}
		var value string
		err := readString(d, &value)
		n.match[key] = value
		return err
	})
}

func (n *ruleNode) readChoice(d *json.Decoder) error {
	var from, until uint64
	var quorum string
	var c Choice
	err := readObject(d, func(field string) error {
		switch field {
		case "from":
			return readUint(d, &from)
		case "until":
			return readUint(d, &until)
		case "quorum":
			return readString(d, &quorum)
		case "keks":
			return readArray(d, keyctx.MaxWrappings, func() error {
				var uri string
				err := readString(d, &uri)
				c.KEKs = append(c.KEKs, named(uri))
				return err
			})
		}
		return fmt.Errorf("unknown field %.40q", field)
	})
	if err != nil {
		return err
	}
	switch quorum {
	case AnyOf.String():
		c.Quorum = AnyOf
	case AllOf.String():
		c.Quorum = AllOf
	default:
		return fmt.Errorf("unknown quorum %.40q", quorum)
	}
	e, err := newEntry(c)
	if err != nil {
		return err
	}
	e.from, e.until = from, until
	n.entries = append(n.entries, e)
	return nil
}

// checkGenerations refuses spans that no sequence of changes leaves behind.
func (r *Rules) checkGenerations() error {
	for k, from := range r.required {
		if from > r.now() {
			return fmt.Errorf("the required key %q is of a later generation", k)
		}
	}
	for _, n := range append(r.index.sorted(), &r.fallback) {
		if err := n.checkSpans(r.now()); err != nil {
			return err
		}
	}
	return nil
}

func (n *ruleNode) checkSpans(now uint64) error {
	if n.floor > now {
		return errors.New("a floor of a later generation")
	}
	free := uint64(1) // the first generation that the next choice may begin in; 0 is none
	for _, e := range n.entries {
		if free == 0 || e.from < free || e.from > now {
			return errors.New("choices that overlap, or one of a later generation")
		}
		if e.until != 0 && (e.until <= e.from || e.until > now) {
			return errors.New("a choice that ends before it begins, or in a later generation")
		}
		free = e.until
	}
	if n.past() > MaxPastChoices {
		return fmt.Errorf("%w: more than %d past choices", ErrRulesLimit, MaxPastChoices)
	}
	return nil
}

// encoding/json takes a name in any case, takes it twice, and null for
// everything. Rules say who can read whose data, so what follows reads token by
// token: every name as it is written, and once.

// readObject calls field for each name of the object that comes next. It must
// read the value.
func readObject(d *json.Decoder, field func(name string) error) error {
	if err := readDelim(d, '{'); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for d.More() {
		var name string
		if err := readString(d, &name); err != nil {
			return err
		}
		if seen[name] {
			return fmt.Errorf("the name %.40q comes twice", name)
		}
		seen[name] = true
		if err := field(name); err != nil {
			return err
		}
	}
	return readDelim(d, '}')
}

// readArray calls element for each element, at most limit, of the array that
// comes next. It must read the element.
func readArray(d *json.Decoder, limit int, element func() error) error {
	if err := readDelim(d, '['); err != nil {
		return err
	}
	for n := 0; d.More(); n++ {
		if n == limit {
			return fmt.Errorf("%w: more than %d in a list", ErrRulesLimit, limit)
		}
		if err := element(); err != nil {
			return err
		}
	}
	return readDelim(d, ']')
}

func readDelim(d *json.Decoder, want json.Delim) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("want %v at byte %d", want, d.InputOffset())
	}
	return nil
}

func readString(d *json.Decoder, s *string) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	v, ok := t.(string)
	if !ok {
		return fmt.Errorf("want a string at byte %d", d.InputOffset())
	}
	*s = v
	return nil
}

// readUint reads a number in decimal digits, and none with a sign, a fraction
// or an exponent: the decoder gives numbers as they are written.
func readUint(d *json.Decoder, n *uint64) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	digits, ok := t.(json.Number)
	if !ok {
		return fmt.Errorf("want a number at byte %d", d.InputOffset())
	}
	if *n, err = strconv.ParseUint(string(digits), 10, 64); err != nil {
		return fmt.Errorf("want a whole number at byte %d", d.InputOffset())
	}
	return nil
}

func sortedNames(m map[string]uint64) []string { return slices.Sorted(maps.Keys(m)) }
