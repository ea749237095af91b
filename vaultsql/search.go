package vaultsql

import "strings"

// onlySearches reports whether all arguments of a statement are conditions: whether it
// is a SELECT or a DELETE. It looks at the first word, and at nothing else: a statement
// that begins otherwise may store what it is given.
func onlySearches(query string) bool {
	word := firstWord(query)
	return strings.EqualFold(word, "SELECT") || strings.EqualFold(word, "DELETE")
}

// firstWord returns the first word of a statement, after white space, comments and
// opening parentheses.
func firstWord(query string) string {
	for {
		query = strings.TrimLeft(query, " \t\r\n\f\v(;")
		var found bool
		switch {
		case strings.HasPrefix(query, "--"), strings.HasPrefix(query, "#"):
			_, query, found = strings.Cut(query, "\n")
		case strings.HasPrefix(query, "/*"):
			_, query, found = strings.Cut(query, "*/")
		default:
			end := strings.IndexFunc(query, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') })
			if end < 0 {
				end = len(query)
			}
			return query[:end]
		}
		if !found {
			return ""
		}
	}
}
