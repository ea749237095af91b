package access

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// encoding/json takes a name in any case, takes it twice, and null for everything.
// Rules say who can read whose data, so what follows reads token by token: every name as
// it is written, and once.

func readRules(data []byte) ([]Rule, error) {
	if !utf8.Valid(data) { // encoding/json would read U+FFFD for it
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var version uint64
	var rules []Rule
	listed := false
	err := readObject(d, 2, func(field string) error {
		switch field {
		case "version":
			return readUint(d, &version)
		case "rules":
			listed = true
			return readArray(d, MaxRules, func() error {
				rule, err := readRule(d)
				rules = append(rules, rule)
				return err
			})
		}
		return errUnknown(field)
	})
	switch {
	case version > rulesVersion: // first: what is unknown may be what is new
		return nil, fmt.Errorf("version %d, want %d", version, rulesVersion)
	case err != nil:
		return nil, err
	case version != rulesVersion:
		return nil, fmt.Errorf("no version, want %d", rulesVersion)
	case !listed:
		return nil, errors.New("no rules; a file that denies everything has an empty list of them")
	case d.InputOffset() != int64(len(bytes.TrimRight(data, " \t\r\n"))):
		return nil, errors.New("something follows the document")
	}
	return rules, nil
}

func errUnknown(field string) error { return fmt.Errorf("unknown field %.40q", field) }

func readRule(d *json.Decoder) (r Rule, err error) {
	err = readObject(d, 16, func(field string) error {
		switch field {
		case "name":
			return readString(d, &r.Name)
		case "effect":
			return readEffect(d, &r.Effect)
		case "actors":
			return readStrings(d, &r.Actors)
		case "attributes":
			return readAttributes(d, &r.Attributes)
		case "anyone":
			return readTrue(d, &r.Anyone)
		case "operations":
			return readStrings(d, &r.Operations)
		case "context":
			return readMap(d, &r.Context)
		case "any_context":
			return readTrue(d, &r.AnyContext)
		case "object_prefix":
			return readFilled(d, &r.ObjectPrefix)
		case "labels":
			return readMap(d, &r.Labels)
		case "require_reason":
			return readTrue(d, &r.RequireReason)
		}
		return errUnknown(field)
	})
	if err != nil && r.Name != "" {
		err = fmt.Errorf("rule %.100q: %w", r.Name, err)
	}
	return r, err
}

func readEffect(d *json.Decoder, e *Effect) error {
	var s string
	if err := readString(d, &s); err != nil {
		return err
	}
	for _, known := range []Effect{Allow, Deny} {
		if s == known.String() {
			*e = known
			return nil
		}
	}
	return fmt.Errorf("unknown effect %.40q", s)
}

func readAttributes(d *json.Decoder, m *map[string][]string) error {
	*m = map[string][]string{}
	return readObject(d, MaxConditions, func(name string) error {
		var values []string
		err := readStrings(d, &values)
		(*m)[name] = values
		return err
	})
}

// readMap reads an object of strings. One that is empty stays so, and is refused later.
func readMap(d *json.Decoder, m *map[string]string) error {
	*m = map[string]string{}
	return readObject(d, MaxConditions, func(name string) error {
		var value string
		err := readString(d, &value)
		(*m)[name] = value
		return err
	})
}

func readStrings[S ~string](d *json.Decoder, list *[]S) error {
	*list = []S{}
	return readArray(d, MaxConditions, func() error {
		var s string
		err := readString(d, &s)
		*list = append(*list, S(s))
		return err
	})
}

// readObject calls field for each name, at most limit, of the object that comes next. It
// must read the value.
func readObject(d *json.Decoder, limit int, field func(name string) error) error {
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
		if len(seen) == limit {
			return fmt.Errorf("more than %d names in an object", limit)
		}
		seen[name] = true
		if err := field(name); err != nil {
			return err
		}
	}
	return readDelim(d, '}')
}

// readArray calls element for each element, at most limit, of the array that comes next.
// It must read the element.
func readArray(d *json.Decoder, limit int, element func() error) error {
	if err := readDelim(d, '['); err != nil {
		return err
	}
	for n := 0; d.More(); n++ {
		if n == limit {
			return fmt.Errorf("more than %d in a list", limit)
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

// readFilled reads a string that says something: an empty one would be no condition.
func readFilled(d *json.Decoder, s *string) error {
	if err := readString(d, s); err != nil {
		return err
	}
	if *s == "" {
		return fmt.Errorf("an empty string at byte %d; leave the field out", d.InputOffset())
	}
	return nil
}

// readTrue reads true. What is false is left out.
func readTrue(d *json.Decoder, b *bool) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != true {
		return fmt.Errorf("want true at byte %d, or the field left out", d.InputOffset())
	}
	*b = true
	return nil
}

// readUint reads a number in decimal digits, and none with a sign, a fraction or an
// exponent.
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
